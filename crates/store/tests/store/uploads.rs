//! Pushes: in parts, across restarts, to a good or a bad end.

use std::fs;
use std::sync::Barrier;
use std::time::Duration;

use shoal_oci::Algorithm;
use shoal_store::{Error, ErrorKind, LABEL_LEN_MAX, UploadId};

use super::*;

fn start(store: &Store, bytes: &[u8]) -> UploadId {
    let id = store.create_upload("team/app").unwrap();
    store.open_upload(&id).unwrap().write(bytes).unwrap();
    id
}

#[test]
fn an_upload_survives_handles_and_restarts() {
    for options in [Options::durable(), CACHE] {
        let (dir, mut store) = temporary(options);
        let bytes = content(7, 5 * PIECE + 99);
        let id = store.create_upload("team/app").unwrap();
        for (turn, part) in bytes.chunks(70_000).enumerate() {
            let mut upload = store.open_upload(&id).unwrap();
            assert_eq!((upload.size() as usize, upload.label()), (turn * 70_000, "team/app"));
            upload.write(part).unwrap();
            upload.suspend();
            if turn % 2 == 0 {
                drop(store);
                store = open(dir.path(), options);
            }
            let status = store.upload_status(&id).unwrap();
            assert_eq!(status.size as usize, bytes.len().min((turn + 1) * 70_000));
            assert_eq!(store.usage().upload_bytes, status.size);
        }
        let made = store.open_upload(&id).unwrap().commit(&Digest::sha256(&bytes)).unwrap();
        assert_eq!(made, metainfo(&bytes));
        assert_eq!(read(&store.blob(made.digest()).unwrap()), bytes);
        assert_eq!((store.usage().upload_bytes, files(dir.path()).len()), (0, 2));
        assert_eq!(store.open_upload(&id).unwrap_err().kind(), ErrorKind::NotFound);
    }
}

#[test]
fn a_mismatch_leaves_neither_blob_nor_upload() {
    let (dir, store) = temporary(Options::durable());
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        let id = start(&store, b"that");
        let expected = Digest::of(algorithm, b"this");
        match store.open_upload(&id).unwrap().commit(&expected).unwrap_err() {
            Error::DigestMismatch { expected: said, got } => {
                assert_eq!((*said, *got), (expected, Digest::of(algorithm, b"that")));
            }
            other => panic!("{other}"),
        }
        assert_eq!(store.upload_status(&id).unwrap_err().kind(), ErrorKind::NotFound);
        assert!(files(dir.path()).is_empty() && store.digests().is_empty());
        assert_eq!(store.usage().upload_bytes, 0);
    }
}

#[test]
fn an_upload_can_end_under_a_sha512_digest() {
    let (_dir, store) = temporary(CACHE);
    let bytes = content(3, 2 * PIECE + 5);
    let digest = Digest::of(Algorithm::Sha512, &bytes);
    let id = start(&store, &bytes);
    store.open_upload(&id).unwrap().commit(&digest).unwrap();
    assert_eq!(read(&store.blob(&digest).unwrap()), bytes);
}

