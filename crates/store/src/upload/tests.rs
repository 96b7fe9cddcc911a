//! Bytes on their way into an upload's file: past the page cache and through it, in portions of every length, with a disk that fails.

use std::fs;
use std::path::Path;

use nix::errno::Errno;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::direct::BLOCK_LEN;
use crate::faults::{Fault, Op};
use crate::{ErrorKind, Options, Store, UploadId, Usage};

const OPTIONS: Options = Options::durable();

fn content(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// A store on a file system that takes direct writes, or one that is treated as if it did not.
fn store(root: &Path, direct: bool) -> Store {
    let (store, _) = Store::open(root, OPTIONS).unwrap();
    if !direct {
        store.shared().buffers.give_up_direct();
    }
    store
}

fn temporary(direct: bool) -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), direct);
    (dir, store)
}

fn stored_len(store: &Store, id: &UploadId) -> u64 {
    fs::metadata(store.shared().paths.upload_data(id)).map_or(0, |file| file.len())
}

fn assert_is_blob(store: &Store, bytes: &[u8]) {
    let digest = Digest::sha256(bytes);
    assert_eq!(store.stat(&digest).unwrap(), Some(bytes.len() as u64));
    let blob = store.blob(&digest).unwrap();
    let mut read = Vec::new();
    while read.len() < bytes.len() {
        read.extend_from_slice(&blob.read_range(read.len() as u64..u64::MAX).unwrap());
    }
    assert!(read == bytes, "{} bytes came back differently", bytes.len());
}

/// Fills buffers as a receiver does and writes them.
fn write_buffered(store: &Store, upload: &mut Upload, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        let mut buffer = store.buffer(upload.size()).unwrap();
        let taken = buffer.extend(bytes);
        upload.write_buffer(buffer)?;
        bytes = &bytes[taken..];
    }
    Ok(())
}

#[test]
fn sizes_around_blocks_and_buffers_make_whole_blobs() {
    for direct in [true, false] {
        let (_dir, store) = temporary(direct);
        for edge in [0, BLOCK_LEN, 17 * BLOCK_LEN, BUFFER_LEN, 2 * BUFFER_LEN] {
            for size in [edge.saturating_sub(1), edge, edge + 1] {
                let bytes = content(size);
                let id = store.create_upload("a").unwrap();
                let mut upload = store.open_upload(&id).unwrap();
                write_buffered(&store, &mut upload, &bytes).unwrap();
                assert_eq!((upload.size(), stored_len(&store, &id)), (size as u64, size as u64));
                upload.commit(&Digest::sha256(&bytes)).unwrap();
                assert_is_blob(&store, &bytes);
            }
        }
        assert_eq!(store.shared().buffers.in_use_and_free(), (0, 0), "idle uploads hold no memory");
    }
}

#[test]
fn a_buffer_for_another_offset_is_written_all_the_same() {
    let (_dir, store) = temporary(true);
    let bytes = content(3 * BLOCK_LEN);
    let id = store.create_upload("a").unwrap();
    let mut upload = store.open_upload(&id).unwrap();
    upload.write(&bytes[..10]).unwrap();
    let mut buffer = store.buffer(0).unwrap();
    buffer.extend(&bytes[10..]);
    upload.write_buffer(buffer).unwrap();
    upload.commit(&Digest::sha256(&bytes)).unwrap();
    assert_is_blob(&store, &bytes);
}

#[test]
fn without_buffers_everything_goes_through_the_page_cache() {
    let (_dir, store) = temporary(true);
    let held: Vec<_> = std::iter::from_fn(|| store.buffer(0)).collect();
    let bytes = content(2 * BUFFER_LEN + 5);
    let id = store.create_upload("a").unwrap();
    let mut upload = store.open_upload(&id).unwrap();
    upload.write(&bytes).unwrap();
    upload.commit(&Digest::sha256(&bytes)).unwrap();
    drop(held);
    assert_is_blob(&store, &bytes);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Portions of any length, through either door, with the upload let go and the store opened again in between.
    #[test]
    fn an_upload_may_stop_and_go_on_at_any_offset(
        cuts in prop::collection::vec((0_usize..400_000, 0_u8..4, any::<bool>()), 1..12),
        direct in any::<bool>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut store = store(dir.path(), direct);
        let bytes = content(cuts.iter().map(|cut| cut.0).sum::<usize>() + 100_000);
        let id = store.create_upload("a").unwrap();
        let mut done = 0;
        for (len, pause, buffered) in cuts {
            let mut upload = store.open_upload(&id).unwrap();
            prop_assert_eq!(upload.size(), done as u64);
            // Small steps are as likely as large ones.
            let len = if pause == 3 { len % 10 } else { len };
            let part = &bytes[done..done + len];
            if buffered { write_buffered(&store, &mut upload, part).unwrap() } else { upload.write(part).unwrap() }
            done += len;
            upload.suspend();
            prop_assert_eq!(stored_len(&store, &id), done as u64);
            if pause == 0 && done > 0 {
                drop(store);
                store = self::store(dir.path(), direct);
            }
        }
        let mut upload = store.open_upload(&id).unwrap();
        upload.write(&bytes[done..]).unwrap();
        upload.commit(&Digest::sha256(&bytes)).unwrap();
        assert_is_blob(&store, &bytes);
    }
}

