//! Which pieces of which files have been read and found right since the process began: such a range may go from the page cache to the
//! network without anybody looking at it again.
//!
//! A file is known by device, inode, size, modification and change time. Whoever writes to it, or exchanges it, changes one of
//! them, and everything that was known is forgotten: change time cannot be set by a program. Its clock is coarse, so a file that
//! changed a moment ago is not trusted yet ([`SETTLE_MIN`]). A download passes on what it knew, since it was read all the while.
//!
//! A push is another matter: what was hashed is what came over the network, and nobody has seen what the disk gives back. So nothing counts
//! as verified from it. But each of its pieces may go out unread once, to a receiver who verifies it ([`Verified::take_pushed`]): in a
//! fleet an owner sends most pieces once, and a receiver that got something else asks again, which is when the piece is read.
//!
//! What this does not see: a disk that gives other bytes when it is read again, after the page cache has dropped them. So knowledge
//! ends after [`AGE_MAX`], and scrubbing reads the disk itself. The bytes that a client gets are checked by the client in any case.
//!
//! Price: 300 bytes of memory for a blob of up to 1,024 pieces, [`LEN_MAX`] in all; then the older half is forgotten.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use shoal_oci::Digest;
use shoal_swarm_types::{Bitfield, PieceIndex};

use crate::locks::hold;

/// A file whose change lies less than this in the past may change again without its times showing it: the kernel's clock for
/// files ticks every 10 ms at the slowest.
const SETTLE_MIN: Duration = Duration::from_millis(20);

/// How long a piece counts as verified. Once an hour a blob that is in demand costs a fifth of a CPU-second per GB.
const AGE_MAX: Duration = Duration::from_secs(60 * 60);

/// Bytes of memory for all of this: some 20,000 blobs.
const LEN_MAX: usize = 4 * 1024 * 1024;

/// What an entry costs beside its bits.
const ENTRY_LEN: usize = 200;

/// A file as it was at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        file.metadata().map(|metadata| Self::from(&metadata))
    }

    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    /// Whether every later change will show.
    pub(crate) fn is_settled(&self, now: SystemTime) -> bool {
        let (Ok(seconds), Ok(nanos)) = (u64::try_from(self.changed.0), u32::try_from(self.changed.1)) else {
            return false;
        };
        let changed = UNIX_EPOCH + Duration::new(seconds, nanos);
        // A change in the future means that the clock was set back: nothing is known then.
        now.duration_since(changed).is_ok_and(|age| age >= SETTLE_MIN)
    }
}

