//! What changes owner when the ring changes.

use shoal_oci::Digest;

use crate::Ring;
use crate::member::MemberId;

/// One digest whose owners differ between two rings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// The digest.
    pub digest: Digest,
    /// Members that own it now and did not before: they need a copy.
    pub gained: Vec<MemberId>,
    /// Members that owned it before and do not now: theirs may go once every gainer has its copy. One that has left the ring is
    /// listed as well.
    pub lost: Vec<MemberId>,
}

/// The digests that change owner from `before` to `after`, in the order given, with `count` owners each.
pub fn moves<'a>(
    before: &'a Ring,
    after: &'a Ring,
    count: usize,
    digests: impl IntoIterator<Item = Digest> + 'a,
) -> impl Iterator<Item = Move> + 'a {
    digests.into_iter().filter_map(move |digest| {
        let (old, new) = (ids(before, &digest, count), ids(after, &digest, count));
        let gained: Vec<_> = new.iter().filter(|id| !old.contains(id)).cloned().collect();
        let lost: Vec<_> = old.iter().filter(|id| !new.contains(id)).cloned().collect();
        (!gained.is_empty() || !lost.is_empty()).then_some(Move { digest, gained, lost })
    })
}

fn ids(ring: &Ring, digest: &Digest, count: usize) -> Vec<MemberId> {
    ring.owners(digest, count).into_iter().map(|member| member.id.clone()).collect()
}
