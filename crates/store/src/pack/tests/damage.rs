//! Disks that lie, fill up and fail.

use super::*;

/// Flips one bit in a file, in place.
fn flip(path: &Path, at: u64) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at as usize] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn spot(store: &Store, bytes: &[u8]) -> (PathBuf, u64) {
    let spot = pack(store).table.get(&Digest::sha256(bytes)).unwrap().spot;
    (store.shared().paths.segment(spot.segment), u64::from(spot.offset))
}

#[test]
fn a_damaged_blob_leaves_the_store_when_it_is_met_and_a_push_repairs_it() {
    let bytes = content(1, 500);
    let digest = Digest::sha256(&bytes);
    let meets: [&dyn Fn(&Store); 4] = [
        &|store| {
            assert_eq!(
                store.blob(&digest).unwrap().read_piece(PieceIndex(0)).unwrap_err().kind(),
                ErrorKind::Corrupt
            );
        },
        &|store| {
            // Where the file system cannot tell what is in the page cache, the piece is read.
            if let Some(read) = store.small(&digest) {
                assert_eq!(read.unwrap_err().kind(), ErrorKind::Corrupt);
            } else {
                assert!(store.blob(&digest).unwrap().read_piece(PieceIndex(0)).is_err());
            }
        },
        &|store| {
            put(store, &bytes);
        },
        &|store| {
            let (sender, receiver) = mpsc::channel();
            store.submit(digest, bytes.clone().into(), move |result| sender.send(result.is_ok()).unwrap());
            assert!(receiver.recv().unwrap());
        },
    ];
    for (number, meet) in meets.iter().enumerate() {
        let (dir, store) = temporary();
        put(&store, &content(0, 300));
        put(&store, &bytes);
        let (path, at) = spot(&store, &bytes);
        flip(&path, at + 128 + 77);
        assert_eq!(store.stat(&digest).unwrap(), Some(500), "nobody has looked yet");
        meet(&store);
        let is_pushed = number >= 2;
        assert_eq!(is_whole(&store, &bytes), is_pushed);
        assert_eq!(store.usage().damaged, 1);
        assert_books(&store);
        put(&store, &bytes);
        assert!(is_whole(&store, &bytes));
        drop(store);
        let (store, recovery) = open(dir.path());
        assert_eq!(recovery.damaged, 1, "the bad record is reported");
        assert!(is_whole(&store, &bytes) && is_whole(&store, &content(0, 300)));
        assert!(store.remove(&digest).unwrap());
        drop(store);
        assert!(!is_whole(&open(dir.path()).0, &bytes), "the bad record does not come back");
    }
}

#[test]
fn a_damaged_header_hides_its_blob_only() {
    let (dir, store) = temporary();
    let contents: Vec<_> = (0..3).map(|number| content(number, 300)).collect();
    put_all(&store, &contents);
    let (path, at) = spot(&store, &contents[1]);
    flip(&path, at + 30);
    assert_eq!(store.blob(&Digest::sha256(&contents[1])).unwrap_err().kind(), ErrorKind::NotFound);
    drop(store);
    let (mut store, recovery) = open(dir.path());
    assert_eq!((recovery.damaged, recovery.cut_bytes, recovery.blobs), (1, 0, 2));
    for turn in 0..2 {
        let there: Vec<_> = contents.iter().map(|bytes| is_whole(&store, bytes)).collect();
        assert_eq!(there, [true, turn == 1, true]);
        put(&store, &contents[1]);
        assert_books(&store);
        drop(store);
        let (next, recovery) = open(dir.path());
        assert_eq!(recovery.damaged, 0, "what was damaged is sealed, and its summary knows");
        store = next;
    }
}

