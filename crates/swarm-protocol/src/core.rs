//! The state machine itself.

use std::collections::VecDeque;

use shoal_oci::Digest;
use shoal_swarm_types::PeerId;

use crate::io::{Input, Output, Role, Time};
use crate::limits::Limits;
use crate::stats::{BlobStatus, Totals};

/// What a core must know from the start.
#[derive(Clone, Debug)]
pub struct CoreConfig {
    /// Our identity.
    pub peer_id: PeerId,
    /// What we are.
    pub role: Role,
    /// Seed of every random choice; the same seed and inputs give the same outputs.
    pub seed: u64,
    /// The numbers.
    pub limits: Limits,
}

/// The swarm's state machine.
#[derive(Debug)]
pub struct Core {
    outputs: VecDeque<Output>,
}

impl Core {
    /// A core that takes part in nothing yet.
    pub fn new(config: CoreConfig, now: Time) -> Self {
        let _ = (config, now);
        Self { outputs: VecDeque::new() }
    }

    /// Takes in what happened at `now`. Afterwards [`Core::poll`] until it has nothing more.
    pub fn handle(&mut self, input: Input, now: Time) {
        let _ = (input, now);
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Input::Tick`] is due; `None` while nothing is timed.
    pub fn next_timeout(&self) -> Option<Time> {
        None
    }

    /// Numbers about one blob.
    pub fn status(&self, digest: &Digest) -> Option<BlobStatus> {
        let _ = digest;
        None
    }

    /// Numbers about every blob, in the order of their digests.
    pub fn statuses(&self) -> Vec<BlobStatus> {
        Vec::new()
    }

    /// Totals since the start.
    pub fn totals(&self) -> Totals {
        Totals::default()
    }
}
