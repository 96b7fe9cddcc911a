//! Ranges of blobs: read verified, and remembered so that they can be sent without being read again.

use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proptest::prelude::*;
use shoal_store::SMALL_SIZE_MAX;

use super::*;

/// Waits until changes of a file that lie in the past are told from later ones: the store trusts a file only then.
fn settle(path: &Path) {
    let file = fs::metadata(path).unwrap();
    let changed = UNIX_EPOCH + Duration::new(file.ctime() as u64, file.ctime_nsec() as u32);
    while SystemTime::now().duration_since(changed).unwrap_or_default() < Duration::from_millis(25) {
        std::thread::yield_now();
    }
}

fn blob(size: usize) -> (TempDir, Store, Vec<u8>, Blob) {
    let (dir, store) = temporary(Options::durable());
    let bytes = content(5, size);
    let digest = Digest::sha256(&bytes);
    store.put(&digest, &bytes).unwrap();
    if size as u64 > SMALL_SIZE_MAX {
        settle(&file_of(dir.path(), &digest, "data"));
    }
    let blob = store.blob(&digest).unwrap();
    (dir, store, bytes, blob)
}

fn bytes_of(range: &shoal_store::FileRange) -> Vec<u8> {
    let mut bytes = vec![0; range.len as usize];
    range.file.read_exact_at(&mut bytes, range.offset).unwrap();
    bytes
}

#[test]
fn only_what_was_read_is_known_and_all_of_it_is() {
    let (_dir, store, bytes, blob) = blob(5 * PIECE + 9);
    let size = bytes.len() as u64;
    assert!(blob.file_range(0..size).is_none(), "nothing is known from a push");
    blob.read_piece(PieceIndex(1)).unwrap();
    assert!(blob.file_range(PIECE as u64..2 * PIECE as u64 + 1).is_none());
    let range = blob.file_range(PIECE as u64 + 3..2 * PIECE as u64).unwrap();
    assert_eq!(bytes_of(&range), bytes[PIECE + 3..2 * PIECE]);
    while blob.file_range(0..size).is_none() {
        let mut at = 0;
        while at < size {
            at += blob.read_range(at..size).unwrap().len() as u64;
        }
    }
    assert_eq!(bytes_of(&blob.file_range(0..size).unwrap()), bytes);
    drop(blob);
    let blob = store.blob(&Digest::sha256(&bytes)).unwrap();
    assert!(blob.file_range(size - 1..size).is_some(), "it outlives the handle");
    for range in [0..0, 5..5, 0..size + 1, size..size + 1] {
        assert!(blob.file_range(range.clone()).is_none(), "{range:?}");
    }
}

#[test]
fn a_file_that_changes_is_read_again() {
    let (dir, _store, bytes, blob) = blob(3 * PIECE);
    let size = bytes.len() as u64;
    assert_eq!(blob.read_range(0..size).unwrap(), bytes);
    assert!(blob.file_range(0..size).is_some());
    let data = file_of(dir.path(), blob.digest(), "data");
    let file = fs::File::options().write(true).open(&data).unwrap();
    file.write_all_at(&[!bytes[70_000]], 70_000).unwrap();
    assert!(blob.file_range(0..size).is_none());
    assert_eq!(blob.read_range(0..size).unwrap(), bytes[..PIECE]);
    assert!(blob.read_range(PIECE as u64..size).is_err());
}

#[test]
fn setting_the_modification_time_back_does_not_help() {
    let (dir, _store, bytes, blob) = blob(2 * PIECE);
    let size = bytes.len() as u64;
    blob.read_range(0..size).unwrap();
    let data = file_of(dir.path(), blob.digest(), "data");
    let modified = fs::metadata(&data).unwrap().modified().unwrap();
    let file = fs::File::options().write(true).open(&data).unwrap();
    file.write_all_at(&[!bytes[5]], 5).unwrap();
    file.set_modified(modified).unwrap();
    assert!(blob.file_range(0..size).is_none());
}

#[test]
fn a_blob_that_came_back_is_another_file() {
    let (_dir, store, bytes, blob) = blob(2 * PIECE);
    let size = bytes.len() as u64;
    blob.read_range(0..size).unwrap();
    assert!(store.remove(blob.digest()).unwrap());
    store.put(blob.digest(), &bytes).unwrap();
    assert!(store.blob(blob.digest()).unwrap().file_range(0..size).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn every_range_gives_its_bytes_however_it_is_read(
        size in prop_oneof![1_usize..5 * PIECE, Just(2 * 1024 * 1024 + 77)],
        ranges in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..8),
    ) {
        let (_dir, _store, bytes, blob) = blob(size);
        for (one, other) in ranges {
            let (one, other) = (one.index(size + 1), other.index(size + 1));
            let range = one.min(other) as u64..one.max(other) as u64;
            let wanted = &bytes[range.start as usize..range.end as usize];
            if let Some(known) = blob.file_range(range.clone()) {
                prop_assert_eq!(bytes_of(&known), wanted);
            }
            let mut read = Vec::new();
            while read.len() < wanted.len() {
                read.extend_from_slice(&blob.read_range(range.start + read.len() as u64..range.end).unwrap());
            }
            prop_assert_eq!(read, wanted);
        }
    }
}
