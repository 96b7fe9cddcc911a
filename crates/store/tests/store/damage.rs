//! A blob that a disk has damaged: no wrong byte gets out, it counts as absent, and every way back works without a restart.

use shoal_store::{ErrorKind, Quarantined, Scrubbed};

use super::*;

/// A store with one blob of several pieces, one bit of which (in piece 2) is not what it was.
fn damaged(options: Options) -> (TempDir, Store, Vec<u8>, Digest) {
    let (dir, store) = temporary(options);
    let bytes = content(11, 4 * PIECE + 321);
    let digest = Digest::sha256(&bytes);
    store.put(&digest, &bytes).unwrap();
    damage(&file_of(dir.path(), &digest, "data"), 2 * PIECE + 5);
    (dir, store, bytes, digest)
}

/// Reads a blob through ranges; what came before an error, and the error.
fn read_ranges(store: &Store, digest: &Digest) -> (Vec<u8>, Option<ErrorKind>) {
    let mut read = Vec::new();
    let blob = match store.blob(digest) {
        Ok(blob) => blob,
        Err(error) => return (read, Some(error.kind())),
    };
    while (read.len() as u64) < blob.size() {
        match blob.read_range(read.len() as u64..blob.size()) {
            Ok(bytes) => read.extend_from_slice(&bytes),
            Err(error) => return (read, Some(error.kind())),
        }
    }
    (read, None)
}

fn push(store: &Store, bytes: &[u8]) {
    let id = store.create_upload("team/app").unwrap();
    let mut upload = store.open_upload(&id).unwrap();
    upload.write(bytes).unwrap();
    upload.commit(&Digest::sha256(bytes)).unwrap();
}

#[test]
fn a_flipped_bit_gives_no_wrong_byte_and_the_next_push_repairs() {
    let (dir, store, bytes, digest) = damaged(Options::durable());
    let before = store.usage().bytes;
    let (read, error) = read_ranges(&store, &digest);
    assert_eq!(error, Some(ErrorKind::Corrupt));
    assert!(bytes.starts_with(&read) && read.len() == 2 * PIECE, "the pieces before the damage are good");
    assert_eq!(
        (store.stat(&digest).unwrap(), store.blob(&digest).unwrap_err().kind()),
        (None, ErrorKind::NotFound)
    );
    assert_eq!(store.quarantined(), [Quarantined { digest, size: bytes.len() as u64 }]);
    assert_eq!((store.usage().bytes, store.usage().quarantine_bytes), (0, bytes.len() as u64));
    push(&store, &bytes);
    assert_eq!(read_ranges(&store, &digest), (bytes, None));
    assert_eq!(
        (store.quarantined(), store.usage().quarantine_bytes, store.usage().bytes),
        (vec![], 0, before)
    );
    assert_eq!(files(dir.path()).len(), 2, "the damaged copy is gone");
}