impl From<&Metadata> for Identity {
    fn from(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// What is known.
#[derive(Default)]
pub(crate) struct Verified {
    state: Mutex<State>,
}

/// Two generations: what is used moves to the young one, and when that has half of the memory the old one goes.
#[derive(Default)]
struct State {
    young: HashMap<Digest, Known>,
    old: HashMap<Digest, Known>,
    young_len: usize,
}

struct Known {
    identity: Identity,
    pieces: Bitfield,
    /// Pieces that this process wrote in a push, and has neither read nor sent since; no bits when there are none.
    pushed: Bitfield,
    since: Instant,
}

impl Known {
    fn new(identity: Identity, count: u32, now: Instant) -> Self {
        Self { identity, pieces: Bitfield::empty(count), pushed: Bitfield::empty(0), since: now }
    }

    fn add(&mut self, pieces: Range<u32>) {
        for piece in pieces {
            self.pieces.set(PieceIndex(piece));
        }
    }

    fn len(&self) -> usize {
        ENTRY_LEN + self.pieces.as_bytes().len() + self.pushed.as_bytes().len()
    }

    fn holds(&self, identity: &Identity, now: Instant) -> bool {
        self.identity == *identity && now.saturating_duration_since(self.since) < AGE_MAX
    }
}

impl State {
    /// What is known of a blob, in the young generation.
    fn find(&mut self, digest: &Digest) -> Option<&mut Known> {
        if let Some(known) = self.old.remove(digest) {
            self.insert(*digest, known);
        }
        self.young.get_mut(digest)
    }

    fn insert(&mut self, digest: Digest, known: Known) {
        let len = known.len();
        if self.young_len + len > LEN_MAX / 2 {
            self.old = std::mem::take(&mut self.young);
            self.young_len = 0;
        }
        self.young_len += len;
        if let Some(replaced) = self.young.insert(digest, known) {
            self.young_len = self.young_len.saturating_sub(replaced.len());
        }
    }

    fn forget(&mut self, digest: &Digest) {
        self.old.remove(digest);
        if let Some(known) = self.young.remove(digest) {
            self.young_len = self.young_len.saturating_sub(known.len());
        }
    }

    /// What is known of the file that `identity` describes. What was known of another, or too long ago, is forgotten.
    fn holding(&mut self, digest: &Digest, identity: &Identity, now: Instant) -> Option<&mut Known> {
        if !self.find(digest)?.holds(identity, now) {
            self.forget(digest);
            return None;
        }
        self.find(digest)
    }
}

impl Verified {
    /// Notes that `pieces` of `count` were read and verified, with the file as `identity` before and after.
    pub(crate) fn note(
        &self,
        digest: &Digest,
        identity: &Identity,
        pieces: Range<u32>,
        count: u32,
        now: Instant,
    ) {
        let mut state = hold(&self.state);
        let known = state.holding(digest, identity, now);
        if let Some(known) = known.filter(|known| known.pieces.len() == count) {
            known.add(pieces);
            return;
        }
        state.forget(digest);
        let mut known = Known::new(*identity, count, now);
        known.add(pieces);
        state.insert(*digest, known);
    }

    /// Notes that this process has just written all `count` pieces, in a push whose digest was right.
    pub(crate) fn note_pushed(&self, digest: &Digest, identity: &Identity, count: u32, now: Instant) {
        let mut state = hold(&self.state);
        state.forget(digest);
        let pushed = Bitfield::full(count);
        state.insert(*digest, Known { pushed, ..Known::new(*identity, count, now) });
    }

    /// Whether a piece comes from a push, in the file that `identity` describes, and nobody has had it since: a receiver who verifies it may
    /// have it unread. True once for each piece.
    pub(crate) fn take_pushed(
        &self,
        digest: &Digest,
        identity: &Identity,
        piece: PieceIndex,
        now: Instant,
    ) -> bool {
        let mut state = hold(&self.state);
        let Some(known) = state.holding(digest, identity, now) else { return false };
        known.pushed.unset(piece)
    }

    /// Whether all of `pieces` are known to be right in the file that `identity` describes.
    pub(crate) fn covers(
        &self,
        digest: &Digest,
        identity: &Identity,
        mut pieces: Range<u32>,
        now: Instant,
    ) -> bool {
        let mut state = hold(&self.state);
        let Some(known) = state.holding(digest, identity, now) else { return false };
        known.pieces.is_full() || pieces.all(|piece| known.pieces.has(PieceIndex(piece)))
    }

    /// Forgets a blob.
    pub(crate) fn forget(&self, digest: &Digest) {
        hold(&self.state).forget(digest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: Identity = Identity { device: 1, inode: 2, size: 3, modified: (4, 5), changed: (6, 7) };

    #[test]
    fn only_what_was_noted_of_exactly_this_file_is_known() {
        let (verified, now, digest) = (Verified::default(), Instant::now(), Digest::sha256(b"a"));
        verified.note(&digest, &IDENTITY, 0..2, 5, now);
        verified.note(&digest, &IDENTITY, 3..4, 5, now);
        assert!(verified.covers(&digest, &IDENTITY, 0..2, now));
        assert!(verified.covers(&digest, &IDENTITY, 3..4, now));
        assert!(!verified.covers(&digest, &IDENTITY, 1..4, now));
        assert!(!verified.covers(&Digest::sha256(b"b"), &IDENTITY, 0..1, now));
        for other in [
            Identity { device: 9, ..IDENTITY },
            Identity { inode: 9, ..IDENTITY },
            Identity { size: 9, ..IDENTITY },
            Identity { modified: (4, 6), ..IDENTITY },
            Identity { changed: (7, 7), ..IDENTITY },
        ] {
            verified.note(&digest, &IDENTITY, 0..5, 5, now);
            assert!(!verified.covers(&digest, &other, 0..1, now), "{other:?}");
            assert!(!verified.covers(&digest, &IDENTITY, 0..1, now), "a change forgets");
        }
    }

    #[test]
    fn knowledge_ends() {
        let (verified, now, digest) = (Verified::default(), Instant::now(), Digest::sha256(b"a"));
        verified.note(&digest, &IDENTITY, 0..1, 1, now);
        assert!(verified.covers(&digest, &IDENTITY, 0..1, now + AGE_MAX / 2));
        assert!(!verified.covers(&digest, &IDENTITY, 0..1, now + AGE_MAX));
        verified.note(&digest, &IDENTITY, 0..1, 1, now);
        verified.forget(&digest);
        assert!(!verified.covers(&digest, &IDENTITY, 0..1, now));
    }

    #[test]
    fn a_pushed_piece_is_taken_once_from_the_same_file_and_is_not_verified() {
        let (verified, now, digest) = (Verified::default(), Instant::now(), Digest::sha256(b"a"));
        let take = |identity, piece, now| verified.take_pushed(&digest, identity, PieceIndex(piece), now);
        assert!(!take(&IDENTITY, 0, now));
        verified.note_pushed(&digest, &IDENTITY, 3, now);
        assert!(!verified.covers(&digest, &IDENTITY, 0..1, now));
        assert!(take(&IDENTITY, 1, now) && !take(&IDENTITY, 1, now) && !take(&IDENTITY, 3, now));
        verified.note(&digest, &IDENTITY, 1..2, 3, now);
        assert!(verified.covers(&digest, &IDENTITY, 1..2, now) && take(&IDENTITY, 0, now));
        assert!(!take(&IDENTITY, 2, now + AGE_MAX), "knowledge ends");
        verified.note_pushed(&digest, &IDENTITY, 3, now);
        assert!(!take(&Identity { changed: (6, 8), ..IDENTITY }, 2, now));
        assert!(!take(&IDENTITY, 2, now), "a change forgets");
        verified.note_pushed(&digest, &IDENTITY, 3, now);
        verified.forget(&digest);
        assert!(!take(&IDENTITY, 2, now));
    }

    #[test]
    fn memory_is_bounded_and_what_is_used_stays() {
        let (verified, now, used) = (Verified::default(), Instant::now(), Digest::sha256(b"used"));
        verified.note(&used, &IDENTITY, 0..1, 1, now);
        for number in 0..100_000_u32 {
            verified.note(&Digest::sha256(&number.to_be_bytes()), &IDENTITY, 0..1, 1, now);
            if number % 1000 == 0 {
                assert!(verified.covers(&used, &IDENTITY, 0..1, now), "{number}");
            }
        }
        let state = hold(&verified.state);
        let len: usize = state.young.values().chain(state.old.values()).map(Known::len).sum();
        assert!(len <= LEN_MAX && len > LEN_MAX / 4, "{len}");
        assert_eq!(state.young_len, state.young.values().map(Known::len).sum::<usize>());
    }

    #[test]
    fn a_file_that_has_just_changed_is_not_trusted_yet() {
        let at = |seconds, nanos| Identity { changed: (seconds, nanos), ..IDENTITY };
        let now = UNIX_EPOCH + Duration::from_secs(100);
        assert!(at(99, 0).is_settled(now) && at(99, 980_000_000).is_settled(now));
        assert!(
            !at(99, 990_000_000).is_settled(now) && !at(100, 1).is_settled(now) && !at(-1, 0).is_settled(now)
        );
    }
}
