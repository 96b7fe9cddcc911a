//! What others can have of a blob that is coming in, and what stays of it.

use shoal_swarm_types::{PieceIndex, PieceLength};
use tempfile::TempDir;

use super::*;
use crate::error::ErrorKind;
use crate::options::Options;
use crate::store::Store;

const LEN: usize = PieceLength::MIN.get() as usize;

fn content(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at * 31 % 253) as u8).collect()
}

fn store() -> (TempDir, Store) {
    let dir = TempDir::new().unwrap();
    let (store, _) = Store::open(dir.path(), Options::durable()).unwrap();
    (dir, store)
}

fn nothing_stays(store: &Store) {
    let usage = store.usage();
    assert_eq!((usage.blobs, usage.partial_bytes, usage.upload_bytes), (0, 0, 0));
    assert!(store.partials().is_empty());
}

#[test]
fn a_piece_is_there_with_its_last_byte_and_the_last_piece_with_the_verdict() {
    let (_dir, store) = store();
    let bytes = content(3 * LEN);
    let digest = Digest::sha256(&bytes);
    let mut inflow = store.inflow(&digest, bytes.len() as u64).unwrap();
    let partial = inflow.partial().clone();
    inflow.write(&bytes[..LEN - 1]).unwrap();
    assert!(partial.have().count() == 0 && !partial.metainfo().knows(PieceIndex(0)));
    inflow.write(&bytes[LEN - 1..2 * LEN + 5]).unwrap();
    assert_eq!((partial.have().count(), partial.metainfo().known_count()), (2, 2));
    assert_eq!(partial.read_piece(PieceIndex(1)).unwrap(), &bytes[LEN..2 * LEN]);
    assert!(partial.file_range(0..2 * LEN as u64).is_some());
    assert_eq!(inflow.judge().unwrap_err().kind(), ErrorKind::Invalid, "bytes are missing");
    inflow.write(&bytes[2 * LEN + 5..]).unwrap();
    assert_eq!((partial.have().count(), partial.metainfo().known_count()), (2, 2));
    assert_eq!(partial.read_piece(PieceIndex(2)).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(inflow.write(b"more").unwrap_err().kind(), ErrorKind::Invalid);
    inflow.judge().unwrap();
    assert!(partial.have().is_full() && partial.metainfo().is_whole());
    assert_eq!(partial.read_piece(PieceIndex(2)).unwrap(), &bytes[2 * LEN..]);
    assert!(store.stat(&digest).unwrap().is_none(), "not before it is durable");
    let blob = inflow.commit().unwrap();
    assert_eq!(*blob.metainfo(), Metainfo::of(digest, &bytes));
    assert!(blob.file_range(0..10).is_none(), "clients get nothing that was not read");
    assert!(blob.piece_to_send(PieceIndex(0)).is_some(), "peers verify");
    assert_eq!(blob.read_range(0..10).unwrap(), &bytes[..10]);
    drop((blob, partial));
    assert_eq!(store.usage().partial_bytes, 0);
}

#[test]
fn content_that_is_another_leaves_nothing() {
    let (_dir, store) = store();
    let bytes = content(2 * LEN + 1);
    let mut inflow = store.inflow(&Digest::sha256(b"another"), bytes.len() as u64).unwrap();
    let partial = inflow.partial().clone();
    inflow.write(&bytes).unwrap();
    assert_eq!(partial.have().count(), 2);
    assert_eq!(inflow.judge().unwrap_err().kind(), ErrorKind::DigestMismatch);
    assert!(!partial.metainfo().is_whole());
    assert_eq!(partial.read_piece(PieceIndex(0)).unwrap_err().kind(), ErrorKind::NotFound);
    nothing_stays(&store);
    drop(inflow);
    nothing_stays(&store);
}

#[test]
fn what_is_given_up_leaves_nothing_and_what_a_killed_process_left_is_removed() {
    let (dir, store) = store();
    let bytes = content(2 * LEN + 1);
    let (digest, size) = (Digest::sha256(&bytes), bytes.len() as u64);
    let mut inflow = store.inflow(&digest, size).unwrap();
    inflow.write(&bytes[..LEN + 1]).unwrap();
    assert_eq!(store.inflow(&digest, size).unwrap_err().kind(), ErrorKind::Invalid, "one at a time");
    drop(inflow);
    nothing_stays(&store);
    let mut inflow = store.inflow(&digest, size).unwrap();
    inflow.write(&bytes[..LEN + 1]).unwrap();
    // As if the process had ended: nothing runs any more.
    let partial = inflow.partial().clone();
    let left: Vec<_> = files(dir.path());
    assert!(!left.is_empty());
    let copy = TempDir::new().unwrap();
    for (path, content) in left {
        let place = copy.path().join(path.strip_prefix(dir.path()).unwrap());
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::write(place, content).unwrap();
    }
    let (next, recovery) = Store::open(copy.path(), Options::durable()).unwrap();
    assert_eq!(recovery.partials, 0);
    nothing_stays(&next);
    assert!(files(copy.path()).iter().all(|(path, _)| !path.to_string_lossy().contains(&hex(&digest))));
    drop((partial, inflow));
}

#[test]
fn a_push_of_the_same_blob_meanwhile_is_the_blob() {
    let (_dir, store) = store();
    let bytes = content(2 * LEN + 1);
    let digest = Digest::sha256(&bytes);
    let mut inflow = store.inflow(&digest, bytes.len() as u64).unwrap();
    inflow.write(&bytes).unwrap();
    let mut upload = store.open_upload(&store.create_upload("label").unwrap()).unwrap();
    upload.write(&bytes).unwrap();
    upload.commit(&digest).unwrap();
    let blob = inflow.commit().unwrap();
    assert_eq!(blob.read_range(LEN as u64..LEN as u64 + 9).unwrap(), &bytes[LEN..LEN + 9]);
    assert_eq!((store.usage().blobs, store.usage().partial_bytes), (1, 0));
}

fn hex(digest: &Digest) -> String {
    digest.to_string().trim_start_matches("sha256:").to_owned()
}

fn files(dir: &std::path::Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| match path.is_dir() {
            true => files(&path),
            false => vec![(path.clone(), std::fs::read(path).unwrap())],
        })
        .collect()
}
