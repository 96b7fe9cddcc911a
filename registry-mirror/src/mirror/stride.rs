//! Where a client will stop reading a range that it left open.
//!
//! containerd (2.1 and later, when told to) fetches a layer in parallel: it asks for everything from an offset (`bytes=K-`) on each of
//! several connections, reads one chunk, and hangs up. What was written beyond the chunk was written for nothing: two to three times
//! the layer, measured. The offsets tell what the header does not: the open ranges of one client in one blob are one read in order, cut
//! into chunks of one length, so each ends where the next begins. There the body pauses, for as long as a client needs to hang up.
//!
//! A wrong guess costs one such pause: nothing is ever cut here. Plain requests without `Range` are never paused. Non-goal: knowing
//! clients by name. The price: one look into a small table for each open range, and at most 512 KiB of notes.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shoal_oci::Digest;

use crate::recent::Recent;

/// How long a body waits where its client is expected to hang up: reading a chunk from the socket's buffer and closing takes it
/// milliseconds; a fifth of a second is not felt in a pull where the guess is wrong.
pub(super) const PAUSE: Duration = Duration::from_millis(200);

/// Blobs that are being read in chunks: a machine pulls a few dozen layers at once.
const READS_MAX: usize = 256;

/// Offsets noted of one blob; with more, the length of a chunk is known for certain. 8 bytes each.
const STARTS_MAX: usize = 128;

/// Clients of which the last length of a chunk is known.
const CLIENTS_MAX: usize = 256;

/// The shortest chunk that is believed in. Below it, pausing costs more than the bytes do.
const CHUNK_LEN_MIN: u64 = 64 * 1024;

/// The reads in chunks that are under way. Clones share them.
#[derive(Clone)]
pub(super) struct Strides {
    reads: Recent<(Reader, Digest), Arc<Mutex<Starts>>>,
    /// The last length of a chunk, by client: the first request for its next blob comes before any other.
    chunks: Recent<Reader, u64>,
}

/// Somebody who reads: an address and a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Reader(u64);

impl Reader {
    pub(super) fn new(ip: IpAddr, program: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        (ip, program).hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// Where the open ranges of one client in one blob began.
#[derive(Default)]
struct Starts(BTreeSet<u64>);

impl Starts {
    /// The length of a chunk: the smallest step, when every offset is a multiple of it.
    fn chunk(&self) -> Option<u64> {
        let steps = self.0.iter().zip(self.0.iter().skip(1)).map(|(from, to)| to - from);
        let chunk = steps.min().filter(|chunk| *chunk >= CHUNK_LEN_MIN)?;
        self.0.iter().all(|start| start.is_multiple_of(chunk)).then_some(chunk)
    }
}

/// One open range.
pub(super) struct Stride {
    start: u64,
    starts: Arc<Mutex<Starts>>,
    reader: Reader,
    chunks: Recent<Reader, u64>,
}

impl Strides {
    pub(super) fn new() -> Self {
        Self { reads: Recent::new(READS_MAX), chunks: Recent::new(CLIENTS_MAX) }
    }

    /// Notes that `reader` asks for everything from `start` on.
    pub(super) fn open(&self, reader: Reader, digest: &Digest, start: u64) -> Stride {
        let key = (reader, *digest);
        let starts = self.reads.of(&key).unwrap_or_else(|| {
            let starts = Arc::<Mutex<Starts>>::default();
            self.reads.note(key, Arc::clone(&starts));
            starts
        });
        {
            let mut noted = lock(&starts);
            if noted.0.len() < STARTS_MAX {
                noted.0.insert(start);
            }
            if let Some(chunk) = noted.chunk() {
                self.chunks.note(reader, chunk);
            }
        }
        Stride { start, starts, reader, chunks: self.chunks.clone() }
    }
}

impl Stride {
    /// Where the client will probably stop, as far as can be told now.
    pub(super) fn end(&self) -> Option<u64> {
        let starts = lock(&self.starts);
        let next = starts.0.range(self.start + 1..).next().copied();
        let chunk = starts.chunk();
        drop(starts);
        let chunk = chunk.or_else(|| self.chunks.of(&self.reader));
        let by_chunk = chunk.map(|chunk| self.start.saturating_add(chunk));
        // Offsets are noted as they come: the next one may be several chunks away.
        [next, by_chunk].into_iter().flatten().min()
    }
}

fn lock(starts: &Mutex<Starts>) -> MutexGuard<'_, Starts> {
    starts.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a `Range` header asks for everything from an offset on.
pub(super) fn is_open_ended(range: &str) -> bool {
    let Some((_, spec)) = range.split_once('=') else { return false };
    let spec = spec.trim();
    spec.ends_with('-') && spec.len() > 1 && !spec.contains(',')
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn reader(program: &str) -> Reader {
        Reader::new(IpAddr::from([127, 0, 0, 1]), program)
    }

    #[test]
    fn a_chunk_ends_where_the_next_begins() {
        let (strides, digest) = (Strides::new(), Digest::sha256(b"x"));
        let first = strides.open(reader("c"), &digest, 0);
        assert_eq!(first.end(), None, "nothing is known");
        let third = strides.open(reader("c"), &digest, 2 * MIB);
        assert_eq!((first.end(), third.end()), (Some(2 * MIB), Some(4 * MIB)));
        strides.open(reader("c"), &digest, MIB);
        assert_eq!((first.end(), third.end()), (Some(MIB), Some(3 * MIB)));
        let other = strides.open(reader("d"), &digest, 0);
        assert_eq!(other.end(), None, "another client reads for itself");
        let next = strides.open(reader("c"), &Digest::sha256(b"y"), 0);
        assert_eq!(next.end(), Some(MIB), "the same client cuts its next blob alike");
    }

    #[test]
    fn a_resumed_transfer_is_no_chunk() {
        let (strides, digest) = (Strides::new(), Digest::sha256(b"x"));
        let resumed = strides.open(reader("c"), &digest, 1_234_567);
        assert_eq!(resumed.end(), None);
        strides.open(reader("c"), &digest, 2_000_000);
        let again = strides.open(reader("c"), &digest, 2_000_100);
        assert_eq!(again.end(), None, "a step of 100 bytes is nobody's chunk");
    }

    #[test]
    fn notes_are_bounded() {
        let (strides, digest) = (Strides::new(), Digest::sha256(b"x"));
        let first = strides.open(reader("c"), &digest, 0);
        (1..100_000).for_each(|number| drop(strides.open(reader("c"), &digest, number * MIB)));
        assert_eq!(first.end(), Some(MIB));
        assert_eq!(lock(&first.starts).0.len(), STARTS_MAX);
        let last = strides.open(reader("c"), &digest, 100_000 * MIB);
        assert_eq!(last.end(), Some(100_001 * MIB));
    }

    #[test]
    fn only_ranges_without_an_end_are_open() {
        assert!(is_open_ended("bytes=0-") && is_open_ended("bytes=1048576- "));
        for other in ["bytes=0-5", "bytes=-5", "bytes=0-,5-", "bytes=-", "0-"] {
            assert!(!is_open_ended(other), "{other}");
        }
    }
}
