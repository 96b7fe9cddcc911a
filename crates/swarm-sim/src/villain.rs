//! A peer that only wants to be a burden: it joins every swarm that it meets, claims to have everything, and asks, cancels, hurries and
//! announces at random, as fast as its link allows, without ever sending a piece. When it is thrown out, it comes back.

use bytes::Bytes;
use fastrand::Rng;
use shoal_oci::Digest;
use shoal_swarm_protocol::{Message, Part, Pieces};
use shoal_swarm_types::PieceIndex;

/// Messages of one burst.
const BURST: usize = 24;

/// A flooding peer.
#[derive(Debug)]
pub(crate) struct Flooder {
    rng: Rng,
}

impl Flooder {
    pub(crate) fn new(seed: u64) -> Self {
        Self { rng: Rng::with_seed(seed) }
    }

    /// What it says first on a connection: that it takes part in every blob, each by its number.
    pub(crate) fn greeting(blobs: &[(Digest, u32)]) -> Vec<Message> {
        let join = |(swarm, (digest, _)): (u32, &(Digest, u32))| join(swarm, *digest);
        (0..).zip(blobs).map(join).collect()
    }

    /// What it says next.
    pub(crate) fn burst(&mut self, blobs: &[(Digest, u32)]) -> Vec<Message> {
        (0..BURST).filter_map(|_| self.word(blobs)).collect()
    }

    fn word(&mut self, blobs: &[(Digest, u32)]) -> Option<Message> {
        let at = self.rng.usize(0..blobs.len().max(1));
        let (_, count) = blobs.get(at)?;
        let swarm = u32::try_from(at).ok()?;
        let index = PieceIndex(self.rng.u32(0..(*count).max(1)));
        Some(match self.rng.u8(0..8) {
            0..=2 => Message::Have { swarm, index, queue: 0 },
            3 | 4 => Message::Request { swarm, index, urgent: true },
            5 => Message::Cancel { swarm, index },
            6 => Message::RequestAny { swarm, part: Part::WHOLE },
            _ => Message::Hurry { swarm, index },
        })
    }
}

/// A claim to have all of a blob.
fn join(swarm: u32, digest: Digest) -> Message {
    Message::Join { swarm, digest, owner: false, grant: Bytes::new(), pieces: Pieces::All }
}
