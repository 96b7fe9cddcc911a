//! Making room: which blobs go, and how they go.
//!
//! Only a cache evicts. Complete blobs that nobody reads go first, the least recently used before the others; unfinished downloads
//! that nobody has open go last, because a restarted agent wants to continue them. When all of them together are not enough,
//! nothing goes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use shoal_oci::Digest;

use crate::disk;
use crate::error::{Error, Result};
use crate::index::Entry;
use crate::locks::hold;
use crate::paths::Part;
use crate::space::{Class, Shortage};
use crate::steps::{Step, passed};
use crate::store::Shared;

/// Something that may go. The derived order is the order in which they go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Candidate {
    pub(crate) kind: Kind,
    pub(crate) used: u64,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

/// What a candidate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Blob,
    Partial,
}

/// The candidates that must go to make `missing` bytes of room, in order; none at all when that is impossible.
pub(crate) fn choose(mut candidates: Vec<Candidate>, missing: u64) -> Vec<Candidate> {
    candidates.sort_unstable();
    let mut freed = 0_u64;
    let count = candidates.iter().position(|candidate| {
        freed = freed.saturating_add(candidate.size);
        freed >= missing
    });
    candidates.truncate(count.map_or(0, |last| last + 1));
    candidates
}

/// How often a choice may come to nothing because readers were faster, before there counts as being no room.
const VAIN_TURNS_MAX: usize = 64;

impl Shared {
    /// Takes `len` bytes for `class`, evicting if that helps.
    pub(crate) fn reserve(&self, class: Class, len: u64) -> Result<()> {
        let Err(short) = self.space.take(class, len)? else { return Ok(()) };
        if self.options.is_durable() {
            return Err(Error::NoSpace(short.limit));
        }
        // One evictor at a time: two would both evict for what one of them needs.
        let _evictor = hold(&self.evictor);
        let mut vain = 0;
        loop {
            let Err(short) = self.space.take(class, len)? else { return Ok(()) };
            // Each turn frees something, or counts as vain, or ends the loop; so it ends.
            match self.evict(short.missing) {
                None => return Err(Error::NoSpace(short.limit)),
                // What was chosen has got readers since; something else may go.
                Some(0) if vain < VAIN_TURNS_MAX => vain += 1,
                Some(0) => return Err(Error::NoSpace(short.limit)),
                Some(_) => {}
            }
        }
    }

    /// Which limit stands in the way of more content, with everything evicted that may go.
    pub(crate) fn shortage(&self) -> Result<Option<Shortage>> {
        let evictable =
            if self.options.is_durable() { 0 } else { self.candidates().iter().map(|one| one.size).sum() };
        self.space.shortage(evictable)
    }

    /// Evicts at least `missing` bytes if that is possible; returns how many went, `None` when too little may go.
    fn evict(&self, missing: u64) -> Option<u64> {
        let chosen = choose(self.candidates(), missing);
        let gone =
            chosen.iter().filter(|candidate| self.evict_one(candidate)).map(|candidate| candidate.size);
        (!chosen.is_empty()).then(|| gone.sum())
    }

    /// Everything that may go.
    fn candidates(&self) -> Vec<Candidate> {
        let kept = hold(&self.kept).clone();
        let blobs = self.index.unused().into_iter().filter(|blob| !kept.contains(&blob.digest));
        let blobs = blobs.map(|blob| Candidate {
            kind: Kind::Blob,
            used: blob.used,
            digest: blob.digest,
            size: blob.size,
        });
        let partials = self.partials.idle().into_iter().filter(|partial| !kept.contains(&partial.digest));
        blobs.chain(partials).collect()
    }

    fn evict_one(&self, candidate: &Candidate) -> bool {
        let gone = match candidate.kind {
            Kind::Blob => self.evict_blob(&candidate.digest),
            Kind::Partial => self.drop_idle_partial(&candidate.digest),
        };
        if gone {
            tracing::debug!(digest = %candidate.digest, size = candidate.size, kind = ?candidate.kind, "evicted");
            self.evictions.fetch_add(1, Ordering::Relaxed);
        }
        gone
    }

    fn evict_blob(&self, digest: &Digest) -> bool {
        let _stripe = self.stripes.hold(digest);
        let Some(entry) = self.index.take_unused(digest) else { return false };
        match self.unlink_blob(entry) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(%error, "a blob could not be evicted");
                false
            }
        }
    }

    /// Removes a complete blob; false when there is none. Readers keep what they have open.
    pub(crate) fn remove_blob(&self, digest: &Digest) -> Result<bool> {
        let was_packed = self.remove_packed(digest)?;
        // So that the index knows what is on the disk.
        drop(self.pin(digest)?);
        let _stripe = self.stripes.hold(digest);
        match self.index.take(digest) {
            Some(entry) => self.unlink_blob(entry).map(|()| true),
            None => Ok(was_packed),
        }
    }

    /// Removes exactly this blob, not a later one of the same digest.
    pub(crate) fn remove_entry(&self, entry: &Arc<Entry>) -> Result<()> {
        let _stripe = self.stripes.hold(entry.digest());
        if self.index.take_entry(entry) { self.unlink_blob(entry.clone()) } else { Ok(()) }
    }

    /// Unlinks the files of a blob that was taken out of the index. The data goes first: data without metainfo would come back at
    /// the next start. The caller holds the stripe.
    fn unlink_blob(&self, entry: Arc<Entry>) -> Result<()> {
        let digest = *entry.digest();
        if let Err(error) = disk::remove(&self.paths.blob(&digest, Part::Data)) {
            self.index.put_back(entry);
            return Err(error);
        }
        passed(Step::DataUnlinked);
        self.space.give_back(Class::Blob, entry.size());
        disk::remove_leftover(&self.paths.blob(&digest, Part::Metainfo));
        passed(Step::MetainfoUnlinked);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(kind: Kind, used: u64, size: u64) -> Candidate {
        Candidate { kind, used, size, digest: Digest::sha256(&used.to_be_bytes()) }
    }

    #[test]
    fn the_least_recently_used_go_first_and_no_more_than_needed() {
        let all = [5, 1, 4, 2, 3].map(|used| candidate(Kind::Blob, used, 10)).to_vec();
        let used = |missing| choose(all.clone(), missing).iter().map(|one| one.used).collect::<Vec<_>>();
        assert_eq!(used(1), [1]);
        assert_eq!(used(10), [1]);
        assert_eq!(used(11), [1, 2]);
        assert_eq!(used(50), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn nothing_goes_when_everything_would_not_be_enough() {
        assert_eq!(choose(vec![candidate(Kind::Blob, 1, 10)], 11), []);
        assert_eq!(choose(Vec::new(), 1), []);
    }

    #[test]
    fn unfinished_downloads_go_last() {
        let all = vec![candidate(Kind::Partial, 1, 10), candidate(Kind::Blob, 2, 10)];
        assert_eq!(choose(all.clone(), 5)[0].kind, Kind::Blob);
        assert_eq!(choose(all, 15).len(), 2);
    }
}
