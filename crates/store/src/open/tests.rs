//! A crash at every moment between two changes on the disk: the directory is copied at each step as the crash would leave it, each
//! copy is opened, and what is found there must be whole.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;

use shoal_swarm_types::{Metainfo, PieceIndex};
use tempfile::TempDir;

use super::*;
use crate::steps::{Step, observe};
use crate::{ErrorKind, Store};

const PIECE: usize = 64 * 1024;
const BOTH: [Options; 2] = [Options::durable(), Options { capacity: None, ..Options::cache(0) }];

fn content() -> Vec<u8> {
    (0..3 * PIECE + 777).map(|at| (at * 31 % 251) as u8).collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().unwrap().is_file() {
            fs::copy(from, to).unwrap();
        } else if fs::read_dir(&from).unwrap().next().is_some() {
            copy(&from, &to);
        }
    }
}

/// What a crash at a step would leave.
struct Crash {
    step: Step,
    root: PathBuf,
}

/// Runs `work` on a store that `prepare` has filled, and gives what a crash at each of its steps would leave.
fn crashes(options: Options, prepare: impl Fn(&Store), work: impl FnOnce(&Store)) -> (TempDir, Vec<Crash>) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    let (store, _) = Store::open(&root, options).unwrap();
    prepare(&store);
    let crashes = Rc::new(RefCell::new(Vec::new()));
    let (seen, copies) = (crashes.clone(), dir.path().to_owned());
    let observer = move |step| {
        let copy_root = copies.join(format!("{}-{step:?}", seen.borrow().len()));
        copy(&root, &copy_root);
        seen.borrow_mut().push(Crash { step, root: copy_root });
    };
    observe(observer, || work(&store));
    (dir, crashes.take())
}

/// Opens a store, waits until it knows all its blobs, and gives what was found altogether.
fn open_and_count(root: &Path, options: Options) -> (Store, Recovery) {
    let (store, opened) = Store::open(root, options).unwrap();
    let counted = store.finish_counting();
    (store, opened + counted)
}

/// Opens what a crash has left, twice: the second time there must be nothing left to do.
fn recover(options: Options, crash: &Crash) -> Store {
    let first = open_and_count(&crash.root, options).1;
    let (store, second) = open_and_count(&crash.root, options);
    let clean = Recovery { rederived: 0, demoted: 0, removed: 0, foreign: 0, ..first };
    assert_eq!(second, clean, "after {:?}", crash.step);
    let usage = store.usage();
    assert_eq!((usage.blobs, usage.bytes), (second.blobs, second.bytes));
    store
}

/// Whether the blob is there; if so it must be whole.
fn is_whole(store: &Store, bytes: &[u8]) -> bool {
    let digest = Digest::sha256(bytes);
    if store.stat(&digest).unwrap().is_none() {
        assert_eq!(store.blob(&digest).unwrap_err().kind(), ErrorKind::NotFound);
        return false;
    }
    let blob = store.blob(&digest).unwrap();
    let pieces = crate::piece::indices(blob.metainfo()).map(|index| blob.read_piece(index).unwrap());
    assert_eq!(pieces.collect::<Vec<_>>().concat(), bytes);
    true
}

/// That the blob was absent at the first steps, present at the last ones, and changed once in between.
fn assert_changes_once(seen: &[(Step, bool)], last: bool) {
    assert!(!seen.is_empty() && seen[0].1 != last && seen[seen.len() - 1].1 == last, "{seen:?}");
    assert_eq!(seen.windows(2).filter(|pair| pair[0].1 != pair[1].1).count(), 1, "{seen:?}");
}

#[test]
fn a_crash_during_put_leaves_all_or_nothing() {
    for options in BOTH {
        let bytes = content();
        let digest = Digest::sha256(&bytes);
        let (_dir, crashes) = crashes(options, |_| {}, |store| drop(store.put(&digest, &bytes).unwrap()));
        let seen: Vec<_> =
            crashes.iter().map(|at| (at.step, is_whole(&recover(options, at), &bytes))).collect();
        assert_changes_once(&seen, true);
        assert!(seen.contains(&(Step::MetainfoPlaced, false)) && seen.contains(&(Step::DataPlaced, true)));
    }
}