#[test]
fn content_that_looks_like_a_record_is_not_taken_for_one() {
    let (dir, store) = temporary();
    // A pusher who knows the form, and even where its bytes will lie, but not the segment's key.
    let victim = Content::of(&Metainfo::of(Digest::sha256(b"victim"), b"forged"), 1).unwrap();
    let inner = record::Header { content: Some(victim), kills: None };
    let outer_at = segment::START;
    let place = record::Spot { segment: 1, offset: u32::try_from(outer_at + 128 + 128).unwrap() };
    let mut bytes = vec![0; 128];
    bytes.extend(inner.encode(&[0; 32], place));
    bytes.extend(b"forged");
    bytes.resize(400, 0);
    put(&store, &bytes);
    put(&store, b"after");
    drop(store);
    flip(&segments(dir.path())[0], outer_at + 100);
    let (store, recovery) = open(dir.path());
    assert_eq!((recovery.damaged, recovery.blobs), (1, 1));
    assert!(store.stat(&Digest::sha256(b"victim")).unwrap().is_none() && is_whole(&store, b"after"));
}

#[test]
fn a_segment_without_its_header_needs_its_summary() {
    let (dir, store) = temporary();
    let contents: Vec<_> = (0..6).map(|number| content(number, 900)).collect();
    put_all(&store, &contents);
    drop(store);
    let first = segments(dir.path())[0].clone();
    flip(&first, 20);
    let (store, recovery) = open(dir.path());
    assert_eq!((recovery.damaged, recovery.blobs), (0, 6), "the summary has the key");
    assert!(contents.iter().all(|bytes| is_whole(&store, bytes)));
    drop(store);
    fs::remove_file(first.with_extension("summary")).unwrap();
    let (store, recovery) = open(dir.path());
    assert_eq!(recovery.damaged, 1);
    assert!(first.exists() && recovery.blobs < 6);
    let left_out = contents.iter().filter(|bytes| !is_whole(&store, bytes)).count();
    assert_eq!(left_out, 6 - recovery.blobs);
    put_all(&store, &contents);
    assert!(contents.iter().all(|bytes| is_whole(&store, bytes)));
}

#[test]
fn a_damaged_record_does_not_stop_compaction() {
    let (dir, store) = temporary();
    let contents: Vec<_> = (0..8).map(|number| content(number, 900)).collect();
    put_all(&store, &contents);
    let (path, at) = spot(&store, &contents[0]);
    flip(&path, at + 200);
    contents[1..4].iter().for_each(|bytes| assert!(store.remove(&Digest::sha256(bytes)).unwrap()));
    assert_eq!((compact(&store), store.usage().damaged), (1, 1));
    for (number, bytes) in contents.iter().enumerate() {
        assert_eq!(is_whole(&store, bytes), number >= 4, "{number}");
    }
    assert_books(&store);
    assert!(!segments(dir.path()).contains(&path));
}

/// A store whose disk fails as told.
pub(super) fn failing() -> (TempDir, Store, Faults) {
    let dir = tempfile::tempdir().unwrap();
    let faults = Faults::default();
    let limits = Limits { faults: faults.clone(), ..limits() };
    let (store, _) = Store::open_limited(dir.path(), Options::durable(), limits).unwrap();
    put(&store, &content(0, 300));
    (dir, store, faults)
}

/// Puts content that cannot be stored now, and gives the kind of the error.
fn refused(store: &Store, bytes: &[u8]) -> ErrorKind {
    let kind = store.put(&Digest::sha256(bytes), bytes).unwrap_err().kind();
    assert!(!is_whole(store, bytes));
    assert_books(store);
    kind
}

#[test]
fn a_disk_that_fills_up_leaves_no_half_record() {
    for part in [0, 1, 128, 200, 10_000] {
        let (dir, store, faults) = failing();
        let path = segments(dir.path())[0].clone();
        let len = fs::metadata(&path).unwrap().len();
        faults.add(Fault::WriteFull(part));
        assert_eq!(refused(&store, &content(1, 400)), ErrorKind::NoSpace);
        assert_eq!(fs::metadata(&path).unwrap().len(), len);
        put(&store, &content(2, 400));
        assert_eq!(segments(dir.path()).len(), 1, "the segment goes on");
        drop(store);
        let (store, recovery) = open(dir.path());
        assert_eq!((recovery.damaged, recovery.cut_bytes, recovery.blobs), (0, 0, 2));
        assert!(is_whole(&store, &content(0, 300)) && is_whole(&store, &content(2, 400)));
    }
}