#[test]
fn one_handle_at_a_time() {
    let (_dir, store) = temporary(CACHE);
    let id = store.create_upload("a").unwrap();
    let first = store.open_upload(&id).unwrap();
    assert_eq!(store.open_upload(&id).unwrap_err().kind(), ErrorKind::Busy);
    drop(first);
    store.open_upload(&id).unwrap().cancel();
    assert_eq!(store.open_upload(&id).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn an_empty_upload_makes_the_empty_blob() {
    let (_dir, store) = temporary(Options::durable());
    let id = store.create_upload("a").unwrap();
    let made = store.open_upload(&id).unwrap().commit(&Digest::sha256(b"")).unwrap();
    assert_eq!((made.size(), made.layout().piece_count()), (0, 0));
    assert_eq!(store.stat(made.digest()).unwrap(), Some(0));
    assert!(read(&store.blob(made.digest()).unwrap()).is_empty());
}

#[test]
fn a_blob_that_is_there_swallows_the_upload() {
    let (dir, store) = temporary(Options::durable());
    let bytes = content(1, PIECE);
    store.put(&Digest::sha256(&bytes), &bytes).unwrap();
    let id = start(&store, &bytes);
    let made = store.open_upload(&id).unwrap().commit(&Digest::sha256(&bytes)).unwrap();
    assert_eq!(made, metainfo(&bytes));
    assert_eq!((files(dir.path()).len(), store.usage().upload_bytes), (1, 0), "one segment");
    assert_eq!(store.usage().bytes, PIECE as u64);
}

#[test]
fn concurrent_commits_of_one_digest_make_one_blob() {
    let (dir, store) = temporary(Options::durable());
    let bytes = content(1, 3 * PIECE);
    let digest = Digest::sha256(&bytes);
    let ids: Vec<_> = (0..8).map(|_| start(&store, &bytes)).collect();
    let barrier = Barrier::new(ids.len());
    std::thread::scope(|scope| {
        for id in &ids {
            scope.spawn(|| {
                let upload = store.open_upload(id).unwrap();
                barrier.wait();
                assert_eq!(upload.commit(&digest).unwrap().size(), bytes.len() as u64);
                assert_eq!(read(&store.blob(&digest).unwrap()), bytes);
            });
        }
    });
    let usage = store.usage();
    assert_eq!((usage.blobs, usage.bytes, usage.upload_bytes), (1, bytes.len() as u64, 0));
    assert_eq!(files(dir.path()).len(), 2);
}

#[test]
fn a_second_request_does_not_read_what_the_first_one_wrote() {
    let (dir, store) = temporary(CACHE);
    let bytes = content(1, 3 * PIECE);
    let id = start(&store, &bytes[..PIECE]);
    // Whoever read these bytes again would come to another digest, and find the damage only later.
    let data = files(dir.path()).into_iter().find(|path| path.ends_with(format!("{id}.data"))).unwrap();
    damage(&data, 5);
    let mut upload = store.open_upload(&id).unwrap();
    upload.write(&bytes[PIECE..]).unwrap();
    upload.commit(&Digest::sha256(&bytes)).unwrap();
}

#[test]
fn idle_uploads_expire_and_busy_or_fresh_ones_stay() {
    let (dir, store) = temporary(CACHE);
    let (old, held, fresh) = (start(&store, b"1"), start(&store, b"2"), start(&store, b"3"));
    let now = fs::metadata(dir.path().join(format!("uploads/{fresh}.data"))).unwrap().modified().unwrap();
    for id in [old, held] {
        let file =
            fs::File::options().write(true).open(dir.path().join(format!("uploads/{id}.data"))).unwrap();
        file.set_modified(now - Duration::from_secs(61)).unwrap();
    }
    let handle = store.open_upload(&held).unwrap();
    assert_eq!(store.expire_uploads(Duration::from_secs(60), now), 1);
    assert_eq!(store.upload_status(&old).unwrap_err().kind(), ErrorKind::NotFound);
    drop(handle);
    assert_eq!(store.expire_uploads(Duration::from_secs(60), now), 1);
    assert_eq!(store.upload_status(&fresh).unwrap().size, 1);
    assert_eq!(store.usage().upload_bytes, 1);
}

#[test]
fn an_upload_without_bytes_touches_no_disk() {
    let (dir, store) = temporary(Options::durable());
    let ids: Vec<_> = (0..4).map(|_| store.create_upload("team/app").unwrap()).collect();
    store.open_upload(&ids[0]).unwrap().write(b"").unwrap();
    assert_eq!(store.upload_status(&ids[0]).unwrap().size, 0);
    assert!(files(dir.path()).is_empty());
    assert_eq!(store.take_empty_upload(&ids[0]).unwrap().as_deref(), Some("team/app"));
    assert_eq!(store.take_empty_upload(&ids[0]).unwrap_err().kind(), ErrorKind::NotFound);
    let mut handle = store.open_upload(&ids[1]).unwrap();
    assert_eq!(store.take_empty_upload(&ids[1]).unwrap_err().kind(), ErrorKind::Busy);
    handle.write(b"1").unwrap();
    drop(handle);
    assert_eq!(store.take_empty_upload(&ids[1]).unwrap(), None, "it has bytes and goes on");
    assert_eq!((store.upload_status(&ids[1]).unwrap().size, files(dir.path()).len()), (1, 2));
    store.open_upload(&ids[2]).unwrap().cancel();
    let later = std::time::SystemTime::now() + Duration::from_secs(3600);
    assert_eq!(store.expire_uploads(Duration::from_secs(7200), later), 0);
    assert_eq!(store.expire_uploads(Duration::from_secs(60), later), 2);
    assert!(files(dir.path()).is_empty() && store.usage().upload_bytes == 0);
}

#[test]
fn labels_are_bounded_and_may_be_anything() {
    let (dir, store) = temporary(CACHE);
    let odd = "../../etc/\u{0}\"\n{é";
    let id = store.create_upload(odd).unwrap();
    store.open_upload(&id).unwrap().write(b"1").unwrap();
    store.create_upload(&"x".repeat(LABEL_LEN_MAX)).unwrap();
    assert_eq!(store.create_upload(&"x".repeat(LABEL_LEN_MAX + 1)).unwrap_err().kind(), ErrorKind::Invalid);
    drop(store);
    assert_eq!(open(dir.path(), CACHE).upload_status(&id).unwrap().label, odd);
}
