//! The pack through the store's own words, on segments so short that every test has several of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use shoal_swarm_types::PieceIndex;
use tempfile::TempDir;

use super::file::Fault;
use super::*;
use crate::{ErrorKind, Options, Store};

mod crash;
mod damage;
mod model;
mod refusals;

/// Room for about four of the blobs that these tests use.
const SHORT: u64 = 4096;

fn limits() -> Limits {
    Limits { segment_len: SHORT, compacts: false, faults: Faults::default() }
}

fn open(root: &Path) -> (Store, Recovery) {
    Store::open_limited(root, Options::durable(), limits()).unwrap()
}

fn temporary() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    (dir, store)
}

/// Some content, different from number to number.
fn content(number: u32, size: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = number.to_be_bytes().repeat(size / 4 + 1);
    bytes.truncate(size);
    bytes
}

fn put(store: &Store, bytes: &[u8]) -> Digest {
    let digest = Digest::sha256(bytes);
    store.put(&digest, bytes).unwrap();
    digest
}

fn put_all(store: &Store, contents: &[Vec<u8>]) {
    for bytes in contents {
        put(store, bytes);
    }
}

/// Whether the blob is there; if so it must be whole, however it is asked for.
fn is_whole(store: &Store, bytes: &[u8]) -> bool {
    let digest = Digest::sha256(bytes);
    if store.stat(&digest).unwrap().is_none() {
        assert_eq!(store.blob(&digest).unwrap_err().kind(), ErrorKind::NotFound);
        assert!(store.small(&digest).is_none());
        return false;
    }
    assert_eq!(store.stat(&digest).unwrap(), Some(bytes.len() as u64));
    let blob = store.blob(&digest).unwrap();
    assert_eq!(*blob.metainfo(), Metainfo::of(digest, bytes));
    if !bytes.is_empty() {
        assert_eq!(blob.read_piece(PieceIndex(0)).unwrap(), bytes);
    }
    // What was just read is in the page cache, where the file system can tell.
    if let Some(small) = store.small(&digest) {
        assert_eq!(small.unwrap(), bytes);
    }
    true
}

fn pack(store: &Store) -> &Arc<Inner> {
    store.shared().pack.as_ref().unwrap().inner()
}

/// Compacts whatever is worth it.
fn compact(store: &Store) -> usize {
    let mut count = 0;
    while let Some(segment) = pack(store).choose_segment() {
        assert!(pack(store).compact(&segment, |_| true).unwrap());
        count += 1;
        assert!(count < 1000, "compaction does not end");
    }
    count
}

/// The segments, in order.
fn segments(root: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(root.join("pack"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "data"))
        .collect();
    found.sort();
    found
}

fn assert_books(store: &Store) {
    let listed = store.each_digest(None, usize::MAX);
    let usage = store.usage();
    assert_eq!(usage.blobs, listed.len());
    assert_eq!(usage.bytes, listed.iter().map(|one| one.size).sum::<u64>());
    assert_eq!(usage.upload_bytes, 0);
    let mut digests = store.digests();
    digests.sort_unstable();
    assert_eq!(digests, listed.iter().map(|one| one.digest).collect::<Vec<_>>());
    let inner = pack(store);
    let live: u64 = inner.segments().values().map(|segment| segment.needed(|_| false)).sum();
    let mut wanted = 0;
    inner.table.for_each(|place| wanted += record::record_len(place.len));
    assert_eq!(live, wanted, "the segments' tallies");
}

#[test]
fn blobs_of_every_size_survive_a_restart_with_and_without_summaries() {
    let (dir, mut store) = temporary();
    let contents: Vec<_> =
        [0, 1, 7, 8, 127, 1000, 4096, 65535, 65536].iter().map(|size| content(*size as u32, *size)).collect();
    put_all(&store, &contents);
    let sha512 = Digest::of(shoal_oci::Algorithm::Sha512, b"x");
    store.put(&sha512, b"x").unwrap();
    for turn in 0..4 {
        drop(store);
        for path in segments(dir.path()).iter().map(|path| path.with_extension("summary")) {
            match turn {
                1 => drop(fs::remove_file(&path)),
                2 if path.exists() => fs::write(&path, b"garbage").unwrap(),
                _ => {}
            }
        }
        let opened = open(dir.path());
        store = opened.0;
        assert_eq!((opened.1.blobs, opened.1.damaged, opened.1.cut_bytes), (contents.len() + 1, 0, 0));
        assert!(contents.iter().all(|bytes| is_whole(&store, bytes)));
        assert_eq!(store.stat(&sha512).unwrap(), Some(1));
        assert_books(&store);
    }
    assert!(segments(dir.path()).len() > 2, "several segments were meant");
}