#[test]
fn those_who_have_a_damaged_blob_open_still_read_its_good_pieces() {
    let (_dir, store, bytes, digest) = damaged(Options::durable());
    let blob = store.blob(&digest).unwrap();
    assert_eq!(blob.read_piece(PieceIndex(2)).unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(blob.read_piece(PieceIndex(3)).unwrap(), bytes[3 * PIECE..4 * PIECE]);
    assert_eq!(blob.read_piece(PieceIndex(2)).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn what_is_set_aside_is_remembered_and_can_be_repaired_piece_by_piece() {
    let (dir, store, bytes, digest) = damaged(Options::durable());
    assert!(store.quarantine(&digest).unwrap() && !store.quarantine(&digest).unwrap());
    drop(store);
    let store = open(dir.path(), Options::durable());
    assert_eq!((store.stat(&digest).unwrap(), store.quarantined().len()), (None, 1));
    assert_eq!(store.usage().quarantine_bytes, bytes.len() as u64);
    let partial = store.demote(&digest).unwrap();
    assert_eq!(partial.have().iter_missing().collect::<Vec<_>>(), [PieceIndex(2)]);
    partial.write_piece(PieceIndex(2), &bytes[2 * PIECE..3 * PIECE]).unwrap();
    partial.commit().unwrap();
    assert_eq!(read_ranges(&store, &digest), (bytes, None));
    assert_eq!((store.quarantined().len(), store.usage().quarantine_bytes), (0, 0));
}

#[test]
fn what_reads_right_after_all_goes_back_and_what_does_not_stays() {
    let (dir, store, bytes, digest) = damaged(Options::durable());
    assert_eq!(store.release(&digest).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(store.quarantine(&digest).unwrap());
    assert_eq!(store.release(&digest).unwrap(), Scrubbed::Damaged { pieces: vec![PieceIndex(2)] });
    assert_eq!((store.stat(&digest).unwrap(), store.quarantined().len()), (None, 1));
    damage(&file_of(dir.path(), &digest, "data"), 2 * PIECE + 5);
    assert_eq!(store.release(&digest).unwrap(), Scrubbed::Intact);
    assert_eq!((read_ranges(&store, &digest), store.quarantined()), ((bytes, None), vec![]));
    assert!(store.quarantine(&digest).unwrap());
    fs::remove_file(file_of(dir.path(), &digest, "metainfo")).unwrap();
    assert_eq!(store.release(&digest).unwrap(), Scrubbed::Restored);
    assert!(store.quarantine(&digest).unwrap() && store.forget_quarantined(&digest));
    assert!(!store.forget_quarantined(&digest) && files(dir.path()).is_empty());
    assert_eq!(store.usage().quarantine_bytes, 0);
}

#[test]
fn how_a_lost_blob_was_cut_is_known_to_a_durable_store() {
    for options in [Options::durable(), CACHE] {
        let (dir, store) = temporary(options);
        let bytes = content(5, 3 * PIECE);
        let digest = Digest::sha256(&bytes);
        store.put(&digest, &bytes).unwrap();
        assert_eq!(store.lost(&digest).unwrap(), None, "it is here");
        fs::remove_file(file_of(dir.path(), &digest, "data")).unwrap();
        drop(store);
        let store = open(dir.path(), options);
        store.finish_counting();
        assert_eq!(store.stat(&digest).unwrap(), None);
        if options == CACHE {
            assert_eq!(store.lost(&digest).unwrap(), None);
            assert_eq!(store.demote(&digest).unwrap_err().kind(), ErrorKind::NotFound);
            continue;
        }
        let known = store.lost(&digest).unwrap().unwrap();
        assert_eq!(known, metainfo(&bytes));
        let partial = store.demote(&digest).unwrap();
        assert_eq!((partial.have().count(), store.lost(&digest).unwrap()), (0, Some(known)));
        for index in 0..3 {
            partial.write_piece(PieceIndex(index), &piece(partial.metainfo(), &bytes, index)).unwrap();
        }
        partial.commit().unwrap();
        assert_eq!((read_ranges(&store, &digest), store.lost(&digest).unwrap()), ((bytes, None), None));
    }
}

#[test]
fn a_damaged_copy_never_replaces_a_good_one() {
    let (dir, store, bytes, digest) = damaged(Options::durable());
    let aside = file_of(dir.path(), &digest, "data");
    let copy = fs::read(&aside).unwrap();
    assert!(store.quarantine(&digest).unwrap());
    let place = file_of(dir.path(), &digest, "data");
    push(&store, &bytes);
    drop(store);
    // As if the end of the push had been cut off.
    fs::write(&place, copy).unwrap();
    let store = open(dir.path(), Options::durable());
    assert_eq!((store.quarantined(), place.exists()), (vec![], false));
    assert_eq!(store.release(&digest).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(read_ranges(&store, &digest), (bytes, None));
    assert_eq!(store.usage().quarantine_bytes, 0);
}

#[test]
fn a_scrub_tells_good_from_restored_from_damaged() {
    for options in [Options::durable(), CACHE] {
        let (dir, store) = temporary(options);
        for (seed, size) in [(1, 70_000), (2, 4096), (3, 3 * PIECE), (4, 1_500_001)] {
            let bytes = content(seed, size.max(PIECE + 1));
            let digest = Digest::sha256(&bytes);
            store.put(&digest, &bytes).unwrap();
            let mut seen = 0;
            assert_eq!(store.scrub_paced(&digest, |len| seen += len).unwrap(), Scrubbed::Intact);
            assert_eq!(seen, bytes.len() as u64);
            let metainfo = file_of(dir.path(), &digest, "metainfo");
            damage(&metainfo, 90);
            assert_eq!(store.scrub(&digest).unwrap(), Scrubbed::Restored);
            fs::remove_file(metainfo).unwrap();
            assert_eq!(store.scrub(&digest).unwrap(), Scrubbed::Restored);
            assert_eq!(store.scrub(&digest).unwrap(), Scrubbed::Intact);
            let data = file_of(dir.path(), &digest, "data");
            damage(&data, PIECE);
            assert_eq!(store.scrub(&digest).unwrap(), Scrubbed::Damaged { pieces: vec![PieceIndex(1)] });
            assert!(store.stat(&digest).unwrap().is_some(), "a scrub only tells");
        }
    }
}

#[test]
fn a_scrub_finds_short_files_and_lost_descriptions() {
    let (dir, store, bytes, digest) = damaged(Options::durable());
    let data = file_of(dir.path(), &digest, "data");
    fs::File::options().write(true).open(&data).unwrap().set_len(3 * PIECE as u64 + 7).unwrap();
    let pieces = [2, 3, 4].map(PieceIndex).to_vec();
    assert_eq!(store.scrub(&digest).unwrap(), Scrubbed::Damaged { pieces });
    fs::write(&data, &bytes[1..]).unwrap();
    fs::remove_file(file_of(dir.path(), &digest, "metainfo")).unwrap();
    let pieces = (0..5).map(PieceIndex).collect();
    assert_eq!(store.scrub(&digest).unwrap(), Scrubbed::Damaged { pieces });
    assert_eq!(store.scrub(&Digest::sha256(b"?")).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn data_and_metainfo_damaged_together_are_set_aside_too() {
    let (dir, store, bytes, digest) = damaged(Options::durable());
    damage(&file_of(dir.path(), &digest, "metainfo"), 90);
    assert_eq!(store.blob(&digest).unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!((store.stat(&digest).unwrap(), store.quarantined().len()), (None, 1));
    push(&store, &bytes);
    assert_eq!(read_ranges(&store, &digest), (bytes, None));
}

#[test]
fn a_cache_sets_nothing_aside() {
    let (_dir, store, bytes, digest) = damaged(CACHE);
    assert_eq!(read_ranges(&store, &digest).1, Some(ErrorKind::Corrupt));
    assert_eq!((store.stat(&digest).unwrap(), store.quarantined()), (Some(bytes.len() as u64), vec![]));
}

#[test]
fn what_stands_in_the_place_of_a_file_is_set_aside_and_the_next_push_repairs() {
    type Change = fn(&Path);
    let pipe: Change = |path| nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let changes: [Change; 2] = [|path| fs::create_dir(path).unwrap(), pipe];
    for change in changes {
        let (dir, store, bytes, digest) = damaged(Options::durable());
        let path = file_of(dir.path(), &digest, "data");
        fs::remove_file(&path).unwrap();
        change(&path);
        assert_eq!(read_ranges(&store, &digest).1, Some(ErrorKind::Corrupt));
        assert_eq!(store.stat(&digest).unwrap(), None);
        push(&store, &bytes);
        assert_eq!(read_ranges(&store, &digest), (bytes, None));
    }
}
