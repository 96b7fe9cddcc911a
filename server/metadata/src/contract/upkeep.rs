//! Care: what may go is found, what is needed stays whatever was said before, and nothing unreadable ends a walk.

use super::*;
use crate::clock;
use crate::upkeep::{Cursor, ManifestRecord, TagRecord, Upkeep, Walk};

pub(super) async fn run<C, G, F, Fut>(open: &F)
where
    C: Upkeep,
    F: Fn() -> Fut,
    Fut: Future<Output = (C, G)>,
{
    let (catalog, _guard) = open().await;
    links_that_nothing_references_are_found(&catalog).await;
    let (catalog, _guard) = open().await;
    a_link_is_removed_only_if_it_is_still_free(&catalog).await;
    let (catalog, _guard) = open().await;
    content_is_needed_while_it_is_linked_or_referenced(&catalog).await;
    let (catalog, _guard) = open().await;
    tags_and_manifests_are_listed_with_what_retention_needs(&catalog).await;
    let (catalog, _guard) = open().await;
    manifests_that_are_needed_stay(&catalog).await;
    let (catalog, _guard) = open().await;
    a_tag_that_changed_since_it_was_listed_stays(&catalog).await;
    let (catalog, _guard) = open().await;
    pulls_are_remembered(&catalog).await;
    let (catalog, _guard) = open().await;
    empty_repositories_are_forgotten(&catalog).await;
}

/// Later than everything that a test does.
fn later() -> u64 {
    clock::now() + 60_000
}

/// All items of a walk, in steps of `limit`.
pub(crate) async fn all<T, Fut>(limit: usize, step: impl Fn(Option<Cursor>, usize) -> Fut) -> Vec<T>
where
    Fut: Future<Output = crate::Result<Walk<T>>>,
{
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let walk = step(after, limit).await.unwrap();
        assert_eq!(walk.faults, []);
        found.extend(walk.items);
        after = walk.next;
        if after.is_none() {
            return found;
        }
    }
}

async fn free(catalog: &impl Upkeep, older_than: u64, limit: usize) -> Vec<(String, Digest)> {
    let links = all(limit, |after, limit| catalog.unreferenced_links(after, older_than, limit)).await;
    links.into_iter().map(|link| (link.repository.to_string(), link.digest)).collect()
}

async fn link(catalog: &impl Upkeep, repository: &str, content: &str) {
    catalog.link_blob(&name(repository), &digest(content), content.len() as u64, Vec::new()).await.unwrap();
}

async fn links_that_nothing_references_are_found(catalog: &impl Upkeep) {
    let start = clock::now();
    for index in 0..25 {
        link(catalog, "a", &format!("blob {index}")).await;
        link(catalog, "b", &format!("blob {index}")).await;
    }
    let mut put = manifest("a", "one", &["v1"]);
    put.blobs = (0..24).map(|index| digest(&format!("blob {index}"))).collect();
    store(catalog, put.clone()).await;
    let sparse = PutManifest { references: References::Sparse, ..manifest("b", "two", &[]) };
    store(catalog, PutManifest { blobs_optional: vec![digest("blob 24")], ..sparse }).await;
    let mut expected: Vec<_> =
        (0..24).map(|index| ("b".to_owned(), digest(&format!("blob {index}")))).collect();
    expected.push(("a".to_owned(), digest("blob 24")));
    expected.sort();
    for limit in [1, 3, 24, 25, 26, 1_000_000] {
        let mut found = free(catalog, later(), limit).await;
        found.sort();
        assert_eq!(found, expected, "steps of {limit}");
    }
    assert_eq!(free(catalog, start, 10).await, [], "younger than asked for");
    assert_eq!(free(catalog, 0, 10).await, []);
    let walk = catalog.unreferenced_links(None, later(), 0).await.unwrap();
    assert!(walk.next.is_some(), "a step of nothing still goes on");
    let _ = catalog.delete_manifest(&name("a"), &put.digest, Condition::default(), Vec::new()).await.unwrap();
    assert_eq!(free(catalog, later(), 10).await.len(), 49);
}

async fn a_link_is_removed_only_if_it_is_still_free(catalog: &impl Upkeep) {
    let (a, blob) = (name("a"), digest("blob"));
    let remove = |older_than| catalog.remove_link_if_unreferenced(&a, &blob, older_than);
    assert_eq!(remove(later()).await, Ok(false));
    link(catalog, "a", "blob").await;
    link(catalog, "b", "blob").await;
    let walk = catalog.unreferenced_links(None, later(), 10).await.unwrap();
    let listed = &walk.items[0];
    assert_eq!((&listed.repository, listed.digest, listed.size), (&a, blob, 4));
    assert_eq!(remove(listed.linked_at).await, Ok(false), "not older");
    let mut put = manifest("a", "one", &["v1"]);
    put.blobs = vec![blob];
    store(catalog, put.clone()).await;
    assert_eq!(remove(later()).await, Ok(false), "referenced since");
    assert_eq!(catalog.blob_in(&a, &blob).await, Ok(Some(4)));
    let _ = catalog.delete_manifest(&a, &put.digest, Condition::default(), Vec::new()).await.unwrap();
    assert_eq!(remove(later()).await, Ok(true));
    assert_eq!(remove(later()).await, Ok(false));
    assert_eq!(catalog.blob_in(&a, &blob).await, Ok(None));
    assert_eq!(catalog.blob_in_cached(&a, &blob), None);
    assert_eq!(catalog.blob_in(&name("b"), &blob).await, Ok(Some(4)));
    assert!(matches!(catalog.put_manifest(put).await, Ok(PutOutcome::Missing { .. })));
}

