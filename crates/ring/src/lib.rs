//! Who owns a digest: weighted rendezvous hashing.
//!
//! Every process that knows the same members computes the same owners, so ownership is never asked for and never stored. When a
//! member joins or leaves, only the digests move that it gains or had: with equal weights, 1/n of them.
//!
//! Pure: no disk, no network, no clock. The score is visible on the wire in the sense that two versions which disagree on it
//! disagree on who owns what; the test vector in `score.rs` holds it.
//!
//! Price: O(members) hashes per look-up, which is microseconds up to hundreds of members. A table of virtual nodes would be
//! faster to look up and slower and less even to change.

pub mod member;
pub mod moves;
pub mod score;

use shoal_oci::Digest;

pub use member::{Addresses, Member, MemberId, ParseMemberIdError, Weight};
pub use moves::{Move, moves};
pub use score::score;

/// The members among which digests are divided, as of one epoch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ring {
    members: Vec<Member>,
    epoch: u64,
}

impl Ring {
    /// A ring of `members`. Members are ordered by id; of several with one id, the first stays.
    pub fn new(mut members: Vec<Member>, epoch: u64) -> Self {
        members.sort_by(|a, b| a.id.cmp(&b.id));
        members.dedup_by(|later, earlier| later.id == earlier.id);
        Self { members, epoch }
    }

    /// The members, ordered by id.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Counts the changes of the ring; of two rings, the one with the higher epoch is the later.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The member with this id.
    pub fn member(&self, id: &MemberId) -> Option<&Member> {
        let index = self.members.binary_search_by(|member| member.id.cmp(id)).ok()?;
        self.members.get(index)
    }

    /// The `count` members that own `digest`, the first owner first. Fewer when the ring has fewer members; never empty when it
    /// has any, also when `count` is zero: a digest without an owner cannot be found again.
    pub fn owners(&self, digest: &Digest, count: usize) -> Vec<&Member> {
        let mut ranked: Vec<_> =
            self.members.iter().map(|member| (score(digest, &member.id, member.weight), member)).collect();
        // Scores are finite; equal ones (a collision of 64-bit hashes) fall back to the order of ids, which all parties share.
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.id.cmp(&b.1.id)));
        ranked.truncate(count.max(1));
        ranked.into_iter().map(|(_, member)| member).collect()
    }

    /// Whether the member is among the `count` owners of `digest`.
    pub fn is_owner(&self, id: &MemberId, digest: &Digest, count: usize) -> bool {
        self.owners(digest, count).iter().any(|member| member.id == *id)
    }
}

#[cfg(test)]
mod tests;
