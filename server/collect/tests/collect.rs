//! The collector over a real store and a real database: what goes, what stays, and what happens when both sides act at once.

#![expect(clippy::unwrap_used, reason = "helpers of tests; a panic is the failure report")]

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use shoal_api::audit::NoAudit;
use shoal_api::events::NoEvents;
use shoal_api::leases::Leases;
use shoal_collect::retention::Rule;
use shoal_collect::{Busy, CollectOptions, CollectReport, Collector, Kept, Parts};
use shoal_metadata::{Catalog, Condition, Embedded, PageAfter, PutManifest, PutOutcome, References, clock};
use shoal_oci::{Digest, Repository};
use shoal_store::{Options, Store};
use shoal_telemetry::CollectMetrics;

struct World {
    store: Store,
    metadata: Arc<Embedded>,
    leases: Leases,
    uploading: Arc<Mutex<HashSet<Repository>>>,
    _directory: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(&directory.path().join("blobs"), Options::durable()).unwrap();
        let metadata = Arc::new(Embedded::open(&directory.path().join("metadata")).unwrap());
        Self { store, metadata, leases: Leases::new(), uploading: Arc::default(), _directory: directory }
    }

    fn collector(&self, grace: Duration, rules: Vec<Rule>) -> Collector {
        self.collector_with(grace, rules, None)
    }

    fn collector_with(&self, grace: Duration, rules: Vec<Rule>, kept: Option<Kept>) -> Collector {
        let uploading = Arc::clone(&self.uploading);
        let parts = Parts {
            upkeep: self.metadata.clone(),
            store: self.store.clone(),
            leases: self.leases.clone(),
            uploading: Box::new(move || uploading.lock().unwrap().clone()),
            immutable: Box::new(|_, tag| tag.as_str().starts_with("fixed")),
            kept,
            events: Arc::new(NoEvents),
            audit: Arc::new(NoAudit),
            metrics: CollectMetrics::default(),
        };
        Collector::new(parts, CollectOptions { every: None, grace, rules })
    }

    /// Lets everything so far be older than the grace: the clock has moved on, and nobody was told of anything.
    async fn age(&self) {
        later().await;
        self.leases.rotate();
        self.leases.rotate();
    }

    /// One run of a collector that spares nothing for being young.
    async fn collect(&self) -> CollectReport {
        later().await;
        self.collector(Duration::ZERO, Vec::new()).collect(false).await.unwrap()
    }

    async fn push_blob(&self, repository: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::sha256(bytes);
        let _lease = self.leases.hold(&digest).await;
        let (store, owned) = (self.store.clone(), bytes.to_vec());
        tokio::task::spawn_blocking(move || store.put(&digest, &owned)).await.unwrap().unwrap();
        let repository: Repository = repository.parse().unwrap();
        self.leases.touch(&repository, &digest);
        self.metadata.link_blob(&repository, &digest, bytes.len() as u64, Vec::new()).await.unwrap();
        digest
    }

    async fn push_manifest(
        &self,
        repository: &str,
        text: &str,
        blobs: &[Digest],
        tags: &[&str],
    ) -> PutOutcome {
        self.metadata.put_manifest(manifest(repository, text, blobs, tags)).await.unwrap()
    }

    async fn has_link(&self, repository: &str, digest: &Digest) -> bool {
        self.metadata.blob_in(&repository.parse().unwrap(), digest).await.unwrap().is_some()
    }

    async fn tags(&self, repository: &str) -> Vec<String> {
        let page = PageAfter { last: None, limit: 100 };
        let found = self.metadata.tags(&repository.parse().unwrap(), page).await.unwrap();
        found.map(|page| page.items.iter().map(|tag| tag.as_str().to_owned()).collect()).unwrap_or_default()
    }
}

fn manifest(repository: &str, text: &str, blobs: &[Digest], tags: &[&str]) -> PutManifest {
    PutManifest {
        repository: repository.parse().unwrap(),
        digest: Digest::sha256(text.as_bytes()),
        media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
        bytes: Bytes::copy_from_slice(text.as_bytes()),
        blobs: blobs.to_vec(),
        blobs_optional: Vec::new(),
        children: Vec::new(),
        subject: None,
        artifact_type: None,
        annotations: [].into(),
        tags: tags.iter().map(|tag| tag.parse().unwrap()).collect(),
        references: References::Required,
        condition: Condition::default(),
        immutable: Vec::new(),
        overwrite: true,
        outbox: Vec::new(),
    }
}

