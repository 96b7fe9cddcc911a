//! The store as its callers see it. Everything here goes through the public words; the disk is only touched to damage it.

#![expect(
    clippy::unwrap_used,
    reason = "the whole crate is a test, but clippy only knows functions marked as such"
)]

mod damage;
mod downloads;
mod eviction;
mod kill;
mod properties;
mod ranges;
mod recovery;
mod stress;
mod uploads;

use std::fs;
use std::path::{Path, PathBuf};

use shoal_oci::Digest;
use shoal_store::{Blob, Options, Store};
use shoal_swarm_types::{Metainfo, PieceIndex};
use tempfile::TempDir;

/// Length of a piece of every blob in these tests: they are below 32 MiB.
const PIECE: usize = 64 * 1024;

const CACHE: Options = Options { capacity: None, ..Options::cache(0) };

/// Bytes that differ from seed to seed and from piece to piece.
fn content(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..size).map(|_| next()).collect()
}

fn metainfo(bytes: &[u8]) -> Metainfo {
    Metainfo::of(Digest::sha256(bytes), bytes)
}

fn piece(metainfo: &Metainfo, bytes: &[u8], index: u32) -> Vec<u8> {
    let range = metainfo.layout().piece_range(PieceIndex(index));
    bytes[range.start as usize..range.end as usize].to_vec()
}

fn open(root: &Path, options: Options) -> Store {
    Store::open(root, options).unwrap().0
}

fn temporary(options: Options) -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), options);
    (dir, store)
}

fn read(blob: &Blob) -> Vec<u8> {
    let indices = (0..blob.metainfo().layout().piece_count()).map(PieceIndex);
    indices.flat_map(|index| blob.read_piece(index).unwrap()).collect()
}

/// Every file below `root` but the lock.
fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else if entry.file_name() != "lock" {
            found.push(entry.path());
        }
    }
    found
}

/// The one file of a digest with this extension.
fn file_of(root: &Path, digest: &Digest, extension: &str) -> PathBuf {
    let name = format!("{}.{extension}", digest.to_hex());
    files(root).into_iter().find(|path| path.ends_with(&name)).unwrap()
}

/// Flips one bit in a file.
fn damage(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    // In place, so that those who have the file open see it.
    fs::write(path, bytes).unwrap();
}

#[test]
fn small_content_goes_in_and_comes_out() {
    for options in [Options::durable(), CACHE] {
        let (dir, store) = temporary(options);
        for size in [0, 1, PIECE, PIECE + 1, 5 * PIECE] {
            let bytes = content(size as u64, size);
            let digest = Digest::sha256(&bytes);
            assert_eq!(store.put(&digest, &bytes).unwrap(), metainfo(&bytes));
            assert_eq!(store.put(&digest, &bytes).unwrap(), metainfo(&bytes), "twice is once");
            assert_eq!(store.stat(&digest).unwrap(), Some(size as u64));
            assert_eq!(read(&store.blob(&digest).unwrap()), bytes);
        }
        let usage = store.usage();
        assert_eq!((usage.blobs, usage.bytes, usage.upload_bytes), (5, (7 * PIECE + 2) as u64, 0));
        // A durable store has the three small ones in one segment.
        let files_wanted = if options == Options::durable() { 2 * 2 + 1 } else { 5 * 2 };
        assert_eq!((store.digests().len(), files(dir.path()).len()), (5, files_wanted));
    }
}

#[test]
fn content_under_a_wrong_digest_leaves_nothing() {
    let (dir, store) = temporary(Options::durable());
    let error = store.put(&Digest::sha256(b"this"), b"that").unwrap_err();
    assert_eq!(error.kind(), shoal_store::ErrorKind::DigestMismatch);
    assert!(files(dir.path()).is_empty() && store.digests().is_empty() && store.usage().upload_bytes == 0);
}

#[test]
fn sha512_names_a_blob_as_well() {
    let (dir, store) = temporary(Options::durable());
    let digest = Digest::of(shoal_oci::Algorithm::Sha512, b"x");
    store.put(&digest, b"x").unwrap();
    drop(store);
    let store = open(dir.path(), Options::durable());
    assert_eq!(read(&store.blob(&digest).unwrap()), b"x");
    assert_eq!(store.stat(&Digest::sha256(b"x")).unwrap(), None);
}

#[test]
fn a_removed_blob_is_gone_but_for_those_who_read_it() {
    let (dir, store) = temporary(CACHE);
    let bytes = content(1, 3 * PIECE);
    let digest = Digest::sha256(&bytes);
    store.put(&digest, &bytes).unwrap();
    let blob = store.blob(&digest).unwrap();
    assert!(store.remove(&digest).unwrap() && !store.remove(&digest).unwrap());
    assert_eq!((store.stat(&digest).unwrap(), store.usage().bytes, files(dir.path()).len()), (None, 0, 0));
    assert_eq!(store.blob(&digest).unwrap_err().kind(), shoal_store::ErrorKind::NotFound);
    assert_eq!(read(&blob), bytes);
    store.put(&digest, &bytes).unwrap();
    drop(blob);
    assert_eq!(read(&store.blob(&digest).unwrap()), bytes);
}

#[test]
fn a_second_open_is_refused_until_the_last_handle_is_gone() {
    let (dir, store) = temporary(CACHE);
    store.put(&Digest::sha256(b"x"), b"x").unwrap();
    let blob = store.blob(&Digest::sha256(b"x")).unwrap();
    drop(store);
    let error = Store::open(dir.path(), CACHE).unwrap_err();
    assert_eq!(error.kind(), shoal_store::ErrorKind::Busy);
    assert!(error.to_string().contains("in use"), "{error}");
    drop(blob);
    open(dir.path(), CACHE);
}

#[test]
fn pieces_beyond_the_end_are_refused() {
    let (_dir, store) = temporary(CACHE);
    for bytes in [content(1, PIECE + 1), Vec::new()] {
        let digest = Digest::sha256(&bytes);
        store.put(&digest, &bytes).unwrap();
        let blob = store.blob(&digest).unwrap();
        for index in [blob.metainfo().layout().piece_count(), u32::MAX] {
            assert_eq!(
                blob.read_piece(PieceIndex(index)).unwrap_err().kind(),
                shoal_store::ErrorKind::Invalid
            );
        }
    }
}
