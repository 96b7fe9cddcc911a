//! Bad disks and foreign files: nothing panics, nothing good is lost, nothing bad is served.

use std::fs;
use std::os::unix::fs::symlink;

use shoal_store::{ErrorKind, Recovery};

use super::*;

#[test]
fn foreign_files_are_tolerated_and_left_alone() {
    let (dir, store) = temporary(Options::durable());
    let bytes = content(1, 2 * PIECE);
    let digest = Digest::sha256(&bytes);
    store.put(&digest, &bytes).unwrap();
    drop(store);
    let shard = file_of(dir.path(), &digest, "data").parent().unwrap().to_owned();
    let other = Digest::sha256(b"in the wrong shard").to_hex();
    for dir in [
        dir.path().join("tmp"),
        dir.path().join("uploads"),
        dir.path().join("partials/sha256"),
        shard.clone(),
    ] {
        fs::write(dir.join("README"), "hello").unwrap();
        fs::write(dir.join("\u{7f}é.data"), "hello").unwrap();
        fs::create_dir(dir.join("lost+found")).unwrap();
        symlink("/etc/passwd", dir.join("link")).unwrap();
    }
    fs::create_dir(shard.join(format!("{other}.data"))).unwrap();
    fs::create_dir(dir.path().join("blobs/sha256/zz")).unwrap();
    fs::write(dir.path().join("blobs/sha256/0"), "").unwrap();
    fs::write(dir.path().join("anything"), "").unwrap();
    let before = files(dir.path());
    let (store, opened) = Store::open(dir.path(), Options::durable()).unwrap();
    let recovery = opened + store.finish_counting();
    assert_eq!(
        recovery,
        Recovery { blobs: 1, bytes: bytes.len() as u64, foreign: 19, ..Recovery::default() }
    );
    assert!(recovery.to_string().contains("19 foreign"), "{recovery}");
    assert_eq!(read(&store.blob(&digest).unwrap()), bytes);
    assert_eq!(files(dir.path()), before);
}