#[test]
fn a_file_that_cannot_be_cut_gets_no_more_records() {
    let (dir, store, faults) = failing();
    faults.add(Fault::WriteFull(200));
    faults.add(Fault::CutRefused);
    assert_eq!(refused(&store, &content(1, 400)), ErrorKind::NoSpace);
    put(&store, &content(2, 400));
    assert_eq!(segments(dir.path()).len(), 2);
    drop(store);
    let (store, recovery) = open(dir.path());
    assert_eq!((recovery.damaged, recovery.blobs), (0, 2));
    assert!(
        recovery.cut_bytes > 0 && is_whole(&store, &content(0, 300)) && is_whole(&store, &content(2, 400))
    );
}

#[test]
fn a_lost_write_poisons_its_segment() {
    let (dir, store, faults) = failing();
    faults.add(Fault::SyncLost);
    assert_eq!(refused(&store, &content(1, 400)), ErrorKind::Io);
    faults.add(Fault::SyncLost);
    assert_eq!(refused(&store, &content(1, 400)), ErrorKind::Io, "a new segment needs the disk as well");
    assert!(is_whole(&store, &content(0, 300)));
    put(&store, &content(1, 400));
    assert_eq!(segments(dir.path()).len(), 2);
    assert!(!segments(dir.path())[0].with_extension("summary").exists(), "the next start reads it through");
    drop(store);
    let (store, recovery) = open(dir.path());
    assert_eq!((recovery.damaged, recovery.blobs), (0, 2));
    assert!(is_whole(&store, &content(0, 300)) && is_whole(&store, &content(1, 400)));
    assert!(segments(dir.path())[0].with_extension("summary").exists(), "it was read, and is sound");
}

#[test]
fn all_who_share_a_lost_group_are_told() {
    let (_dir, store, faults) = failing();
    let (sender, receiver) = mpsc::channel();
    let writer = hold(&pack(&store).writer);
    faults.add(Fault::SyncLost);
    for number in 1..=5 {
        let (sender, bytes) = (sender.clone(), content(number, 100));
        store.submit(Digest::sha256(&bytes), bytes.into(), move |result| sender.send(result).unwrap());
    }
    drop(writer);
    let kinds: Vec<_> = (0..5).map(|_| receiver.recv().unwrap().unwrap_err().kind()).collect();
    assert_eq!(kinds, [ErrorKind::Io; 5]);
    assert_books(&store);
    assert_eq!(store.usage().blobs, 1);
}

#[test]
fn a_failed_removal_keeps_the_blob() {
    let (dir, store, faults) = failing();
    let digest = Digest::sha256(&content(0, 300));
    faults.add(Fault::WriteFull(10));
    assert!(store.remove(&digest).is_err() && is_whole(&store, &content(0, 300)));
    assert!(store.remove(&digest).unwrap());
    drop(store);
    assert!(!is_whole(&open(dir.path()).0, &content(0, 300)));
}

#[test]
fn too_much_waiting_is_refused_and_everybody_is_told() {
    let (_dir, store) = temporary();
    let (sender, receiver) = mpsc::channel();
    let writer = hold(&pack(&store).writer);
    let count = 700_u32;
    for number in 0..count {
        let (sender, bytes) = (sender.clone(), content(number, 65536));
        store.submit(Digest::sha256(&bytes), bytes.into(), move |result| {
            sender.send((number, result.map_err(|error| error.kind()))).unwrap();
        });
    }
    drop(writer);
    let (mut stored, mut busy) = (0, 0);
    for _ in 0..count {
        match receiver.recv().unwrap() {
            (number, Ok(_)) => {
                stored += 1;
                assert!(store.stat(&Digest::sha256(&content(number, 65536))).unwrap().is_some());
            }
            (_, Err(kind)) => {
                busy += 1;
                assert_eq!(kind, ErrorKind::Busy);
            }
        }
    }
    assert!(stored >= 512 && busy > 0, "{stored} stored, {busy} refused");
    assert_books(&store);
}
