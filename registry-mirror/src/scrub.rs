//! Reading the cache again, slowly, to find what the disk has lost before somebody needs it.
//!
//! One blob after the other, so paced that a pass takes a day, whatever the cache holds; each at a bounded rate and past the page cache.
//! A damaged blob is removed and fetched again by whoever asks next; there is always another copy, this is a cache. Damage that a
//! reader meets is dealt with at once and elsewhere: this is for what nobody reads.

use std::time::Duration;

use shoal_oci::Digest;
use shoal_store::{Scrubbed, Store};
use tokio::time::sleep;

/// A pass over everything takes this long.
const PASS: Duration = Duration::from_secs(24 * 60 * 60);

/// After the start, and after a pass over next to nothing.
const REST: Duration = Duration::from_secs(10 * 60);

/// How fast one blob is read, in bytes per second: an eighth of what the slowest disk in use gives.
const RATE: u64 = 16 << 20;

/// Reads the cache for ever.
pub(crate) async fn run(store: Store) {
    loop {
        sleep(REST).await;
        let mut last = None;
        while let Some(next) = store.each_digest(last, 1).pop() {
            last = Some(next.digest);
            let turn = share(next.size, store.usage().bytes);
            let (reading, digest) = (store.clone(), next.digest);
            // It blocks, and takes its time.
            _ = tokio::task::spawn_blocking(move || look(&reading, &digest)).await;
            sleep(turn).await;
        }
    }
}

/// The part of a pass that a blob of `size` bytes has, of `total`.
fn share(size: u64, total: u64) -> Duration {
    PASS.mul_f64((size as f64 / total.max(1) as f64).min(1.0))
}

/// Reads one blob, and removes it when it is damaged. True when it was.
fn look(store: &Store, digest: &Digest) -> bool {
    let pace = |len: u64| std::thread::sleep(Duration::from_secs_f64(len as f64 / RATE as f64));
    match store.scrub_paced(digest, pace) {
        Ok(Scrubbed::Intact | Scrubbed::Restored) => false,
        Ok(Scrubbed::Damaged { pieces }) => {
            tracing::warn!(%digest, pieces = pieces.len(), "a cached blob is damaged on the disk and is dropped");
            if let Err(error) = store.remove(digest) {
                tracing::warn!(%digest, %error, "the damaged blob could not be dropped");
            }
            true
        }
        Err(error) => {
            tracing::debug!(%digest, %error, "a cached blob could not be read again");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use shoal_store::Options;

    use super::*;

    fn file_of(directory: &std::path::Path, len: u64) -> Option<std::path::PathBuf> {
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).find_map(|path| {
            if path.is_dir() {
                return file_of(&path, len);
            }
            (path.metadata().unwrap().len() == len).then_some(path)
        })
    }

    #[test]
    fn what_is_damaged_is_dropped_and_what_is_right_stays() {
        let directory = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(directory.path(), Options::cache(1 << 20)).unwrap();
        let blobs = [vec![1; 70_001], vec![2; 70_002]];
        let digests = blobs.each_ref().map(|bytes| Digest::sha256(bytes));
        for (digest, bytes) in digests.iter().zip(&blobs) {
            store.put(digest, bytes).unwrap();
        }
        let path = file_of(directory.path(), 70_002).unwrap();
        std::fs::File::options().write(true).open(path).unwrap().write_all_at(b"rot", 5000).unwrap();
        assert_eq!(digests.map(|digest| look(&store, &digest)), [false, true]);
        assert_eq!(store.digests(), [digests[0]]);
    }

    #[test]
    fn a_pass_takes_a_day_whatever_there_is() {
        assert_eq!(share(5, 10), PASS / 2);
        assert_eq!(share(10, 0), PASS);
        assert_eq!(share(0, 10), Duration::ZERO);
    }
}
