//! Downloads: pieces in any order, from many threads, across restarts and bad disks.

use std::fs;

use shoal_store::{Error, ErrorKind, Partial, Written};
use shoal_swarm_types::Bitfield;

use super::*;

fn fill(partial: &Partial, bytes: &[u8]) {
    for index in partial.have().iter_missing() {
        assert_eq!(
            partial.write_piece(index, &piece(partial.metainfo(), bytes, index.0)).unwrap(),
            Written::Stored
        );
    }
}

fn missing(have: &Bitfield) -> Vec<u32> {
    have.iter_missing().map(|index| index.0).collect()
}

#[test]
fn pieces_in_any_order_make_the_blob() {
    for options in [Options::durable(), CACHE] {
        let (dir, store) = temporary(options);
        let bytes = content(1, 6 * PIECE + 1);
        let metainfo = metainfo(&bytes);
        let partial = store.partial(&metainfo).unwrap();
        for index in [6, 0, 3, 5, 1, 4, 2] {
            let early = partial.commit().unwrap_err();
            assert!(matches!(early, Error::Incomplete { .. }) && early.kind() == ErrorKind::Invalid);
            assert_eq!(partial.read_piece(PieceIndex(index)).unwrap_err().kind(), ErrorKind::NotFound);
            let bytes = piece(&metainfo, &bytes, index);
            assert_eq!(partial.write_piece(PieceIndex(index), &bytes).unwrap(), Written::Stored);
            assert_eq!(partial.write_piece(PieceIndex(index), &bytes).unwrap(), Written::Duplicate);
            assert_eq!(partial.read_piece(PieceIndex(index)).unwrap(), bytes);
        }
        assert_eq!(store.usage().partial_bytes, bytes.len() as u64);
        let blob = partial.commit().unwrap();
        assert_eq!(
            (read(&blob), store.stat(metainfo.digest()).unwrap()),
            (bytes.clone(), Some(bytes.len() as u64))
        );
        assert_eq!((store.usage().partial_bytes, store.usage().bytes), (0, bytes.len() as u64));
        assert_eq!((store.partials().len(), files(dir.path()).len()), (0, 2));
        // The handle goes on as a reader, and a second commit changes nothing.
        assert_eq!(partial.read_piece(PieceIndex(2)).unwrap(), piece(&metainfo, &bytes, 2));
        assert_eq!(
            partial.write_piece(PieceIndex(2), &piece(&metainfo, &bytes, 2)).unwrap(),
            Written::Duplicate
        );
        partial.commit().unwrap();
        drop((partial, blob, store));
        assert_eq!(read(&open(dir.path(), options).blob(metainfo.digest()).unwrap()), bytes);
    }
}

