//! What a run found and did, for the log, the admin port and the operator's table.

use std::time::Duration;

use serde::Serialize;
use shoal_oci::{Digest, Repository, Tag};

/// Things named one by one in a report; of more there is only the count. A person reads a hundred lines, and a report stays small.
const NAMED_MAX: usize = 100;

/// A list that names its first entries and counts all of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Named<T> {
    /// How many there are.
    pub count: u64,
    /// The first of them.
    pub first: Vec<T>,
}

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self { count: 0, first: Vec::new() }
    }
}

impl<T> Named<T> {
    /// Adds one.
    pub fn push(&mut self, item: T) {
        self.count += 1;
        if self.first.len() < NAMED_MAX {
            self.first.push(item);
        }
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// A tag that retention removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExpiredTag {
    /// Where it was.
    pub repository: Repository,
    /// Its name.
    pub tag: Tag,
    /// What it named.
    pub digest: Digest,
    /// The rule by which it went, counted from zero.
    pub rule: usize,
}

/// A manifest or a link that was removed from a repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// Where it was.
    pub repository: Repository,
    /// Its address.
    pub digest: Digest,
}

/// Content that was removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Freed {
    /// Its address.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// What one collection did, or would have done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CollectReport {
    /// Nothing was removed; the rest says what would have been. A dry run sees one step only: what an untagged manifest keeps alive
    /// counts as alive.
    pub dry_run: bool,
    /// Seconds since 1970 when it began.
    pub started: u64,
    /// How long it took.
    pub took_ms: u64,
    /// Tags that the retention rules did not keep.
    pub tags: Named<ExpiredTag>,
    /// Untagged manifests that the retention rules did not keep.
    pub manifests: Named<Dropped>,
    /// Links to blobs that no manifest of their repository needs.
    pub links: Named<Dropped>,
    /// Content that no repository has any more.
    pub blobs: Named<Freed>,
    /// Bytes of that content.
    pub bytes_freed: u64,
    /// Things left alone because somebody used them just then. The next run sees them again.
    pub busy: u64,
    /// What could not be read or removed. It stays, and so does everything that it may need; the run went on.
    pub faults: Named<String>,
}

impl CollectReport {
    pub(crate) fn begin(dry_run: bool, started: u64) -> Self {
        Self { dry_run, started, ..Self::default() }
    }

    pub(crate) fn end(&mut self, took: Duration) {
        self.took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    }
}

/// One damaged blob and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// Its address.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// What was done.
    pub outcome: DamageOutcome,
}

/// What became of a damaged blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DamageOutcome {
    /// Its bad pieces were fetched again from somebody who has them.
    Repaired,
    /// Nobody had it: it lies in quarantine, counts as absent, and a push brings it back.
    Quarantined,
    /// Neither worked; the next scrub tries again. Reads of it fail and never give wrong bytes.
    Left,
}

/// What a scrub saw.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ScrubReport {
    /// Seconds since 1970 when it began.
    pub started: u64,
    /// Whether it has seen every blob.
    pub finished: bool,
    /// Blobs read so far.
    pub blobs: u64,
    /// Bytes read so far.
    pub bytes: u64,
    /// Blobs whose metainfo was made again; their bytes were right.
    pub restored: u64,
    /// Damaged blobs.
    pub damaged: Named<Damage>,
    /// What could not be read for another reason.
    pub faults: Named<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_names_its_first_entries_and_counts_all() {
        let mut named = Named::default();
        assert!(named.is_empty());
        for number in 0..NAMED_MAX + 5 {
            named.push(number);
        }
        assert_eq!((named.count, named.first.len()), (NAMED_MAX as u64 + 5, NAMED_MAX));
    }
}