#[test]
fn a_crash_during_an_upload_leaves_the_upload_or_the_blob() {
    for options in BOTH {
        let bytes = content();
        let digest = Digest::sha256(&bytes);
        let push = |store: &Store| {
            let id = store.create_upload("team/app").unwrap();
            let mut upload = store.open_upload(&id).unwrap();
            upload.write(&bytes[..100_000]).unwrap();
            upload.write(&bytes[100_000..]).unwrap();
            upload.commit(&digest).unwrap();
        };
        let (_dir, crashes) = crashes(options, |_| {}, push);
        let mut seen = Vec::new();
        for crash in &crashes {
            let store = recover(options, crash);
            seen.push((crash.step, is_whole(&store, &bytes)));
            let uploads = store.shared().uploads.ids();
            let is_over = seen.last().unwrap().1 || crash.step == Step::UploadLabelled;
            assert_eq!(uploads.is_empty(), is_over, "{:?}", crash.step);
            for id in uploads {
                let mut upload = store.open_upload(&id).unwrap();
                assert_eq!(upload.label(), "team/app");
                let done = upload.size() as usize;
                upload.write(&bytes[done..]).unwrap();
                upload.commit(&digest).unwrap();
                assert!(is_whole(&store, &bytes));
            }
        }
        assert_changes_once(&seen, true);
    }
}

#[test]
fn a_crash_during_a_download_leaves_the_verified_pieces_or_the_blob() {
    for options in BOTH {
        let bytes = content();
        let metainfo = Metainfo::of(Digest::sha256(&bytes), &bytes);
        let pull = |store: &Store| {
            let partial = store.partial(&metainfo).unwrap();
            for index in [2, 0, 3, 1] {
                let start = index as usize * PIECE;
                let piece = &bytes[start..(start + PIECE).min(bytes.len())];
                partial.write_piece(PieceIndex(index), piece).unwrap();
            }
            partial.commit().unwrap();
        };
        let (_dir, crashes) = crashes(options, |_| {}, pull);
        let mut seen = Vec::new();
        let mut claimed = 0;
        for crash in &crashes {
            let store = recover(options, crash);
            seen.push((crash.step, is_whole(&store, &bytes)));
            claimed += u32::from(crash.step == Step::PieceClaimed);
            let Some(digest) = store.partials().pop() else { continue };
            let partial = store.resume(&digest).unwrap();
            assert_eq!(partial.have().count(), claimed, "{:?}", crash.step);
            for index in partial.have().iter_missing() {
                let range = metainfo.layout().piece_range(index);
                partial.write_piece(index, &bytes[range.start as usize..range.end as usize]).unwrap();
            }
            partial.commit().unwrap();
            assert!(is_whole(&store, &bytes) && store.partials().is_empty());
        }
        assert_changes_once(&seen, true);
    }
}

#[test]
fn a_crash_during_demotion_leaves_the_blob_or_its_good_pieces() {
    for options in BOTH {
        let bytes = content();
        let digest = Digest::sha256(&bytes);
        let damage = |store: &Store| {
            store.put(&digest, &bytes).unwrap();
            let path = store.shared().paths.blob(&digest, Part::Data);
            let mut bad = bytes.clone();
            bad[PIECE] ^= 1;
            fs::write(path, bad).unwrap();
        };
        let (_dir, crashes) = crashes(options, damage, |store| drop(store.demote(&digest).unwrap()));
        let mut seen = Vec::new();
        for crash in &crashes {
            let store = recover(options, crash);
            let is_blob = store.stat(&digest).unwrap().is_some();
            assert_eq!(store.partials().is_empty(), is_blob, "{:?}", crash.step);
            seen.push((crash.step, is_blob));
            let have = store.demote(&digest).unwrap().have();
            assert_eq!(have.iter_missing().collect::<Vec<_>>(), [PieceIndex(1)], "{:?}", crash.step);
        }
        assert_changes_once(&seen, false);
    }
}