#[test]
fn content_that_is_there_is_not_written_again() {
    let (dir, store) = temporary();
    let bytes = content(1, 500);
    put(&store, &bytes);
    let len = fs::metadata(&segments(dir.path())[0]).unwrap().len();
    put(&store, &bytes);
    let (sender, receiver) = mpsc::channel();
    for _ in 0..20 {
        let sender = sender.clone();
        store.submit(Digest::sha256(&bytes), bytes.clone().into(), move |result| {
            sender.send(result.unwrap().size()).unwrap();
        });
    }
    assert!((0..20).all(|_| receiver.recv().unwrap() == 500));
    assert_eq!(fs::metadata(&segments(dir.path())[0]).unwrap().len(), len);
    assert_books(&store);
}

#[test]
fn what_was_submitted_is_written_before_the_store_closes() {
    let (dir, store) = temporary();
    let (sender, receiver) = mpsc::channel();
    for number in 0..300 {
        let bytes = content(number, 64 + number as usize);
        let sender = sender.clone();
        store.submit(Digest::sha256(&bytes), bytes.into(), move |result| {
            sender.send((number, result.is_ok())).unwrap();
        });
    }
    drop((store, sender));
    assert_eq!(receiver.iter().filter(|(_, is_ok)| *is_ok).count(), 300);
    let (store, _) = open(dir.path());
    assert!((0..300).all(|number| is_whole(&store, &content(number, 64 + number as usize))));
}

#[test]
fn the_last_handle_may_be_dropped_by_who_is_told() {
    let (dir, store) = temporary();
    let (sender, receiver) = mpsc::channel();
    let held = store.clone();
    store.submit(Digest::sha256(b"x"), Bytes::from_static(b"x"), move |result| {
        drop(held);
        sender.send(result.is_ok()).unwrap();
    });
    drop(store);
    assert!(receiver.recv().unwrap());
    // The lock goes with the handle, perhaps a moment after the answer.
    let store = loop {
        match Store::open_limited(dir.path(), Options::durable(), limits()) {
            Ok((store, _)) => break store,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Busy),
        }
    };
    assert!(is_whole(&store, b"x"));
}

#[test]
fn who_is_told_may_use_the_store_and_may_panic() {
    let (_dir, store) = temporary();
    let (sender, receiver) = mpsc::channel();
    let again = store.clone();
    store.submit(Digest::sha256(b"a"), Bytes::from_static(b"a"), move |_| {
        put(&again, b"b");
        sender.send(()).unwrap();
        panic!("on purpose");
    });
    receiver.recv().unwrap();
    put(&store, b"c");
    assert!([b"a", b"b", b"c"].iter().all(|bytes| is_whole(&store, *bytes)));
}

#[test]
fn bad_and_large_content_is_told_from_small() {
    let (_dir, store) = temporary();
    let (sender, receiver) = mpsc::channel();
    let tell = || {
        let sender = sender.clone();
        move |result: Result<Metainfo>| sender.send(result.map_err(|error| error.kind())).unwrap()
    };
    store.submit(Digest::sha256(b"this"), Bytes::from_static(b"that"), tell());
    assert_eq!(receiver.recv().unwrap().unwrap_err(), ErrorKind::DigestMismatch);
    let large = content(1, 65537);
    store.submit(Digest::sha256(&large), large.clone().into(), tell());
    assert_eq!(receiver.recv().unwrap().unwrap().size(), 65537);
    assert!(store.small(&Digest::sha256(&large)).is_none());
    assert_eq!(store.usage().blobs, 1);
}