async fn content_is_needed_while_it_is_linked_or_referenced(catalog: &impl Upkeep) {
    let blob = digest("blob");
    assert_eq!(catalog.is_linked(&blob).await, Ok(false));
    link(catalog, "a", "blob").await;
    assert_eq!(catalog.is_linked(&blob).await, Ok(true));
    let mut put = manifest("a", "one", &[]);
    put.blobs = vec![blob];
    store(catalog, put.clone()).await;
    catalog.unlink_blob(&name("a"), &blob, Vec::new()).await.unwrap();
    assert_eq!(catalog.is_linked(&blob).await, Ok(true), "a manifest names it");
    let _ = catalog.delete_manifest(&name("a"), &put.digest, Condition::default(), Vec::new()).await.unwrap();
    assert_eq!(catalog.is_linked(&blob).await, Ok(false));
}

async fn tags_of_a(catalog: &impl Upkeep, limit: usize) -> Vec<TagRecord> {
    all(limit, |after, limit| async move { catalog.walk_tags(&name("a"), after, limit).await }).await
}

async fn manifests_of_a(catalog: &impl Upkeep, limit: usize) -> Vec<ManifestRecord> {
    all(limit, |after, limit| async move { catalog.walk_manifests(&name("a"), after, limit).await }).await
}

async fn record(catalog: &impl Upkeep, content: &str) -> ManifestRecord {
    let all = manifests_of_a(catalog, 100).await;
    all.into_iter().find(|record| record.digest == digest(content)).unwrap()
}

async fn tags_and_manifests_are_listed_with_what_retention_needs(catalog: &impl Upkeep) {
    assert_eq!((tags_of_a(catalog, 5).await, manifests_of_a(catalog, 5).await), (Vec::new(), Vec::new()));
    let start = clock::now();
    store(catalog, manifest("a", "child", &[])).await;
    let index = PutManifest { children: vec![digest("child")], ..manifest("a", "index", &["v1", "v2"]) };
    store(catalog, index).await;
    store(catalog, PutManifest { subject: Some(digest("index")), ..manifest("a", "signature", &[]) }).await;
    store(catalog, PutManifest { subject: Some(digest("gone")), ..manifest("a", "orphan", &[]) }).await;
    store(catalog, manifest("b", "elsewhere", &["v1"])).await;
    for limit in [1, 2, 100] {
        let tags = tags_of_a(catalog, limit).await;
        assert_eq!(tags.iter().map(|record| record.tag.as_str()).collect::<Vec<_>>(), ["v1", "v2"]);
        assert!(tags.iter().all(|record| record.digest == digest("index") && record.pulled_at.is_none()));
        assert!(tags.iter().all(|record| record.moved_at >= start && record.moved_at <= clock::now()));
        assert_eq!(manifests_of_a(catalog, limit).await.len(), 4);
    }
    let needs = |record: ManifestRecord| (record.tagged, record.referenced, record.subject_present);
    assert_eq!(needs(record(catalog, "index").await), (true, false, false));
    assert_eq!(needs(record(catalog, "child").await), (false, true, false));
    assert_eq!(needs(record(catalog, "signature").await), (false, false, true));
    let orphan = record(catalog, "orphan").await;
    assert_eq!((orphan.subject, orphan.size), (Some(digest("gone")), 6));
    assert!(orphan.pushed_at >= start);
    assert_eq!(needs(orphan), (false, false, false));
}

async fn manifests_that_are_needed_stay(catalog: &impl Upkeep) {
    let a = name("a");
    store(catalog, manifest("a", "child", &[])).await;
    store(catalog, PutManifest { children: vec![digest("child")], ..manifest("a", "index", &["v1"]) }).await;
    store(catalog, PutManifest { subject: Some(digest("index")), ..manifest("a", "signature", &[]) }).await;
    for content in ["child", "index", "signature"] {
        let record = record(catalog, content).await;
        assert_eq!(catalog.remove_manifest_if_unused(&a, &record, Vec::new()).await, Ok(false), "{content}");
    }
    assert!(delete_tag(catalog, &a, &tag("v1")).await);
    let listed = record(catalog, "index").await;
    store(catalog, manifest("a", "index", &["v2"])).await;
    assert_eq!(catalog.remove_manifest_if_unused(&a, &listed, Vec::new()).await, Ok(false), "tagged since");
    assert!(delete_tag(catalog, &a, &tag("v2")).await);
    let listed = record(catalog, "index").await;
    let stale = ManifestRecord { pushed_at: listed.pushed_at - 1, ..listed.clone() };
    assert_eq!(catalog.remove_manifest_if_unused(&a, &stale, Vec::new()).await, Ok(false), "pushed since");
    catalog.pulled(&a, &Reference::Digest(digest("index")));
    assert_eq!(
        catalog.remove_manifest_if_unused(&a, &listed, Vec::new()).await,
        Ok(false),
        "pulled just now"
    );
    catalog.flush_pulled().await.unwrap();
    assert_eq!(catalog.remove_manifest_if_unused(&a, &listed, Vec::new()).await, Ok(false), "pulled since");
    for content in ["index", "child", "signature"] {
        let record = record(catalog, content).await;
        assert_eq!(catalog.remove_manifest_if_unused(&a, &record, Vec::new()).await, Ok(true), "{content}");
        assert_eq!(catalog.remove_manifest_if_unused(&a, &record, Vec::new()).await, Ok(false));
    }
    assert_eq!(catalog.manifest(&a, &Reference::Digest(digest("index"))).await, Ok(None));
}

