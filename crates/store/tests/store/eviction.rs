//! Room: who goes, who stays, and when nothing helps.

use std::fs;
use std::time::{Duration, SystemTime};

use shoal_store::{Durability, ErrorKind};

use super::*;

const KIB: usize = 1024;

fn put(store: &Store, seed: u64) -> Digest {
    let bytes = content(seed, 10 * KIB);
    let digest = Digest::sha256(&bytes);
    store.put(&digest, &bytes).unwrap();
    digest
}

fn present(store: &Store, digests: &[Digest]) -> Vec<bool> {
    digests.iter().map(|digest| store.stat(digest).unwrap().is_some()).collect()
}

#[test]
fn the_least_recently_used_blob_makes_room() {
    let (dir, store) = temporary(Options::cache(30 * KIB as u64));
    let blobs: Vec<_> = (0..3).map(|seed| put(&store, seed)).collect();
    drop(store.blob(&blobs[0]).unwrap());
    put(&store, 3);
    assert_eq!(present(&store, &blobs), [true, false, true]);
    let usage = store.usage();
    assert_eq!((usage.bytes, usage.evictions, usage.blobs), (30 * KIB as u64, 1, 3));
    assert_eq!(files(dir.path()).len(), 6);
}

#[test]
fn what_is_read_stays_and_when_all_is_read_there_is_no_space() {
    let (_dir, store) = temporary(Options::cache(30 * KIB as u64));
    let blobs: Vec<_> = (0..3).map(|seed| put(&store, seed)).collect();
    let mut readers: Vec<_> = blobs.iter().map(|digest| store.blob(digest).unwrap()).collect();
    let clone = readers[1].clone();
    let bytes = content(9, KIB);
    let error = store.put(&Digest::sha256(&bytes), &bytes).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    assert!(error.to_string().contains("capacity"), "{error}");
    readers.remove(1);
    assert_eq!(store.put(&Digest::sha256(&bytes), &bytes).unwrap_err().kind(), ErrorKind::NoSpace);
    drop(clone);
    store.put(&Digest::sha256(&bytes), &bytes).unwrap();
    assert_eq!(present(&store, &blobs), [true, false, true]);
}

#[test]
fn what_can_never_fit_evicts_nobody() {
    let (dir, store) = temporary(Options::cache(30 * KIB as u64));
    let blobs: Vec<_> = (0..3).map(|seed| put(&store, seed)).collect();
    let bytes = content(9, 31 * KIB);
    assert_eq!(store.put(&Digest::sha256(&bytes), &bytes).unwrap_err().kind(), ErrorKind::NoSpace);
    assert_eq!(store.partial(&metainfo(&bytes)).unwrap_err().kind(), ErrorKind::NoSpace);
    let id = store.create_upload("a").unwrap();
    let mut upload = store.open_upload(&id).unwrap();
    assert_eq!(upload.write(&bytes).unwrap_err().kind(), ErrorKind::NoSpace);
    assert_eq!(upload.size(), 0);
    upload.cancel();
    assert_eq!(present(&store, &blobs), [true, true, true]);
    let usage = store.usage();
    assert_eq!((usage.bytes, usage.partial_bytes, usage.upload_bytes), (30 * KIB as u64, 0, 0));
    assert_eq!((files(dir.path()).len(), store.partials().len()), (6, 0));
}

#[test]
fn uploads_and_downloads_count_and_make_room_for_themselves() {
    let (_dir, store) = temporary(Options::cache(30 * KIB as u64));
    let blobs: Vec<_> = (0..3).map(|seed| put(&store, seed)).collect();
    let download = store.partial(&metainfo(&content(9, 10 * KIB))).unwrap();
    assert_eq!(present(&store, &blobs), [false, true, true]);
    let id = store.create_upload("a").unwrap();
    let mut upload = store.open_upload(&id).unwrap();
    upload.write(&content(8, 5 * KIB)).unwrap();
    upload.write(&content(7, 5 * KIB)).unwrap();
    assert_eq!(present(&store, &blobs), [false, false, true]);
    drop(download);
    // A third claim: the last blob goes before the download that nobody has open, then that one.
    upload.write(&content(6, 15 * KIB)).unwrap();
    assert_eq!(present(&store, &blobs), [false; 3]);
    assert_eq!((store.partials().len(), store.usage().upload_bytes), (0, 25 * KIB as u64));
    assert_eq!(upload.write(&content(6, 6 * KIB)).unwrap_err().kind(), ErrorKind::NoSpace);
}

#[test]
fn an_open_download_is_not_evicted() {
    let (_dir, store) = temporary(Options::cache(20 * KIB as u64));
    let bytes = content(1, 20 * KIB);
    let download = store.partial(&metainfo(&bytes)).unwrap();
    let other = content(2, KIB);
    assert_eq!(store.put(&Digest::sha256(&other), &other).unwrap_err().kind(), ErrorKind::NoSpace);
    download.write_piece(PieceIndex(0), &bytes).unwrap();
    assert_eq!(read(&download.commit().unwrap()), bytes);
}

#[test]
fn the_order_of_use_survives_a_restart() {
    let (dir, store) = temporary(Options::cache(30 * KIB as u64));
    let blobs: Vec<_> = (0..3).map(|seed| put(&store, seed)).collect();
    drop(store);
    // Stated here instead of awaited: file times may be coarser than this test is fast.
    for (digest, age) in blobs.iter().zip([10, 30, 20]) {
        let file = fs::File::options().write(true).open(file_of(dir.path(), digest, "metainfo")).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 - age)).unwrap();
    }
    let store = open(dir.path(), Options::cache(30 * KIB as u64));
    put(&store, 3);
    assert_eq!(present(&store, &blobs), [true, false, true]);
    put(&store, 4);
    assert_eq!(present(&store, &blobs), [true, false, false]);
}