#[test]
fn removed_blobs_stay_removed_and_can_come_back() {
    let (dir, mut store) = temporary();
    let contents: Vec<_> = (0..12).map(|number| content(number, 700)).collect();
    put_all(&store, &contents);
    for bytes in &contents[..9] {
        assert!(store.remove(&Digest::sha256(bytes)).unwrap());
        assert!(!store.remove(&Digest::sha256(bytes)).unwrap());
    }
    put(&store, &contents[4]);
    for turn in 0..3 {
        for (number, bytes) in contents.iter().enumerate() {
            assert_eq!(is_whole(&store, bytes), number == 4 || number >= 9, "{number} in turn {turn}");
        }
        assert_books(&store);
        drop(store);
        store = open(dir.path()).0;
        compact(&store);
    }
}

#[test]
fn compaction_gives_room_back_and_readers_are_not_disturbed() {
    let (dir, store) = temporary();
    let contents: Vec<_> = (0..40).map(|number| content(number, 900)).collect();
    put_all(&store, &contents);
    let before = segments(dir.path()).len();
    let open_blob = store.blob(&Digest::sha256(&contents[3])).unwrap();
    for (number, bytes) in contents.iter().enumerate().filter(|(number, _)| number % 4 != 3) {
        assert!(store.remove(&Digest::sha256(bytes)).unwrap(), "{number}");
    }
    let dead = store.usage().dead_bytes;
    assert!(compact(&store) > 3);
    assert!(segments(dir.path()).len() < before / 2 + 2 && store.usage().dead_bytes < dead / 2);
    assert_eq!(open_blob.read_piece(PieceIndex(0)).unwrap(), contents[3]);
    assert_books(&store);
    drop((open_blob, store));
    let (store, _) = open(dir.path());
    for (number, bytes) in contents.iter().enumerate() {
        assert_eq!(is_whole(&store, bytes), number % 4 == 3, "{number}");
    }
    for bytes in &contents {
        store.remove(&Digest::sha256(bytes)).unwrap();
    }
    compact(&store);
    assert!(segments(dir.path()).len() <= 2, "kills of what is gone are not kept for ever");
}

#[test]
fn the_thread_compacts_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { compacts: true, ..limits() };
    let (store, _) = Store::open_limited(dir.path(), Options::durable(), limits).unwrap();
    let digests: Vec<_> = (0..30).map(|number| put(&store, &content(number, 900))).collect();
    digests[..28].iter().for_each(|digest| assert!(store.remove(digest).unwrap()));
    while segments(dir.path()).len() > 4 {
        thread::yield_now();
    }
    assert!(is_whole(&store, &content(29, 900)));
}

#[test]
fn a_kill_outlives_the_compaction_of_its_own_segment() {
    let (dir, store) = temporary();
    // The first segment stays, as it is mostly alive; one blob in it dies.
    let first: Vec<_> = (0..4).map(|number| content(number, 900)).collect();
    put_all(&store, &first);
    assert!(store.remove(&Digest::sha256(&first[0])).unwrap());
    let digests: Vec<_> = (10..30).map(|number| put(&store, &content(number, 900))).collect();
    digests.iter().for_each(|digest| assert!(store.remove(digest).unwrap()));
    assert!(compact(&store) > 2);
    assert!(
        dir.path().join("pack/00000001.data").exists() && !dir.path().join("pack/00000002.data").exists()
    );
    drop(store);
    let (store, _) = open(dir.path());
    assert!(!is_whole(&store, &first[0]) && first[1..].iter().all(|bytes| is_whole(&store, bytes)));
    assert_books(&store);
}

