//! Who may have pieces of a blob: judged when a peer joins its swarm, by whoever knows (the room knows neither keys nor policies).

use std::fmt;
use std::time::Duration;

use shoal_oci::Digest;
use shoal_swarm_types::PeerId;

/// Judges what peers show when they join a swarm.
///
/// It is asked once for each Join, by the one task that does everything: an answer that takes long must be remembered, and one that
/// needs the network is no answer.
pub trait GrantCheck: fmt::Debug + Send + Sync + 'static {
    /// How long `peer` may have pieces of `digest`, for which it shows `grant` (at most 256 bytes, empty for none); [`Duration::MAX`] for
    /// ever. `None`: not at all. It may give pieces all the same: whoever holds a blob whole is not asked for rights. When the time is
    /// over the same is asked again.
    fn may_have(&self, digest: &Digest, peer: &PeerId, grant: &[u8]) -> Option<Duration>;
}

/// Every member of the cluster may have everything: where no rights are kept.
#[derive(Clone, Copy, Debug, Default)]
pub struct EverybodyMayHave;

impl GrantCheck for EverybodyMayHave {
    fn may_have(&self, _: &Digest, _: &PeerId, _: &[u8]) -> Option<Duration> {
        Some(Duration::MAX)
    }
}
