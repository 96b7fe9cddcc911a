//! A crash at every moment between two changes on the disk, and at every length that the last write may have reached.

use std::cell::RefCell;
use std::rc::Rc;

use super::*;
use crate::steps::{Step, observe};

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().unwrap().is_file() {
            fs::copy(from, to).unwrap();
        } else {
            copy(&from, &to);
        }
    }
}

/// Runs `work` on a store that `prepare` has filled, and gives what a crash at each of its steps would leave.
fn crashes(prepare: impl Fn(&Store), work: impl FnOnce(&Store)) -> (TempDir, Vec<(Step, PathBuf)>) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    let (store, _) = open(&root);
    prepare(&store);
    let crashes = Rc::new(RefCell::new(Vec::new()));
    let (seen, copies) = (crashes.clone(), dir.path().to_owned());
    let observer = move |step| {
        let copy_root = copies.join(format!("{}-{step:?}", seen.borrow().len()));
        copy(&root, &copy_root);
        seen.borrow_mut().push((step, copy_root));
    };
    observe(observer, || work(&store));
    (dir, crashes.take())
}

/// Opens what a crash has left, twice: the second time there must be nothing left to do.
fn recover(root: &Path) -> Store {
    drop(open(root));
    let (store, recovery) = open(root);
    assert_eq!((recovery.cut_bytes, recovery.damaged, recovery.removed), (0, 0, 0));
    assert_books(&store);
    store
}

fn steps(crashes: &[(Step, PathBuf)]) -> Vec<Step> {
    crashes.iter().map(|(step, _)| *step).collect()
}

#[test]
fn during_put_it_leaves_all_or_nothing() {
    let bytes = content(1, 500);
    let (_dir, crashes) = crashes(
        |_| {},
        |store| {
            put(store, &bytes);
        },
    );
    assert_eq!(steps(&crashes), [Step::SegmentCreated, Step::GroupWritten, Step::GroupSynced]);
    let seen: Vec<_> = crashes.iter().map(|(_, root)| is_whole(&recover(root), &bytes)).collect();
    assert_eq!(seen, [false, true, true]);
}

#[test]
fn during_sealing_it_loses_nothing() {
    let prepared: Vec<_> = (0..4).map(|number| content(number, 900)).collect();
    let last = content(9, 900);
    let fill = |store: &Store| put_all(store, &prepared);
    let (_dir, crashes) = crashes(fill, |store| {
        put(store, &last);
    });
    assert!(
        steps(&crashes).starts_with(&[Step::SegmentSealed, Step::SegmentCreated]),
        "{:?}",
        steps(&crashes)
    );
    for (step, root) in &crashes {
        let store = recover(root);
        assert!(prepared.iter().all(|bytes| is_whole(&store, bytes)), "{step:?}");
        put(&store, &last);
        assert!(is_whole(&store, &last));
    }
}

#[test]
fn during_removal_it_leaves_all_or_nothing() {
    let bytes = content(1, 500);
    let (_dir, crashes) = crashes(
        |store| {
            put(store, &bytes);
        },
        |store| assert!(store.remove(&Digest::sha256(&bytes)).unwrap()),
    );
    assert_eq!(steps(&crashes), [Step::GroupWritten, Step::GroupSynced]);
    for (_, root) in &crashes {
        assert!(!is_whole(&recover(root), &bytes));
    }
}

#[test]
fn during_compaction_it_changes_nothing_that_is_seen() {
    let contents: Vec<_> = (0..20).map(|number| content(number, 700)).collect();
    let prepare = |store: &Store| {
        put_all(store, &contents);
        for bytes in contents.iter().enumerate().filter(|(number, _)| number % 3 != 0).map(|(_, bytes)| bytes)
        {
            assert!(store.remove(&Digest::sha256(bytes)).unwrap());
        }
    };
    let (_dir, crashes) = crashes(prepare, |store| assert!(compact(store) > 1));
    let steps = steps(&crashes);
    for step in [Step::GroupWritten, Step::GroupSynced, Step::SegmentUnlinked, Step::SummaryUnlinked] {
        assert!(steps.contains(&step), "{steps:?}");
    }
    for (step, root) in &crashes {
        let mut store = recover(root);
        for turn in 0..2 {
            for (number, bytes) in contents.iter().enumerate() {
                assert_eq!(is_whole(&store, bytes), number % 3 == 0, "{number} after {step:?}, turn {turn}");
            }
            compact(&store);
            assert_books(&store);
            drop(store);
            store = recover(root);
        }
        // What was moved or not is removed for good.
        for bytes in &contents {
            store.remove(&Digest::sha256(bytes)).unwrap();
        }
        drop(store);
        let store = recover(root);
        assert!(!contents.iter().any(|bytes| is_whole(&store, bytes)), "after {step:?}");
    }
}