#[test]
fn a_wrong_piece_never_becomes_readable() {
    let (_dir, store) = temporary(CACHE);
    let bytes = content(1, 2 * PIECE + 10);
    let metainfo = metainfo(&bytes);
    let partial = store.partial(&metainfo).unwrap();
    let good = piece(&metainfo, &bytes, 1);
    let mut flipped = good.clone();
    flipped[100] ^= 1;
    for wrong in [flipped, piece(&metainfo, &bytes, 0), good[1..].to_vec(), Vec::new()] {
        let error = partial.write_piece(PieceIndex(1), &wrong).unwrap_err();
        assert!(matches!(error, Error::CorruptPiece { .. }) && error.kind() == ErrorKind::Corrupt);
        assert_eq!(partial.read_piece(PieceIndex(1)).unwrap_err().kind(), ErrorKind::NotFound);
    }
    assert_eq!(partial.write_piece(PieceIndex(3), &good).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(partial.have().count(), 0);
}

#[test]
fn many_threads_write_pieces_of_one_download() {
    let (_dir, store) = temporary(CACHE);
    let bytes = content(1, 64 * PIECE);
    let metainfo = metainfo(&bytes);
    // Every piece is written by two threads, and each thread has asked for the download itself.
    let stored: usize = std::thread::scope(|scope| {
        let work = |offset: u32| {
            let partial = store.partial(&metainfo).unwrap();
            let turn = (0..64)
                .map(|index| (index + offset) % 64)
                .filter(|index| (index / 8 + offset / 8).is_multiple_of(2));
            turn.filter(|index| {
                let bytes = piece(&metainfo, &bytes, *index);
                partial.write_piece(PieceIndex(*index), &bytes).unwrap() == Written::Stored
            })
            .count()
        };
        let threads: Vec<_> = [0, 8, 16, 24].map(|offset| scope.spawn(move || work(offset))).into();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    // Nobody holds the download now: this resumes it, from the files.
    let partial = store.partial(&metainfo).unwrap();
    assert_eq!((stored, partial.have().count()), (64, 64));
    assert_eq!(read(&partial.commit().unwrap()), bytes);
}

#[test]
fn callers_of_one_digest_share_one_download() {
    let (_dir, store) = temporary(CACHE);
    let bytes = content(1, 2 * PIECE);
    let (first, second) =
        (store.partial(&metainfo(&bytes)).unwrap(), store.partial(&metainfo(&bytes)).unwrap());
    first.write_piece(PieceIndex(0), &bytes[..PIECE]).unwrap();
    assert_eq!(second.read_piece(PieceIndex(0)).unwrap(), bytes[..PIECE]);
    assert_eq!(store.resume(first.digest()).unwrap().have().count(), 1);
    assert_eq!(store.usage().partial_bytes, bytes.len() as u64);
    let other = Metainfo::of(Digest::sha256(&bytes), &content(2, 2 * PIECE));
    assert!(matches!(store.partial(&other).unwrap_err(), Error::MetainfoConflict(_)));
}

#[test]
fn a_resumed_download_forgets_the_pieces_that_the_disk_lost() {
    for options in [Options::durable(), CACHE] {
        let (dir, store) = temporary(options);
        let bytes = content(1, 5 * PIECE);
        let metainfo = metainfo(&bytes);
        let digest = metainfo.digest();
        let partial = store.partial(&metainfo).unwrap();
        for index in [0, 1, 3] {
            partial.write_piece(PieceIndex(index), &piece(&metainfo, &bytes, index)).unwrap();
        }
        drop((partial, store));
        damage(&file_of(dir.path(), digest, "data"), PIECE + 5);
        let (store, recovery) = Store::open(dir.path(), options).unwrap();
        assert_eq!((recovery.partials, store.partials()), (1, vec![*digest]));
        assert_eq!(store.usage().partial_bytes, bytes.len() as u64);
        let partial = store.partial(&metainfo).unwrap();
        assert_eq!(missing(&partial.have()), [1, 2, 4]);
        fill(&partial, &bytes);
        assert_eq!(read(&partial.commit().unwrap()), bytes);
    }
}

#[test]
fn a_short_data_file_or_a_lost_claims_file_costs_pieces_only() {
    let (dir, mut store) = temporary(CACHE);
    let bytes = content(1, 4 * PIECE);
    let metainfo = metainfo(&bytes);
    fill(&store.partial(&metainfo).unwrap(), &bytes);
    let path = |extension| file_of(dir.path(), metainfo.digest(), extension);
    fs::File::options().write(true).open(path("data")).unwrap().set_len(PIECE as u64 + 1).unwrap();
    drop(store);
    store = open(dir.path(), CACHE);
    assert_eq!(missing(&store.resume(metainfo.digest()).unwrap().have()), [1, 2, 3]);
    fs::write(path("have"), b"\x01\x02garbage, and too long").unwrap();
    drop(store);
    store = open(dir.path(), CACHE);
    assert_eq!(missing(&store.resume(metainfo.digest()).unwrap().have()), [1, 2, 3]);
    fs::remove_file(path("have")).unwrap();
    drop(store);
    store = open(dir.path(), CACHE);
    let partial = store.resume(metainfo.digest()).unwrap();
    assert_eq!(missing(&partial.have()), [0, 1, 2, 3]);
    fill(&partial, &bytes);
    assert_eq!(read(&partial.commit().unwrap()), bytes);
}

#[test]
fn a_piece_that_rots_during_the_download_is_missed_again() {
    let (dir, store) = temporary(CACHE);
    let bytes = content(1, 2 * PIECE);
    let partial = store.partial(&metainfo(&bytes)).unwrap();
    fill(&partial, &bytes);
    damage(&file_of(dir.path(), partial.digest(), "data"), PIECE);
    assert_eq!(partial.read_piece(PieceIndex(1)).unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(missing(&partial.have()), [1]);
    assert_eq!(partial.commit().unwrap_err().kind(), ErrorKind::Invalid);
    fill(&partial, &bytes);
    assert_eq!(read(&partial.commit().unwrap()), bytes);
}

#[test]
fn a_download_of_nothing_can_be_committed_at_once() {
    for options in [Options::durable(), CACHE] {
        let (dir, store) = temporary(options);
        let partial = store.partial(&metainfo(b"")).unwrap();
        assert!(partial.have().is_full());
        drop((partial, store));
        let store = open(dir.path(), options);
        let blob = store.resume(&Digest::sha256(b"")).unwrap().commit().unwrap();
        assert_eq!((blob.size(), store.stat(blob.digest()).unwrap()), (0, Some(0)));
        assert_eq!(store.demote(blob.digest()).unwrap().commit().unwrap().size(), 0);
    }
}

#[test]
fn a_discarded_download_leaves_nothing() {
    let (dir, store) = temporary(CACHE);
    let bytes = content(1, 2 * PIECE);
    let partial = store.partial(&metainfo(&bytes)).unwrap();
    fill(&partial, &bytes);
    partial.discard();
    partial.discard();
    assert!(files(dir.path()).is_empty() && store.partials().is_empty() && store.usage().partial_bytes == 0);
    assert_eq!(partial.commit().unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(partial.read_piece(PieceIndex(0)).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(partial.write_piece(PieceIndex(0), &bytes[..PIECE]).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(store.resume(partial.digest()).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(store.partial(partial.metainfo()).unwrap().have().count(), 0);
}

#[test]
fn a_blob_that_came_from_elsewhere_ends_the_download() {
    let (dir, store) = temporary(Options::durable());
    let bytes = content(1, 2 * PIECE);
    let partial = store.partial(&metainfo(&bytes)).unwrap();
    fill(&partial, &bytes);
    store.put(partial.digest(), &bytes).unwrap();
    assert_eq!(read(&partial.commit().unwrap()), bytes);
    assert_eq!((files(dir.path()).len(), store.usage().partial_bytes, store.partials().len()), (2, 0, 0));
}

#[test]
fn a_durable_store_does_not_believe_a_metainfo_of_other_content() {
    let (dir, store) = temporary(Options::durable());
    let bytes = content(1, 2 * PIECE);
    let lie = Metainfo::of(Digest::sha256(b"something else"), &bytes);
    let partial = store.partial(&lie).unwrap();
    fill(&partial, &bytes);
    assert_eq!(partial.commit().unwrap_err().kind(), ErrorKind::DigestMismatch);
    assert!(files(dir.path()).is_empty() && store.partials().is_empty() && store.digests().is_empty());
}

#[test]
fn a_newer_metainfo_replaces_the_files_of_an_older_one() {
    let (_dir, store) = temporary(CACHE);
    let (bytes, digest) = (content(1, 3 * PIECE), Digest::sha256(&content(1, 3 * PIECE)));
    let wrong = Metainfo::of(digest, &content(2, 5 * PIECE));
    fill(&store.partial(&wrong).unwrap(), &content(2, 5 * PIECE));
    let partial = store.partial(&metainfo(&bytes)).unwrap();
    assert_eq!((partial.have().count(), store.usage().partial_bytes), (0, bytes.len() as u64));
    fill(&partial, &bytes);
    assert_eq!(read(&partial.commit().unwrap()), bytes);
}

#[test]
fn demotion_keeps_the_pieces_that_verify() {
    for options in [Options::durable(), CACHE] {
        let (dir, store) = temporary(options);
        let bytes = content(1, 4 * PIECE + 3);
        let digest = Digest::sha256(&bytes);
        store.put(&digest, &bytes).unwrap();
        let reader = store.blob(&digest).unwrap();
        damage(&file_of(dir.path(), &digest, "data"), 2 * PIECE + 1);
        assert!(matches!(
            reader.read_piece(PieceIndex(2)).unwrap_err(),
            Error::CorruptPiece { index: PieceIndex(2), .. }
        ));
        assert_eq!(reader.read_piece(PieceIndex(1)).unwrap(), bytes[PIECE..2 * PIECE]);
        let (first, second) = (store.demote(&digest).unwrap(), store.demote(&digest).unwrap());
        assert_eq!((missing(&first.have()), missing(&second.have())), (vec![2], vec![2]));
        assert_eq!((store.stat(&digest).unwrap(), store.usage().partial_bytes), (None, bytes.len() as u64));
        drop((first, second, store.clone()));
        let partial = store.resume(&digest).unwrap();
        assert_eq!(missing(&partial.have()), [2]);
        fill(&partial, &bytes);
        assert_eq!(read(&partial.commit().unwrap()), bytes);
        assert_eq!(read(&reader), bytes, "old readers see the repair");
        assert_eq!((store.usage().partial_bytes, store.usage().bytes), (0, bytes.len() as u64));
    }
}

#[test]
fn demotion_of_what_is_not_there_or_vanished_is_no_disaster() {
    let (dir, store) = temporary(CACHE);
    assert_eq!(store.demote(&Digest::sha256(b"x")).unwrap_err().kind(), ErrorKind::NotFound);
    let bytes = content(1, 2 * PIECE);
    let digest = Digest::sha256(&bytes);
    store.put(&digest, &bytes).unwrap();
    fs::remove_file(file_of(dir.path(), &digest, "data")).unwrap();
    assert_eq!(store.blob(&digest).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!((store.stat(&digest).unwrap(), store.usage().bytes), (None, 0));
    store.put(&digest, &bytes).unwrap();
    let reader = store.blob(&digest).unwrap();
    fs::remove_file(file_of(dir.path(), &digest, "data")).unwrap();
    // The reader's file still has every byte, but no name: the download starts anew.
    let partial = store.demote(&digest).unwrap();
    assert_eq!(missing(&partial.have()), [0, 1]);
    assert_eq!(read(&reader), bytes);
}
