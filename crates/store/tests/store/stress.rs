//! Everything at once, on few digests and in little room: no deadlock, no false byte, no lost count.

use shoal_store::{ErrorKind, Recovery, Result};

use super::*;

const BLOBS: u64 = 5;
const THREADS: u64 = 4;
const TURNS: u64 = 80;

fn bytes_of(blob: u64) -> Vec<u8> {
    content(blob, (blob as usize + 1) * PIECE + blob as usize * 100)
}

/// Does one thing; which one is up to `dice`.
fn act(store: &Store, dice: u64, contents: &[Vec<u8>]) -> Result<()> {
    let bytes = &contents[(dice % BLOBS) as usize];
    let digest = Digest::sha256(bytes);
    match dice / BLOBS % 8 {
        0 => drop(store.put(&digest, bytes)?),
        1 => drop(store.remove(&digest)?),
        2 => drop(store.demote(&digest)?),
        3 => store.partial(&metainfo(bytes))?.discard(),
        4 | 5 => {
            let partial = store.partial(&metainfo(bytes))?;
            for index in partial.have().iter_missing().skip((dice % 3) as usize) {
                partial.write_piece(index, &piece(partial.metainfo(), bytes, index.0))?;
            }
            assert_eq!(read(&partial.commit()?), *bytes);
        }
        6 => {
            let id = store.create_upload("a")?;
            store.open_upload(&id)?.write(bytes)?;
            store.open_upload(&id)?.commit(&digest)?;
        }
        _ => assert_eq!(read(&store.blob(&digest)?), *bytes),
    }
    Ok(())
}

fn work(store: &Store, thread: u64, contents: &[Vec<u8>]) {
    for turn in 0..TURNS {
        let dice =
            content(thread * TURNS + turn, 8).iter().fold(0, |dice, byte| dice << 8 | u64::from(*byte));
        if let Err(error) = act(store, dice, contents) {
            // Somebody else was faster, or there was no room; nothing else may happen.
            let is_fair =
                matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Invalid | ErrorKind::NoSpace);
            assert!(is_fair, "{error}");
        }
    }
}

fn bytes_below(dir: &Path) -> u64 {
    let data =
        files(dir).into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "data"));
    data.map(|path| path.metadata().unwrap().len()).sum()
}

#[test]
fn everything_at_once_keeps_the_books() {
    for capacity in [None, Some(12 * PIECE as u64)] {
        let options = Options { capacity, ..CACHE };
        let (dir, store) = temporary(options);
        let contents: Vec<_> = (0..BLOBS).map(bytes_of).collect();
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (store, contents) = (&store, &contents);
                scope.spawn(move || work(store, thread, contents));
            }
        });
        let usage = store.usage();
        assert_eq!(usage.bytes, bytes_below(&dir.path().join("blobs")));
        assert_eq!(usage.partial_bytes, bytes_below(&dir.path().join("partials")));
        assert_eq!(usage.upload_bytes, bytes_below(&dir.path().join("uploads")));
        assert!(usage.bytes + usage.partial_bytes + usage.upload_bytes <= capacity.unwrap_or(u64::MAX));
        assert!(files(&dir.path().join("tmp")).is_empty());
        drop(store);
        let (store, recovery) = Store::open(dir.path(), options).unwrap();
        let clean = Recovery { removed: recovery.removed, demoted: 0, rederived: 0, foreign: 0, ..recovery };
        assert_eq!(recovery, clean);
        for digest in store.digests() {
            assert_eq!(Digest::sha256(&read(&store.blob(&digest).unwrap())), digest);
        }
    }
}