async fn a_tag_that_changed_since_it_was_listed_stays(catalog: &impl Upkeep) {
    let a = name("a");
    store(catalog, manifest("a", "one", &["v1"])).await;
    let message = vec![Bytes::from_static(b"expired")];
    let remove = |record: TagRecord| {
        let (a, message) = (a.clone(), message.clone());
        async move { catalog.remove_tag_if_unchanged(&a, &record, message).await }
    };
    let listed = tags_of_a(catalog, 10).await.remove(0);
    store(catalog, manifest("a", "two", &["v1"])).await;
    assert_eq!(remove(listed.clone()).await, Ok(false), "moved");
    let listed = tags_of_a(catalog, 10).await.remove(0);
    assert_eq!(remove(TagRecord { moved_at: listed.moved_at - 1, ..listed.clone() }).await, Ok(false));
    catalog.pulled(&a, &Reference::Tag(tag("v1")));
    assert_eq!(remove(listed.clone()).await, Ok(false), "pulled just now");
    catalog.flush_pulled().await.unwrap();
    assert_eq!(remove(listed).await, Ok(false), "pulled since");
    assert_eq!(catalog.outbox_len().waiting, 0);
    let listed = tags_of_a(catalog, 10).await.remove(0);
    assert_eq!(remove(listed.clone()).await, Ok(true));
    assert_eq!(remove(listed).await, Ok(false));
    assert_eq!(catalog.outbox_len().waiting, 1);
    assert_eq!(catalog.resolve(&a, &tag("v1")).await, Ok(None));
    assert!(catalog.manifest(&a, &Reference::Digest(digest("two"))).await.unwrap().is_some());
}

async fn pulls_are_remembered(catalog: &impl Upkeep) {
    store(catalog, manifest("a", "one", &["v1", "v2"])).await;
    store(catalog, manifest("a", "two", &[])).await;
    let start = clock::now();
    catalog.pulled(&name("a"), &Reference::Tag(tag("v1")));
    catalog.pulled(&name("a"), &Reference::Digest(digest("two")));
    catalog.pulled(&name("a"), &Reference::Digest(digest("absent")));
    catalog.pulled(&name("absent"), &Reference::Tag(tag("v1")));
    catalog.flush_pulled().await.unwrap();
    let tags = tags_of_a(catalog, 10).await;
    assert!(tags[0].pulled_at.is_some_and(|at| at >= start && at <= clock::now()));
    assert_eq!(tags[1].pulled_at, None);
    assert!(record(catalog, "one").await.pulled_at.is_some(), "by its tag");
    assert!(record(catalog, "two").await.pulled_at.is_some());
}

async fn empty_repositories_are_forgotten(catalog: &impl Upkeep) {
    link(catalog, "a", "blob").await;
    store(catalog, manifest("b", "one", &["v1"])).await;
    store(catalog, manifest("c", "one", &["v1"])).await;
    let _ = catalog.put_manifest(PutManifest { blobs: vec![digest("x")], ..manifest("d", "one", &[]) }).await;
    let listed = async || {
        let mut all = all(1, |after, limit| catalog.walk_repositories(after, limit)).await;
        all.sort();
        all.iter().map(Repository::to_string).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(listed().await, "a b c");
    catalog.remove_link_if_unreferenced(&name("a"), &digest("blob"), later()).await.unwrap();
    assert!(delete_manifest(catalog, &name("b"), &digest("one")).await);
    assert!(delete_tag(catalog, &name("c"), &tag("v1")).await);
    assert_eq!(listed().await, "c");
    let unused = catalog.walk_manifests(&name("c"), None, 1).await.unwrap().items.remove(0);
    assert_eq!(catalog.remove_manifest_if_unused(&name("c"), &unused, Vec::new()).await, Ok(true));
    assert_eq!(listed().await, "");
    // And come back as if they had never been there.
    link(catalog, "a", "blob").await;
    store(catalog, manifest("b", "two", &["v1"])).await;
    assert_eq!(listed().await, "a b");
    assert_eq!(catalog.blob_in(&name("b"), &digest("blob")).await, Ok(None));
}