#[test]
fn a_crash_during_removal_leaves_all_or_nothing() {
    for options in BOTH {
        let bytes = content();
        let digest = Digest::sha256(&bytes);
        let put = |store: &Store| drop(store.put(&digest, &bytes).unwrap());
        let (_dir, crashes) = crashes(options, put, |store| assert!(store.remove(&digest).unwrap()));
        assert!(!crashes.is_empty());
        for crash in &crashes {
            assert!(!is_whole(&recover(options, crash), &bytes), "{:?}", crash.step);
        }
    }
}

#[test]
fn a_crash_while_a_blob_is_set_aside_leaves_it_in_one_place() {
    for options in BOTH {
        let bytes = content();
        let digest = Digest::sha256(&bytes);
        let prepare = |store: &Store| drop(store.put(&digest, &bytes).unwrap());
        let (_dir, crashes) = crashes(options, prepare, |store| assert!(store.quarantine(&digest).unwrap()));
        let steps: Vec<_> = crashes.iter().map(|crash| crash.step).collect();
        assert_eq!(steps, [Step::DataSetAside, Step::MetainfoSetAside]);
        for crash in &crashes {
            let store = recover(options, crash);
            assert!(!is_whole(&store, &bytes), "after {:?}", crash.step);
            assert_eq!(store.quarantined().len(), 1, "after {:?}", crash.step);
            // It was whole after all, and needs no metainfo to come back.
            store.release(&digest).unwrap();
            assert!(is_whole(&store, &bytes) && store.quarantined().is_empty(), "after {:?}", crash.step);
        }
    }
}

#[test]
fn a_blob_that_cannot_be_set_aside_stays_where_it_is() {
    let (dir, bytes) = (tempfile::tempdir().unwrap(), content());
    let digest = Digest::sha256(&bytes);
    let (store, _) = Store::open(dir.path(), Options::durable()).unwrap();
    store.put(&digest, &bytes).unwrap();
    // No name can be made in there.
    let aside = store.shared().paths.quarantine(digest.algorithm());
    fs::remove_dir(&aside).unwrap();
    fs::write(&aside, b"").unwrap();
    store.quarantine(&digest).unwrap_err();
    assert!(is_whole(&store, &bytes) && store.quarantined().is_empty());
    fs::remove_file(&aside).unwrap();
    fs::create_dir(&aside).unwrap();
    assert!(store.quarantine(&digest).unwrap());
    assert!(!is_whole(&store, &bytes) && store.quarantined().len() == 1);
}

#[test]
fn a_power_failure_that_keeps_only_one_of_the_two_renames_is_repaired() {
    let bytes = content();
    let digest = Digest::sha256(&bytes);
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::new(dir.path());
    Store::open(dir.path(), Options::durable()).unwrap().0.put(&digest, &bytes).unwrap();
    fs::remove_file(paths.blob(&digest, Part::Metainfo)).unwrap();
    let (store, recovery) = open_and_count(dir.path(), Options::durable());
    assert_eq!((recovery.blobs, store.usage().blobs), (0, 0), "it is repaired when somebody asks for it");
    assert!(is_whole(&store, &bytes));
    assert!(paths.blob(&digest, Part::Metainfo).exists() && store.usage().blobs == 1);
    drop(store);
    fs::remove_file(paths.blob(&digest, Part::Data)).unwrap();
    let (store, recovery) = open_and_count(dir.path(), Options::durable());
    assert_eq!((recovery.removed, recovery.blobs), (0, 0));
    assert!(!is_whole(&store, &bytes));
    assert!(store.lost(&digest).unwrap().is_some(), "by what is left it can be got back");
}