#[test]
fn a_full_store_refuses_before_it_writes() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { capacity: Some(1000), ..Options::durable() };
    let (store, _) = Store::open_limited(dir.path(), options, limits()).unwrap();
    put(&store, &content(1, 600));
    let len = fs::metadata(&segments(dir.path())[0]).unwrap().len();
    let bytes = content(2, 600);
    assert_eq!(store.put(&Digest::sha256(&bytes), &bytes).unwrap_err().kind(), ErrorKind::NoSpace);
    let (sender, receiver) = mpsc::channel();
    store.submit(Digest::sha256(&bytes), bytes.into(), move |result| sender.send(result).unwrap());
    assert_eq!(receiver.recv().unwrap().unwrap_err().kind(), ErrorKind::NoSpace);
    assert_eq!(fs::metadata(&segments(dir.path())[0]).unwrap().len(), len);
    store.remove(&Digest::sha256(&content(1, 600))).unwrap();
    put(&store, &content(2, 600));
    assert_books(&store);
}

#[test]
fn everything_at_once_keeps_the_books() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { compacts: true, segment_len: 64 * 1024, faults: Faults::default() };
    let (store, _) = Store::open_limited(dir.path(), Options::durable(), limits).unwrap();
    let contents: Vec<_> = (0..24).map(|number| content(number, 100 + number as usize * 97)).collect();
    thread::scope(|scope| {
        for worker in 0..4_usize {
            let (store, contents) = (&store, &contents);
            scope.spawn(move || {
                for turn in 0..250_usize {
                    let dice = worker.wrapping_mul(7919).wrapping_add(turn).wrapping_mul(2_654_435_761) >> 7;
                    let bytes = &contents[dice % contents.len()];
                    let digest = Digest::sha256(bytes);
                    match dice / contents.len() % 5 {
                        0 | 1 => drop(store.put(&digest, bytes).unwrap()),
                        2 => drop(store.remove(&digest).unwrap()),
                        3 => store.submit(digest, bytes.clone().into(), |result| drop(result.unwrap())),
                        _ => match store.blob(&digest) {
                            Ok(blob) => assert_eq!(blob.read_piece(PieceIndex(0)).unwrap(), *bytes),
                            Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound),
                        },
                    }
                }
            });
        }
    });
    drop(store);
    let (store, recovery) = open(dir.path());
    assert_eq!((recovery.damaged, recovery.cut_bytes, store.usage().damaged), (0, 0, 0));
    assert_books(&store);
    let there = contents.iter().filter(|bytes| is_whole(&store, bytes)).count();
    assert_eq!(there, store.usage().blobs);
}

/// How long this thread was on a processor.
fn processor_time() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

/// Fills a store with `count` tiny blobs, a thousand at a time, and gives how long opening it again takes.
fn time_open(count: u32, limits: impl Fn() -> Limits) -> (Duration, TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open_limited(dir.path(), Options::durable(), limits()).unwrap();
    let (sender, receiver) = mpsc::channel();
    for thousand in 0..count / 1000 {
        for number in thousand * 1000..(thousand + 1) * 1000 {
            let (sender, bytes) = (sender.clone(), content(number, 40));
            let done = move |result: Result<Metainfo>| sender.send(result.is_ok()).unwrap();
            store.submit(Digest::sha256(&bytes), bytes.into(), done);
        }
        assert!((0..1000).all(|_| receiver.recv().unwrap()));
    }
    drop(store);
    // Time on a processor: what else the machine does is not what is measured.
    let begun = processor_time();
    let (store, recovery) = Store::open_limited(dir.path(), Options::durable(), limits()).unwrap();
    let took = processor_time() - begun;
    assert_eq!((recovery.blobs, store.usage().blobs), (count as usize, count as usize));
    assert!(is_whole(&store, &content(count - 1, 40)) && is_whole(&store, &content(0, 40)));
    (took, dir, store)
}

#[test]
fn twenty_thousand_blobs_open_in_a_moment() {
    let limits = || Limits { segment_len: 1024 * 1024, compacts: false, faults: Faults::default() };
    let (took, _dir, store) = time_open(20_000, limits);
    assert!(!store.usage().counting);
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[test]
#[ignore = "a minute of work; to be run by hand in a release build, where the time means something"]
fn a_million_blobs_open_in_a_second() {
    let memory = || -> u64 {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let before = memory();
    let (took, _dir, store) = time_open(1_000_000, Limits::default);
    println!("opened in {took:?}; {before} KiB resident before, {} KiB after", memory());
    assert!(took < Duration::from_secs(1), "{took:?}");
    drop(store);
}
