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

/// Pushes content, and flips the bytes at `wrong` in the file before the commit: what a disk would give back that did not keep its word.
fn pushed(options: Options, size: usize, wrong: &[usize]) -> (TempDir, Store, Vec<u8>, Blob) {
    let (dir, store) = temporary(options);
    let bytes = content(6, size);
    let id = store.create_upload("team/app").unwrap();
    let mut upload = store.open_upload(&id).unwrap();
    upload.write(&bytes).unwrap();
    let data = files(dir.path()).into_iter().find(|path| fs::metadata(path).unwrap().len() == size as u64);
    let file = fs::File::options().write(true).open(data.unwrap()).unwrap();
    for at in wrong {
        file.write_all_at(&[!bytes[*at]], *at as u64).unwrap();
    }
    let metainfo = upload.commit(&Digest::sha256(&bytes)).unwrap();
    let blob = store.blob(metainfo.digest()).unwrap();
    (dir, store, bytes, blob)
}

#[test]
fn a_pushed_piece_goes_unread_once_and_only_to_those_who_verify() {
    for options in [Options::durable(), CACHE] {
        let (dir, store, bytes, blob) = pushed(options, 3 * PIECE + 9, &[]);
        assert!(blob.file_range(0..bytes.len() as u64).is_none(), "nothing is verified by a push");
        let last = blob.piece_to_send(PieceIndex(3)).unwrap();
        assert_eq!(bytes_of(&last), bytes[3 * PIECE..]);
        drop(blob);
        let blob = store.blob(&Digest::sha256(&bytes)).unwrap();
        assert!(blob.piece_to_send(PieceIndex(3)).is_none(), "once");
        assert!(blob.piece_to_send(PieceIndex(4)).is_none(), "there is no such piece");
        settle(&file_of(dir.path(), blob.digest(), "data"));
        blob.verify_piece(PieceIndex(3)).unwrap();
        assert!(blob.piece_to_send(PieceIndex(3)).is_some() && blob.piece_to_send(PieceIndex(3)).is_some());
        assert!(blob.piece_to_send(PieceIndex(0)).is_some(), "the others are as they were");
    }
}

#[test]
fn a_disk_that_did_not_keep_a_push_is_found_out_at_the_second_request() {
    let (_dir, store, bytes, blob) = pushed(Options::durable(), 3 * PIECE, &[PIECE + 5]);
    let sent = blob.piece_to_send(PieceIndex(1)).unwrap();
    assert!(!blob.metainfo().verify(PieceIndex(1), &bytes_of(&sent)), "the receiver notices");
    assert!(blob.piece_to_send(PieceIndex(1)).is_none());
    assert_eq!(blob.verify_piece(PieceIndex(1)).unwrap_err().kind(), shoal_store::ErrorKind::Corrupt);
    assert_eq!(store.quarantined()[0].digest, Digest::sha256(&bytes));
    assert_eq!(store.stat(&Digest::sha256(&bytes)).unwrap(), None);
}

#[test]
fn a_client_never_gets_a_pushed_byte_unread() {
    let (_dir, _store, bytes, blob) = pushed(Options::durable(), 3 * PIECE, &[5]);
    assert!(blob.file_range(0..bytes.len() as u64).is_none());
    assert_eq!(blob.read_range(0..bytes.len() as u64).unwrap_err().kind(), shoal_store::ErrorKind::Corrupt);
}

#[test]
fn after_a_restart_or_a_change_every_pushed_piece_is_read_first() {
    let (dir, store, bytes, blob) = pushed(Options::durable(), 3 * PIECE, &[]);
    let data = file_of(dir.path(), blob.digest(), "data");
    drop((blob, store));
    let file = fs::File::options().write(true).open(&data).unwrap();
    file.write_all_at(&[!bytes[5]], 5).unwrap();
    let store = open(dir.path(), Options::durable());
    let blob = store.blob(&Digest::sha256(&bytes)).unwrap();
    assert!((0..3).all(|index| blob.piece_to_send(PieceIndex(index)).is_none()));
    assert_eq!(blob.verify_piece(PieceIndex(0)).unwrap_err().kind(), shoal_store::ErrorKind::Corrupt);

    let (dir, _store, bytes, blob) = pushed(Options::durable(), 3 * PIECE, &[]);
    let file = fs::File::options().write(true).open(file_of(dir.path(), blob.digest(), "data")).unwrap();
    file.write_all_at(&[!bytes[5]], 5).unwrap();
    assert!((0..3).all(|index| blob.piece_to_send(PieceIndex(index)).is_none()));
}

#[test]
fn what_was_mended_or_pushed_again_is_another_file() {
    let (_dir, store, bytes, blob) = pushed(Options::durable(), 3 * PIECE, &[]);
    assert!(blob.piece_to_send(PieceIndex(0)).is_some());
    let partial = store.demote(blob.digest()).unwrap();
    drop(blob);
    let blob = partial.commit().unwrap();
    // Read from the first to the last byte on the way.
    assert!(blob.file_range(0..bytes.len() as u64).is_some());
    store.remove(blob.digest()).unwrap();
    store.put(blob.digest(), &bytes).unwrap();
    assert!(store.blob(blob.digest()).unwrap().piece_to_send(PieceIndex(1)).is_none());
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