/// Waits until the clock has moved on, so that everything before is older than now.
async fn later() {
    let before = clock::now();
    while clock::now() <= before + 1 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_a_manifest_needs_stays_and_the_rest_goes() {
    let world = World::new();
    let needed = world.push_blob("a", b"needed").await;
    let loose = world.push_blob("a", b"loose").await;
    let elsewhere = world.push_blob("b", b"needed").await;
    let large = vec![7; 100_000];
    let large = world.push_blob("a", &large).await;
    assert!(matches!(world.push_manifest("a", "{}", &[needed], &["v1"]).await, PutOutcome::Stored { .. }));
    world.age().await;
    let report = world.collect().await;
    assert_eq!((report.links.count, report.blobs.count, report.faults.count), (3, 2, 0), "{report:?}");
    assert_eq!(report.bytes_freed, 100_005);
    assert!(world.has_link("a", &needed).await && !world.has_link("b", &elsewhere).await);
    assert!(world.store.stat(&needed).unwrap().is_some() && world.store.stat(&loose).unwrap().is_none());
    assert!(world.store.stat(&large).unwrap().is_none());
    let again = world.collect().await;
    assert_eq!((again.links.count, again.blobs.count), (0, 0));
}

#[tokio::test]
async fn a_dry_run_tells_and_removes_nothing() {
    let world = World::new();
    let loose = world.push_blob("a", b"loose").await;
    let unlinked = Digest::sha256(b"unlinked");
    world.store.put(&unlinked, b"unlinked").unwrap();
    world.age().await;
    let collector = world.collector(Duration::ZERO, Vec::new());
    let report = collector.collect(true).await.unwrap();
    assert!(
        report.dry_run && report.links.first[0].digest == loose && report.blobs.first[0].digest == unlinked
    );
    assert!(world.has_link("a", &loose).await && world.store.stat(&unlinked).unwrap().is_some());
    assert_eq!(collector.last(), None);
}

#[tokio::test]
async fn after_a_start_nothing_goes_for_one_grace() {
    let world = World::new();
    world.push_blob("a", b"loose").await;
    later().await;
    let report = world.collector(Duration::from_secs(3600), Vec::new()).collect(false).await.unwrap();
    assert_eq!((report.links.count, report.blobs.count), (0, 0));
}

#[tokio::test]
async fn what_somebody_uses_or_was_told_of_stays() {
    let world = World::new();
    let held = world.push_blob("a", b"held").await;
    let told = world.push_blob("a", b"told").await;
    let early = world.push_blob("slow", b"early layer").await;
    world.uploading.lock().unwrap().insert("slow".parse().unwrap());
    world.leases.rotate();
    world.leases.rotate();
    world.leases.touch(&"a".parse().unwrap(), &told);
    let lease = world.leases.hold(&held).await;
    let report = world.collect().await;
    assert_eq!((report.links.count, report.blobs.count, report.busy), (0, 0, 3), "{report:?}");
    drop(lease);
    world.uploading.lock().unwrap().clear();
    // The touch is forgotten with the second rotation after it; the run above made the first.
    let report = world.collect().await;
    assert_eq!(report.links.count, 3, "{report:?}");
    assert!(world.store.stat(&early).unwrap().is_none());
}

#[tokio::test]
async fn content_that_a_crash_left_without_a_link_goes() {
    let world = World::new();
    let digest = Digest::sha256(b"pushed, never linked");
    world.store.put(&digest, b"pushed, never linked").unwrap();
    assert_eq!(world.collect().await.blobs.count, 1);
    assert!(world.store.stat(&digest).unwrap().is_none());
}

#[tokio::test]
async fn retention_removes_tags_then_manifests_then_bytes_in_one_run() {
    let world = World::new();
    for (text, tag) in [("{\"n\":1}", "old"), ("{\"n\":2}", "fixed-old"), ("{\"n\":3}", "new")] {
        let blob = world.push_blob("ci/app", text.as_bytes()).await;
        let stored = world.push_manifest("ci/app", text, &[blob], &[tag]).await;
        assert!(matches!(stored, PutOutcome::Stored { .. }));
        later().await;
    }
    let rule = Rule {
        repositories: vec!["ci/**".parse().unwrap()],
        tags: vec!["*".parse().unwrap()],
        keep_last: Some(1),
        keep_pushed_within: None,
        keep_pulled_within: None,
        untagged_after: Some(Duration::ZERO),
    };
    let collector = world.collector(Duration::ZERO, vec![rule]);
    let dry = collector.collect(true).await.unwrap();
    assert_eq!((dry.tags.count, world.tags("ci/app").await.len()), (1, 3));
    let report = collector.collect(false).await.unwrap();
    assert_eq!(
        (report.tags.count, report.manifests.count, report.links.count, report.blobs.count),
        (1, 1, 1, 1),
        "{report:?}"
    );
    assert_eq!(world.tags("ci/app").await, ["fixed-old", "new"]);
}

#[tokio::test]
async fn what_nobody_pulls_goes_where_that_is_said_of_a_repository_unless_a_rule_keeps_it() {
    let world = World::new();
    for repository in ["r.io/app", "r.io/ruled", "own/app"] {
        let blob = world.push_blob(repository, repository.as_bytes()).await;
        let text = format!("{{\"of\":\"{repository}\"}}");
        let stored = world.push_manifest(repository, &text, &[blob], &["v1"]).await;
        assert!(matches!(stored, PutOutcome::Stored { .. }));
    }
    later().await;
    let rule = Rule {
        repositories: vec!["r.io/ruled".parse().unwrap()],
        keep_last: Some(1),
        keep_pulled_within: None,
        ..Rule::of_unused(Duration::from_secs(3600))
    };
    let collect = |kept: u64| {
        let kept = move |repository: &Repository| {
            repository.as_str().starts_with("r.io/").then_some(Duration::from_secs(kept))
        };
        world.collector_with(Duration::ZERO, vec![rule.clone()], Some(Box::new(kept)))
    };
    let report = collect(3600).collect(false).await.unwrap();
    assert_eq!((report.tags.count, report.manifests.count), (0, 0), "{report:?}");
    let report = collect(0).collect(false).await.unwrap();
    assert_eq!(
        (report.tags.count, report.manifests.count, report.links.count, report.blobs.count),
        (1, 1, 1, 1),
        "{report:?}"
    );
    assert_eq!(world.tags("r.io/app").await, Vec::<String>::new());
    assert_eq!((world.tags("r.io/ruled").await.len(), world.tags("own/app").await.len()), (1, 1));
}

#[tokio::test]
async fn two_runs_at_once_are_one_run() {
    let world = World::new();
    for number in 0..200_u32 {
        world.store.put(&Digest::sha256(&number.to_le_bytes()), &number.to_le_bytes()).unwrap();
    }
    later().await;
    let collector = world.collector(Duration::ZERO, Vec::new());
    let (one, other) = tokio::join!(collector.collect(false), collector.collect(false));
    assert!(one.is_err() != other.is_err(), "{one:?} {other:?}");
    assert_eq!(one.and(other).err().unwrap_or(Busy), Busy);
}

/// The race of the three: pushers that reuse each other's content and delete their manifests again, and a collector without pause.
/// What a pusher was told to exist is there when its manifest comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_that_was_acknowledged_is_lost_to_a_collector_without_pause() {
    let world = Arc::new(World::new());
    let collector = world.collector(Duration::from_millis(200), Vec::new());
    let over = Arc::new(AtomicBool::new(false));
    let runs = {
        let over = Arc::clone(&over);
        tokio::spawn(async move {
            let (mut runs, mut freed) = (0_u32, 0);
            while !over.load(Ordering::Relaxed) {
                freed += collector.collect(false).await.unwrap().blobs.count;
                runs += 1;
            }
            (runs, freed)
        })
    };
    let pushers = (0..4_u32).map(|pusher| {
        let world = Arc::clone(&world);
        tokio::spawn(async move { push_and_delete(&world, pusher).await })
    });
    for pusher in pushers.collect::<Vec<_>>() {
        pusher.await.unwrap();
    }
    over.store(true, Ordering::Relaxed);
    let (runs, freed) = runs.await.unwrap();
    assert!(runs > 3 && freed > 0, "the collector did nothing: {runs} runs, {freed} blobs");
}

