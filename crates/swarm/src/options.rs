//! What a process decides about its swarm when it starts.

use std::sync::Arc;

use shoal_swarm_protocol::{Limits, Role};
use shoal_swarm_types::{PeerId, Zone};

use crate::envelope::Envelope;
use crate::grant::{EverybodyMayHave, GrantCheck};
use crate::limits::{Bounds, Times};
use crate::shape::Shaper;

/// Identity, role and limits of one participant.
#[derive(Clone, Debug)]
pub struct SwarmOptions {
    /// Who we are; random, made anew at each start.
    pub peer_id: PeerId,
    /// Where we stand.
    pub zone: Zone,
    /// Agent or owner.
    pub role: Role,
    /// What the members of the cluster know: made of its key, and proved by peers to each other without saying it.
    pub cluster_key: [u8; 32],
    /// What peer connections are put into; `None` for plain TCP.
    pub envelope: Option<Arc<dyn Envelope>>,
    /// Who may have pieces.
    pub grants: Arc<dyn GrantCheck>,
    /// How fast pieces may come and go. Whoever keeps a handle can change it later.
    pub shaper: Arc<Shaper>,
    /// The protocol's numbers.
    pub limits: Limits,
    /// Seed of every random choice of the core.
    pub seed: u64,
    /// How long things may take.
    pub times: Times,
    /// How much memory and how many threads may be used.
    pub bounds: Bounds,
}

impl SwarmOptions {
    /// Options with the limits that suit the role, in no zone, with pieces for every member. The seed is taken from the peer's identity, which is random.
    pub fn new(peer_id: PeerId, role: Role, cluster_key: [u8; 32]) -> Self {
        let seed = peer_id.0.iter().fold(0_u64, |seed, byte| seed.rotate_left(8) ^ u64::from(*byte));
        Self {
            peer_id,
            zone: Zone::UNKNOWN,
            role,
            cluster_key,
            envelope: None,
            grants: Arc::new(EverybodyMayHave),
            shaper: Arc::default(),
            limits: Limits::for_role(role),
            seed,
            times: Times::default(),
            bounds: Bounds::default(),
        }
    }
}
