//! Many threads at once: one order of all changes, the same for everybody, whether they are answered from memory or not.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;
use crate::Match;

/// The manifest that stands for a number, and back.
fn numbered(number: usize) -> PutManifest {
    manifest("a", &format!("{number:08}"), &["v1"])
}

fn number(manifest: &Manifest) -> usize {
    std::str::from_utf8(&manifest.bytes).unwrap().parse().unwrap()
}

/// Reads until `done`, and gives how often memory answered; never reads what is older than what was read or acknowledged before.
async fn watch(catalog: Embedded, ask_memory: bool, acknowledged: &AtomicUsize, done: &AtomicBool) -> usize {
    let (mut seen, mut hits, a, reference) = (0, 0, name("a"), Reference::Tag(tag("v1")));
    while !done.load(Ordering::SeqCst) {
        let at_least = acknowledged.load(Ordering::SeqCst).max(seen);
        let at_hand = catalog.manifest_cached(&a, &reference).filter(|_| ask_memory);
        hits += usize::from(at_hand.is_some());
        let found = match at_hand {
            Some(found) => Manifest::clone(&found),
            None => catalog.manifest(&a, &reference).await.unwrap().unwrap(),
        };
        seen = number(&found);
        assert!(seen >= at_least, "{seen} after {at_least}");
        tokio::task::yield_now().await;
    }
    hits
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_sees_a_tag_go_back() {
    const MOVES: usize = 120;
    let (catalog, _directory) = open();
    let acknowledged: &'static AtomicUsize = Box::leak(Box::new(AtomicUsize::new(0)));
    let done: &'static AtomicBool = Box::leak(Box::new(AtomicBool::new(false)));
    let _ = catalog.put_manifest(numbered(0)).await.unwrap();
    let readers =
        (0..4).map(|reader| tokio::spawn(watch(catalog.clone(), reader % 2 == 0, acknowledged, done)));
    let readers: Vec<_> = readers.collect();
    for index in 1..=MOVES {
        let _ = catalog.put_manifest(numbered(index)).await.unwrap();
        acknowledged.store(index, Ordering::SeqCst);
        if index % 3 == 0 {
            // The manifest before goes away; its tag has moved.
            let before = numbered(index - 1).digest;
            let _ =
                catalog.delete_manifest(&name("a"), &before, Condition::default(), Vec::new()).await.unwrap();
            assert_eq!(catalog.manifest_cached(&name("a"), &Reference::Digest(before)), None);
            assert_eq!(catalog.manifest(&name("a"), &Reference::Digest(before)).await, Ok(None));
        }
    }
    done.store(true, Ordering::SeqCst);
    let mut hits = 0;
    for reader in readers {
        hits += reader.await.unwrap();
    }
    assert!(hits > 0, "memory has answered as well");
}

/// Adds one `times` times, each time to what it read.
async fn count_up(catalog: Embedded, times: usize) {
    let mut won = 0;
    while won < times {
        let current = catalog.manifest(&name("a"), &Reference::Tag(tag("v1"))).await.unwrap().unwrap();
        let if_match = Some(Match::Digests(vec![current.digest]));
        let condition = Condition { if_match, if_none_match: None };
        let put = PutManifest { condition, ..numbered(number(&current) + 1) };
        match catalog.put_manifest(put).await.unwrap() {
            // Without a move another one wrote the same number first.
            PutOutcome::Stored { moved, .. } => won += moved.len(),
            PutOutcome::PreconditionFailed { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_counter_of_conditional_moves_loses_nothing() {
    const TASKS: usize = 6;
    const EACH: usize = 15;
    let (catalog, _directory) = open();
    let _ = catalog.put_manifest(numbered(0)).await.unwrap();
    let tasks = (0..TASKS).map(|_| tokio::spawn(count_up(catalog.clone(), EACH)));
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let last = catalog.manifest(&name("a"), &Reference::Tag(tag("v1"))).await.unwrap().unwrap();
    assert_eq!(number(&last), TASKS * EACH);
}

#[tokio::test]
async fn memory_forgets_before_a_change_is_answered() {
    let (catalog, _directory) = open();
    let (a, blob) = (name("a"), Digest::sha256(b"blob"));
    put(&catalog, 1).await;
    catalog.link_blob(&a, &blob, 4, Vec::new()).await.unwrap();
    let latest = Reference::Tag(tag("latest"));
    assert_eq!(catalog.blob_in_cached(&a, &blob), None, "not asked about yet");
    assert_eq!(catalog.manifest_cached(&a, &latest), None);
    let found = catalog.manifest(&a, &latest).await.unwrap().unwrap();
    assert_eq!(catalog.manifest_cached(&a, &latest).as_deref(), Some(&found));
    assert_eq!(catalog.resolve_cached(&a, &tag("latest")), Some(found.digest));
    assert_eq!(catalog.manifest_cached(&a, &Reference::Digest(found.digest)).as_deref(), Some(&found));
    assert_eq!(catalog.blob_in(&a, &blob).await, Ok(Some(4)));
    assert_eq!(catalog.blob_in_cached(&a, &blob), Some(Some(4)));
    assert_eq!(catalog.blob_in_cached(&name("b"), &blob), None);
    let retyped = PutManifest { media_type: "x/y".to_owned(), ..manifest("a", "manifest 1", &["latest"]) };
    let _ = catalog.put_manifest(retyped).await.unwrap();
    assert_eq!(catalog.manifest_cached(&a, &latest), None);
    assert_eq!(catalog.manifest(&a, &latest).await.unwrap().unwrap().media_type, "x/y");
    put(&catalog, 2).await;
    assert_eq!(catalog.resolve_cached(&a, &tag("latest")), None);
    assert!(catalog.unlink_blob(&a, &blob, Vec::new()).await.unwrap());
    assert_eq!(catalog.blob_in_cached(&a, &blob), None);
    assert_eq!(catalog.blob_in(&a, &blob).await, Ok(None));
    let _ = catalog.resolve(&a, &tag("v1")).await.unwrap();
    let digest = Digest::sha256(b"manifest 1");
    let _ = catalog.delete_manifest(&a, &digest, Condition::default(), Vec::new()).await.unwrap();
    assert_eq!(catalog.resolve_cached(&a, &tag("v1")), None);
    assert_eq!(catalog.resolve(&a, &tag("v1")).await, Ok(None));
}