/// What a store counts, without what opening it finds out later.
fn books(usage: Usage) -> (u64, usize, u64, u64) {
    (usage.bytes, usage.blobs, usage.upload_bytes, usage.partial_bytes)
}

/// Pushes with one fault; gives the operations that were tried and whether the fault came to pass.
fn push_with_fault(store: &Store, bytes: &[u8], after: usize, fault: Fault) -> (Vec<Op>, bool) {
    let digest = Digest::sha256(bytes);
    let before = books(store.usage());
    let id = store.create_upload("a").unwrap();
    let faults = store.shared().faults.clone();
    faults.plan(after, fault);
    let outcome = push(store, &id, bytes);
    let (seen, happened) = faults.end();
    if outcome.is_ok() {
        assert_is_blob(store, bytes);
        assert!(store.remove(&digest).unwrap());
    } else {
        assert_eq!(store.stat(&digest).unwrap(), None, "{fault:?} after {seen:?}");
        finish(store, &id, bytes);
    }
    assert_eq!(books(store.usage()), before, "{fault:?} after {seen:?}");
    (seen, happened)
}

fn push(store: &Store, id: &UploadId, bytes: &[u8]) -> Result<()> {
    let mut upload = store.open_upload(id)?;
    let (buffered, rest) = bytes.split_at(bytes.len() - 777);
    write_buffered(store, &mut upload, buffered)?;
    upload.write(rest)?;
    upload.commit(&Digest::sha256(bytes)).map(drop)
}

/// After a fault the upload goes on from where it says that it is, or is gone and leaves nothing.
fn finish(store: &Store, id: &UploadId, bytes: &[u8]) {
    let digest = Digest::sha256(bytes);
    match store.open_upload(id) {
        Ok(mut upload) => {
            assert_eq!(upload.size(), stored_len(store, id));
            upload.write(&bytes[upload.size() as usize..]).unwrap();
            upload.commit(&digest).unwrap();
            assert_is_blob(store, bytes);
            assert!(store.remove(&digest).unwrap());
        }
        Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound),
    }
    let left = fs::read_dir(store.shared().paths.uploads()).unwrap().count();
    let staged = fs::read_dir(store.shared().paths.tmp()).unwrap().count();
    assert_eq!((left, staged), (0, 0));
}

#[test]
fn whichever_change_to_the_disk_fails_nothing_partial_is_visible_and_the_books_are_right() {
    let faults = [
        Fault::Error(Errno::ENOSPC),
        Fault::Error(Errno::EIO),
        Fault::Error(Errno::EROFS),
        Fault::Short(0, Errno::ENOSPC),
        Fault::Short(100, Errno::ENOSPC),
        Fault::Short(3 * BLOCK_LEN, Errno::EIO),
        Fault::Short(BLOCK_LEN + 1, Errno::EINTR),
    ];
    for direct in [true, false] {
        let (_dir, store) = temporary(direct);
        let (kept, bytes) = (content(300_000), content(BUFFER_LEN + 2 * BLOCK_LEN + 1000));
        store.put(&Digest::sha256(&kept), &kept).unwrap();
        for fault in faults {
            let mut met = std::collections::HashSet::new();
            for after in 0.. {
                let (seen, happened) = push_with_fault(&store, &bytes, after, fault);
                if !happened {
                    break;
                }
                met.extend(seen);
            }
            let all = [Op::Create, Op::Write, Op::Sync, Op::Rename, Op::SyncDir];
            let expected = if matches!(fault, Fault::Error(_)) { &all[..] } else { &[Op::Write] };
            assert!(expected.iter().all(|op| met.contains(op)), "{fault:?}: {met:?}");
        }
        assert_is_blob(&store, &kept);
    }
}