#[test]
fn uses_reach_the_disk_once_in_a_while() {
    let (dir, store) = temporary(CACHE);
    let (a, b) = (put(&store, 1), put(&store, 2));
    let path = file_of(dir.path(), &a, "metainfo");
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    fs::File::options().write(true).open(&path).unwrap().set_modified(long_ago).unwrap();
    drop(store.blob(&a).unwrap());
    assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), long_ago);
    for _ in 0..100 {
        drop(store.blob(&b).unwrap());
    }
    drop(store.blob(&a).unwrap());
    assert!(fs::metadata(&path).unwrap().modified().unwrap() > long_ago);
}

#[test]
fn a_smaller_capacity_takes_effect_at_the_next_start() {
    let (dir, store) = temporary(CACHE);
    let blobs: Vec<_> = (0..3).map(|seed| put(&store, seed)).collect();
    drop(store);
    let store = open(dir.path(), Options::cache(15 * KIB as u64));
    assert_eq!(present(&store, &blobs).iter().filter(|present| **present).count(), 1);
}

#[test]
fn a_durable_store_never_evicts() {
    let options = Options { capacity: Some(30 * KIB as u64), ..Options::durable() };
    let (dir, store) = temporary(options);
    let blobs: Vec<_> = (0..3).map(|seed| put(&store, seed)).collect();
    let bytes = content(9, KIB);
    assert_eq!(store.put(&Digest::sha256(&bytes), &bytes).unwrap_err().kind(), ErrorKind::NoSpace);
    drop(store);
    let store = open(dir.path(), Options { capacity: Some(1), ..options });
    assert_eq!(present(&store, &blobs), [true, true, true]);
}

#[test]
fn the_reserve_of_free_disk_is_kept() {
    for durability in [Durability::Durable, Durability::Cache] {
        let (dir, store) = temporary(Options { durability, capacity: None, free_min: u64::MAX });
        let error = store.put(&Digest::sha256(b"x"), b"x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoSpace);
        assert!(error.to_string().contains("stay free"), "{error}");
        assert_eq!(store.partial(&metainfo(b"x")).unwrap_err().kind(), ErrorKind::NoSpace);
        assert!(files(dir.path()).is_empty());
    }
    let (_dir, store) = temporary(Options { free_min: 1, ..CACHE });
    put(&store, 1);
}

#[test]
fn readers_and_evictors_may_race() {
    // Four threads use two blobs each at most: one that they bring, and its copy that somebody else was faster with.
    const CAPACITY: usize = 90 * KIB;
    let (_dir, store) = temporary(Options::cache(CAPACITY as u64));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let store = &store;
            scope.spawn(move || {
                for seed in 0..50 {
                    let bytes = content(seed % 13 + thread, 10 * KIB);
                    let digest = Digest::sha256(&bytes);
                    store.put(&digest, &bytes).unwrap();
                    match store.blob(&digest) {
                        Ok(blob) => assert_eq!(read(&blob), bytes),
                        Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound),
                    }
                }
            });
        }
    });
    let usage = store.usage();
    assert_eq!((usage.bytes, usage.upload_bytes), ((usage.blobs * 10 * KIB) as u64, 0));
    assert!(usage.bytes <= CAPACITY as u64);
}

#[test]
fn a_full_durable_store_is_short_and_a_cache_only_while_nothing_may_go() {
    let capacity = Some(20 * KIB as u64);
    let (_dir, store) = temporary(Options { capacity, ..Options::durable() });
    let blobs = [put(&store, 1), put(&store, 2)];
    let sentence = store.shortage().unwrap().unwrap().to_string();
    assert!(sentence.contains("20480 bytes of a capacity of 20480"), "{sentence}");
    store.remove(&blobs[0]).unwrap();
    assert_eq!(store.shortage().unwrap(), None);

    let (_dir, cache) = temporary(Options { capacity, ..CACHE });
    let blobs = [put(&cache, 1), put(&cache, 2)];
    assert_eq!(cache.shortage().unwrap(), None);
    let readers = blobs.map(|digest| cache.blob(&digest).unwrap());
    assert!(cache.shortage().unwrap().is_some());
    drop(readers);
    assert_eq!(cache.shortage().unwrap(), None);
}

#[test]
fn what_is_kept_is_not_evicted_and_what_is_noted_as_used_goes_later() {
    let (_dir, store) = temporary(Options::cache(30 * KIB as u64));
    let blobs: Vec<_> = (0..3).map(|seed| put(&store, seed)).collect();
    store.keep(blobs[0]);
    store.note_use(&blobs[1]);
    put(&store, 3);
    assert_eq!(present(&store, &blobs), [true, true, false]);
    put(&store, 4);
    assert_eq!(present(&store, &blobs), [true, false, false]);
    assert!(store.is_kept(&blobs[0]) && store.unkeep(&blobs[0]) && !store.unkeep(&blobs[0]));
    put(&store, 5);
    assert_eq!(present(&store, &blobs), [false; 3]);
}

#[test]
fn a_download_that_is_kept_is_not_evicted_either() {
    let (_dir, store) = temporary(Options::cache(20 * KIB as u64));
    let bytes = content(1, 15 * KIB);
    store.keep(Digest::sha256(&bytes));
    drop(store.partial(&metainfo(&bytes)).unwrap());
    let other = content(2, 10 * KIB);
    assert_eq!(store.put(&Digest::sha256(&other), &other).unwrap_err().kind(), ErrorKind::NoSpace);
    assert_eq!(store.partials().len(), 1);
}