#[test]
fn a_segment_whose_unlinking_was_lost_brings_nothing_back() {
    let (dir, store) = temporary();
    let contents: Vec<_> = (0..8).map(|number| content(number, 900)).collect();
    put_all(&store, &contents);
    let old = segments(dir.path())[0].clone();
    let saved = fs::read(&old).unwrap();
    contents[..3].iter().for_each(|bytes| assert!(store.remove(&Digest::sha256(bytes)).unwrap()));
    assert_eq!(compact(&store), 1);
    assert!(!old.exists());
    // The power failed before the removal of the name was on the disk; the summary's removal was.
    drop(store);
    fs::write(&old, saved).unwrap();
    let (store, _) = open(dir.path());
    for (number, bytes) in contents.iter().enumerate() {
        assert_eq!(is_whole(&store, bytes), number >= 3, "{number}");
    }
    assert_books(&store);
    compact(&store);
    assert!(!old.exists());
}

#[test]
fn at_every_length_of_the_last_write_what_came_before_is_kept() {
    let (dir, store) = temporary();
    let (kept, torn) = (content(1, 300), [content(2, 90), content(3, 61)]);
    put(&store, &kept);
    let path = segments(dir.path())[0].clone();
    let start = fs::metadata(&path).unwrap().len();
    put_all(&store, &torn);
    drop(store);
    let whole = fs::read(&path).unwrap();
    let first_end = start + record::record_len(90);
    // Cut off, or filled with what the disk had there before. Not every length: each opens two stores, which sync their directories.
    let tails = [vec![], vec![0; 300], vec![0xa5; 300]];
    for (len, tail) in
        (start..=whole.len() as u64).step_by(4).chain([whole.len() as u64]).zip(tails.iter().cycle())
    {
        let mut bytes = whole[..len as usize].to_vec();
        bytes.extend(tail);
        fs::write(&path, &bytes).unwrap();
        let (store, recovery) = open(dir.path());
        assert!(is_whole(&store, &kept));
        // What follows the content does not matter, and the content itself ends with two zeros.
        let content_end = start + 128 + 90;
        let first = match tail.first() {
            None => len >= first_end,
            Some(0) => len >= content_end - 2,
            Some(_) => len >= content_end,
        };
        assert_eq!(is_whole(&store, &torn[0]), first, "{len}");
        assert_eq!(recovery.damaged, 0, "{len}");
        if tail.is_empty() && len == whole.len() as u64 {
            assert_eq!(recovery.cut_bytes, 0);
        }
        put(&store, &torn[1]);
        drop(store);
        assert!(is_whole(&open(dir.path()).0, &torn[1]));
    }
}

#[test]
fn a_segment_that_was_just_begun_is_no_obstacle() {
    let (dir, store) = temporary();
    put(&store, b"x");
    drop(store);
    let next = dir.path().join("pack/00000002.data");
    for begun in [&b""[..], b"shoalpk", &[0; 64]] {
        fs::write(&next, begun).unwrap();
        let (store, recovery) = open(dir.path());
        assert_eq!((recovery.removed, recovery.damaged, next.exists()), (1, 0, false));
        assert!(is_whole(&store, b"x"));
    }
    fs::write(dir.path().join("pack/00000007.summary"), "of nothing").unwrap();
    fs::write(dir.path().join("pack/README"), "foreign").unwrap();
    let recovery = open(dir.path()).1;
    assert_eq!((recovery.removed, recovery.foreign), (1, 1));
}
