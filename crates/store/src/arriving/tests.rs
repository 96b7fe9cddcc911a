//! Who writes where, and who gives way.

use shoal_oci::Digest;
use shoal_swarm_types::{Metainfo, PieceLength};
use tempfile::TempDir;

use super::*;
use crate::error::ErrorKind;
use crate::options::Options;
use crate::store::Store;

const LEN: usize = PieceLength::MIN.get() as usize;

fn content(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at * 31 % 253) as u8).collect()
}

/// A download of three pieces, the last of them short.
fn download() -> (TempDir, Partial, Vec<u8>) {
    let dir = TempDir::new().unwrap();
    let (store, _) = Store::open(dir.path(), Options::cache(1 << 30)).unwrap();
    let bytes = content(2 * LEN + 1000);
    let partial = store.partial(&Metainfo::of(Digest::sha256(&bytes), &bytes)).unwrap();
    (dir, partial, bytes)
}

fn piece(bytes: &[u8], index: usize) -> &[u8] {
    &bytes[index * LEN..bytes.len().min((index + 1) * LEN)]
}

fn check(partial: &Partial, index: u32, bytes: &[u8]) -> PieceVerdict {
    let mut check = partial.metainfo().check(PieceIndex(index)).unwrap();
    bytes.chunks(1 << 14).for_each(|part| check.update(part));
    check.finish()
}

#[test]
fn a_piece_that_arrives_in_parts_is_there_only_at_its_end() {
    let (_dir, partial, bytes) = download();
    let writer = partial.begin_piece(PieceIndex(1)).unwrap().unwrap();
    let want = piece(&bytes, 1);
    assert!(writer.write(&want[..1000]).unwrap());
    assert!(writer.write(&want[1000..]).unwrap());
    assert!(!partial.have().has(PieceIndex(1)));
    assert_eq!(partial.read_piece(PieceIndex(1)).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(partial.file_range(LEN as u64..LEN as u64 + 1).is_none());
    assert_eq!(writer.finish(&check(&partial, 1, want)).unwrap(), Written::Stored);
    assert_eq!(partial.read_piece(PieceIndex(1)).unwrap(), want);
    assert_eq!(partial.file_range(LEN as u64..LEN as u64 + 1).unwrap().offset, LEN as u64);
    assert!(partial.file_range(LEN as u64 - 1..LEN as u64 + 1).is_none(), "half of it is missing");
    assert!(partial.begin_piece(PieceIndex(1)).unwrap().is_none(), "it is there");
}

#[test]
fn one_at_a_time_writes_a_piece_and_whoever_stops_leaves_it_missing() {
    let (_dir, partial, bytes) = download();
    let writer = partial.begin_piece(PieceIndex(0)).unwrap().unwrap();
    assert!(partial.begin_piece(PieceIndex(0)).unwrap().is_none());
    assert!(partial.begin_piece(PieceIndex(1)).unwrap().is_some());
    writer.write(&piece(&bytes, 0)[..100]).unwrap();
    drop(writer);
    assert!(!partial.have().has(PieceIndex(0)));
    assert!(partial.begin_piece(PieceIndex(0)).unwrap().is_some());
}

#[test]
fn wrong_bytes_end_as_no_piece_and_may_be_replaced() {
    let (_dir, partial, bytes) = download();
    let writer = partial.begin_piece(PieceIndex(0)).unwrap().unwrap();
    let bad = vec![9; LEN];
    writer.write(&bad).unwrap();
    assert_eq!(writer.finish(&check(&partial, 0, &bad)).unwrap_err().kind(), ErrorKind::Corrupt);
    let writer = partial.begin_piece(PieceIndex(0)).unwrap().unwrap();
    writer.write(&bad[1..]).unwrap();
    let unwritten = check(&partial, 0, piece(&bytes, 0));
    assert_eq!(writer.finish(&unwritten).unwrap_err().kind(), ErrorKind::Corrupt, "a byte was not written");
    let writer = partial.begin_piece(PieceIndex(0)).unwrap().unwrap();
    let other = check(&partial, 1, piece(&bytes, 1));
    assert_eq!(writer.finish(&other).unwrap_err().kind(), ErrorKind::Corrupt, "the check of another piece");
    let good = piece(&bytes, 0);
    let checked = check(&partial, 0, good);
    assert_eq!(partial.write_checked(&checked, &[&good[..10], &good[10..]]).unwrap(), Written::Stored);
    assert_eq!(partial.read_piece(PieceIndex(0)).unwrap(), good);
    assert_eq!(partial.write_checked(&checked, &[&good[..10]]).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn a_checked_piece_displaces_one_that_is_still_arriving_and_not_the_other_way() {
    let (_dir, partial, bytes) = download();
    let slow = partial.begin_piece(PieceIndex(0)).unwrap().unwrap();
    assert!(slow.write(&[9; 100]).unwrap());
    assert_eq!(partial.write_piece(PieceIndex(0), piece(&bytes, 0)).unwrap(), Written::Stored);
    assert!(!slow.write(&[9; 100]).unwrap(), "its bytes are no longer written");
    assert_eq!(slow.finish(&check(&partial, 0, piece(&bytes, 0))).unwrap(), Written::Duplicate);
    assert_eq!(partial.read_piece(PieceIndex(0)).unwrap(), piece(&bytes, 0));
}

#[test]
fn bytes_beyond_the_piece_reach_nobody_elses_place() {
    let (_dir, partial, bytes) = download();
    partial.write_piece(PieceIndex(1), piece(&bytes, 1)).unwrap();
    let writer = partial.begin_piece(PieceIndex(0)).unwrap().unwrap();
    assert!(writer.write(&piece(&bytes, 0)[1..]).unwrap());
    assert_eq!(writer.write(&[0; 2]).unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(partial.read_piece(PieceIndex(1)).unwrap(), piece(&bytes, 1));
    assert_eq!(partial.begin_piece(PieceIndex(3)).unwrap_err().kind(), ErrorKind::Invalid);
    partial.discard();
    assert_eq!(writer.finish(&check(&partial, 0, piece(&bytes, 0))).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn many_who_write_the_same_piece_at_once_leave_the_right_bytes() {
    let (_dir, partial, bytes) = download();
    let good = piece(&bytes, 0);
    std::thread::scope(|scope| {
        for turn in 0..8_u8 {
            let partial = partial.clone();
            scope.spawn(move || {
                if turn % 2 == 0 {
                    return partial.write_piece(PieceIndex(0), good).map(drop).unwrap();
                }
                while let Some(writer) = partial.begin_piece(PieceIndex(0)).unwrap() {
                    let _displaced = writer.write(&[turn; LEN]).unwrap();
                }
            });
        }
    });
    assert_eq!(partial.read_piece(PieceIndex(0)).unwrap(), good);
    assert_eq!(partial.have().count(), 1);
}