#[test]
fn stray_parts_are_removed() {
    let (dir, store) = temporary(CACHE);
    let id = store.create_upload("a").unwrap();
    let gone = store.create_upload("b").unwrap();
    for id in [id, gone] {
        store.open_upload(&id).unwrap().write(b"lost").unwrap();
    }
    drop(store);
    let hex = Digest::sha256(b"some blob").to_hex();
    let shard = dir.path().join("blobs/sha256").join(&hex[..2]);
    fs::create_dir(&shard).unwrap();
    fs::write(dir.path().join(format!("tmp/{id}")), "half").unwrap();
    fs::write(dir.path().join(format!("uploads/{id}.json")), "{\"lab").unwrap();
    fs::remove_file(dir.path().join(format!("uploads/{gone}.data"))).unwrap();
    fs::write(shard.join(format!("{hex}.data")), "not some blob").unwrap();
    fs::write(shard.join(format!("{hex}.have")), "").unwrap();
    fs::write(dir.path().join(format!("partials/sha256/{hex}.data")), "x").unwrap();
    fs::write(dir.path().join(format!("partials/sha256/{hex}.metainfo")), "garbage").unwrap();
    let (store, recovery) = Store::open(dir.path(), CACHE).unwrap();
    assert_eq!(recovery, Recovery { removed: 8, ..Recovery::default() });
    assert!(files(dir.path()).is_empty() && store.digests().is_empty() && store.partials().is_empty());
    assert_eq!(store.open_upload(&id).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_damaged_metainfo_is_made_again_from_good_bytes() {
    for options in [Options::durable(), CACHE] {
        let bytes = content(1, 3 * PIECE + 1);
        let digest = Digest::sha256(&bytes);
        let len = metainfo(&bytes).encode().len();
        // In its head, in its size, in its piece digests, cut off, empty, garbage.
        let damages: [&dyn Fn(&Path); 6] = [
            &|path| damage(path, 0),
            &|path| damage(path, 8 + 1 + 71 + 7),
            &|path| damage(path, len - 1),
            &|path| fs::write(path, &fs::read(path).unwrap()[..len - 1]).unwrap(),
            &|path| fs::write(path, "").unwrap(),
            &|path| fs::write(path, vec![0xff; len]).unwrap(),
        ];
        let (dir, store) = temporary(options);
        store.put(&digest, &bytes).unwrap();
        drop(store);
        for damage in damages {
            damage(&file_of(dir.path(), &digest, "metainfo"));
            let store = open(dir.path(), options);
            assert_eq!(store.stat(&digest).unwrap(), Some(bytes.len() as u64));
            assert_eq!(read(&store.blob(&digest).unwrap()), bytes);
            drop(store);
            assert_eq!(Store::open(dir.path(), options).unwrap().1.rederived, 0, "once is enough");
        }
    }
}

#[test]
fn a_blob_damaged_together_with_its_metainfo_is_gone_before_it_is_served() {
    let (dir, store) = temporary(CACHE);
    let bytes = content(1, 3 * PIECE);
    let digest = Digest::sha256(&bytes);
    store.put(&digest, &bytes).unwrap();
    drop(store);
    damage(&file_of(dir.path(), &digest, "data"), 0);
    let metainfo = file_of(dir.path(), &digest, "metainfo");
    let len = fs::metadata(&metainfo).unwrap().len() as usize;
    damage(&metainfo, len - 1);
    let store = open(dir.path(), CACHE);
    assert_eq!(
        store.stat(&digest).unwrap(),
        Some(bytes.len() as u64),
        "only opening a blob reads its piece digests"
    );
    assert_eq!(store.blob(&digest).unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!((store.stat(&digest).unwrap(), store.usage().bytes, files(dir.path()).len()), (None, 0, 0));
    store.put(&digest, &bytes).unwrap();
    assert_eq!(read(&store.blob(&digest).unwrap()), bytes);
}

#[test]
fn a_blob_of_the_wrong_size_becomes_a_download_of_what_is_missing() {
    for (size, missing) in [(2 * PIECE + 5, 2), (0, 4), (4 * PIECE + 9, 0)] {
        let (dir, store) = temporary(CACHE);
        let mut bytes = content(1, 4 * PIECE);
        let digest = Digest::sha256(&bytes);
        store.put(&digest, &bytes).unwrap();
        drop(store);
        let data = fs::File::options().write(true).open(file_of(dir.path(), &digest, "data")).unwrap();
        data.set_len(size as u64).unwrap();
        let (store, recovery) = Store::open(dir.path(), CACHE).unwrap();
        assert_eq!((recovery.demoted, recovery.partials, recovery.blobs), (1, 1, 0));
        assert_eq!((store.stat(&digest).unwrap(), store.usage().partial_bytes), (None, 4 * PIECE as u64));
        let partial = store.resume(&digest).unwrap();
        assert_eq!(partial.have().iter_missing().count(), missing);
        for index in partial.have().iter_missing() {
            partial.write_piece(index, &piece(partial.metainfo(), &bytes, index.0)).unwrap();
        }
        assert_eq!(read(&partial.commit().unwrap()), std::mem::take(&mut bytes));
    }
}

#[test]
fn a_download_of_a_blob_that_is_complete_is_removed_at_start() {
    let (dir, store) = temporary(CACHE);
    let bytes = content(1, 2 * PIECE);
    let digest = Digest::sha256(&bytes);
    drop(store.partial(&metainfo(&bytes)).unwrap());
    store.put(&digest, &bytes).unwrap();
    drop(store);
    let (store, recovery) = Store::open(dir.path(), CACHE).unwrap();
    assert_eq!((recovery.blobs, recovery.partials, recovery.removed), (1, 0, 3));
    assert_eq!((store.usage().partial_bytes, files(dir.path()).len()), (0, 2));
}

#[test]
fn a_root_that_is_not_a_directory_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, "").unwrap();
    let error = Store::open(&path, CACHE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("file"), "{error}");
}

#[test]
#[ignore = "privileged: needs root and mount; run by cargo xtask test --tier privileged"]
fn privileged_a_read_only_disk_is_an_error_that_says_so_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let mount = |options: &str| {
        let done = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(dir.path())
            .status();
        assert!(done.unwrap().success());
    };
    mount("size=16m");
    let bytes = content(1, 3 * PIECE);
    let store = open(dir.path(), Options::durable());
    store.put(&Digest::sha256(&bytes), &bytes).unwrap();
    drop(store);
    mount("remount,ro");
    let error = Store::open(dir.path(), Options::durable()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("Read-only"), "{error}");
    mount("remount,rw");
    assert_eq!(read(&open(dir.path(), Options::durable()).blob(&Digest::sha256(&bytes)).unwrap()), bytes);
    std::process::Command::new("umount").arg(dir.path()).status().unwrap();
}
