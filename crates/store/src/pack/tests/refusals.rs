//! Disks that refuse what a pack does now and then: begin a segment, end one, rewrite one.

use super::damage::failing;
use super::*;

#[test]
fn a_segment_that_cannot_begin_leaves_no_file_and_the_next_put_tries_again() {
    for fault in [Fault::WriteFull(0), Fault::WriteFull(10), Fault::SyncLost] {
        let (dir, faults) = (tempfile::tempdir().unwrap(), Faults::default());
        let limits = Limits { faults: faults.clone(), ..limits() };
        let (store, _) = Store::open_limited(dir.path(), Options::durable(), limits).unwrap();
        faults.add(fault);
        let bytes = content(1, 400);
        let error = store.put(&Digest::sha256(&bytes), &bytes).unwrap_err().kind();
        assert_eq!(error, if fault == Fault::SyncLost { ErrorKind::Io } else { ErrorKind::NoSpace });
        assert!(!is_whole(&store, &bytes) && segments(dir.path()).is_empty(), "{fault:?}");
        assert_books(&store);
        put(&store, &bytes);
        drop(store);
        let (store, recovery) = open(dir.path());
        assert_eq!((recovery.damaged, recovery.cut_bytes, recovery.blobs), (0, 0, 1));
        assert!(is_whole(&store, &bytes));
    }
}

#[test]
fn a_segment_that_cannot_be_summed_up_is_read_through_at_the_next_start() {
    let (dir, store, _) = failing();
    // No file can be made in there.
    let staging = store.shared().paths.tmp();
    fs::remove_dir_all(&staging).unwrap();
    fs::write(&staging, b"").unwrap();
    let contents: Vec<_> = (1..30).map(|number| content(number, 900)).collect();
    put_all(&store, &contents);
    let ended = &segments(dir.path())[0];
    assert!(segments(dir.path()).len() > 1 && !ended.with_extension("summary").exists());
    assert_books(&store);
    fs::remove_file(&staging).unwrap();
    drop(store);
    let (store, recovery) = open(dir.path());
    assert_eq!((recovery.damaged, recovery.cut_bytes, recovery.blobs), (0, 0, contents.len() + 1));
    assert!(contents.iter().all(|bytes| is_whole(&store, bytes)));
    assert!(ended.with_extension("summary").exists(), "it was read, and is sound");
}

#[test]
fn a_compaction_that_fails_anywhere_loses_nothing_and_is_done_later() {
    for fault in [Fault::WriteFull(0), Fault::WriteFull(200), Fault::SyncLost] {
        let (dir, store, faults) = failing();
        let contents: Vec<_> = (1..12).map(|number| content(number, 900)).collect();
        put_all(&store, &contents);
        let is_kept = |number: usize| number.is_multiple_of(3);
        for (_, bytes) in contents.iter().enumerate().filter(|(number, _)| !is_kept(*number)) {
            assert!(store.remove(&Digest::sha256(bytes)).unwrap());
        }
        let assert_all = |store: &Store| {
            for (number, bytes) in contents.iter().enumerate() {
                assert_eq!(is_whole(store, bytes), is_kept(number), "{number} after {fault:?}");
            }
            assert_books(store);
        };
        let segment = pack(&store).choose_segment().unwrap();
        faults.add(fault);
        pack(&store).compact(&segment, |_| true).unwrap_err();
        assert!(segment.file.path().exists(), "{fault:?}");
        assert_all(&store);
        assert!(compact(&store) > 0);
        assert_all(&store);
        drop(store);
        let (store, recovery) = open(dir.path());
        assert_eq!(recovery.damaged, 0);
        assert_all(&store);
    }
}