async fn push_and_delete(world: &World, pusher: u32) {
    let repository = format!("r{}", pusher % 2);
    let name: Repository = repository.parse().unwrap();
    let began = std::time::Instant::now();
    let mut round = 0_u32;
    while began.elapsed() < Duration::from_millis(1500) {
        // Few different contents, so that one pusher links what another's manifest has just let go.
        let content = [round % 7, 42];
        let bytes: Vec<u8> = content.iter().flat_map(|word| word.to_le_bytes()).collect();
        let digest = Digest::sha256(&bytes);
        world.leases.vouch(&name, &digest).await;
        if !world.has_link(&repository, &digest).await {
            world.push_blob(&repository, &bytes).await;
        }
        let text = format!("{{\"pusher\":{pusher},\"round\":{round}}}");
        let outcome = world.push_manifest(&repository, &text, &[digest], &[]).await;
        assert!(matches!(outcome, PutOutcome::Stored { .. }), "round {round}: {outcome:?}");
        assert_eq!(world.store.blob(&digest).unwrap().size(), bytes.len() as u64, "round {round}");
        let condition = Condition::default();
        let manifest = Digest::sha256(text.as_bytes());
        let gone = world.metadata.delete_manifest(&name, &manifest, condition, Vec::new());
        _ = gone.await.unwrap();
        round += 1;
        tokio::time::sleep(Duration::from_millis(u64::from(round % 5) * 40)).await;
    }
}
