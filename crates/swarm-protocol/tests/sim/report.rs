//! Figures of a run: completion against the fluid bound, copies, duplicates.

use shoal_oci::Digest;
use shoal_swarm_protocol::Time;

use crate::world::{NodeId, World};

/// Figures of one blob's distribution.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    /// Completion over the fluid bound: median, 99th percentile, worst.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
    /// Bytes sent by the owners over the blob's size.
    pub(crate) copies: f64,
    /// Pieces received in vain over pieces received.
    pub(crate) duplicates: f64,
    /// When every piece had left the first owner once, over the time that this takes at least.
    pub(crate) first_copy: f64,
    /// Time that the first owner's uplink rested before that, over the same.
    pub(crate) rested: f64,
    /// Pieces that it sent again before that, over all pieces.
    pub(crate) again: f64,
    /// The most that an agent sent, over the mean.
    pub(crate) spread: f64,
}

impl Report {
    /// Figures of `agents` that opened `digest` at `start`, from `owners`.
    pub(crate) fn of(
        world: &World,
        digest: &Digest,
        owners: &[NodeId],
        agents: &[NodeId],
        start: Time,
    ) -> Self {
        let size = world.blobs[digest].size() as f64;
        let bound = bound(world, size, owners, agents);
        let seconds = |node: &NodeId| world.nodes[*node].completed[digest].micros_since(start) as f64 / 1e6;
        let mut ratios: Vec<f64> = agents.iter().map(|node| seconds(node) / bound).collect();
        ratios.sort_by(f64::total_cmp);
        let at = |share: f64| ratios[((ratios.len() - 1) as f64 * share).round() as usize];
        let sent: f64 = owners.iter().map(|owner| world.nodes[*owner].sent_bytes as f64).sum();
        let (mut useful, mut wasted) = (0, 0);
        for agent in agents {
            let totals = world.nodes[*agent].core.as_ref().expect("the agent is alive").totals();
            useful += totals.stored_pieces;
            wasted += totals.duplicate_pieces;
        }
        let owner = &world.nodes[owners[0]];
        let last_first =
            owner.first_sent.values().max().map_or(0.0, |at| at.micros_since(start) as f64 / 1e6);
        let uploads: Vec<f64> = agents.iter().map(|agent| world.nodes[*agent].sent_bytes as f64).collect();
        let mean = uploads.iter().sum::<f64>() / uploads.len() as f64;
        Self {
            p50: at(0.5),
            p99: at(0.99),
            max: at(1.0),
            copies: sent / size,
            duplicates: wasted as f64 / (useful + wasted) as f64,
            first_copy: last_first / (size / owner.spec.up as f64),
            rested: (last_first - owner.busy_micros.1 as f64 / 1e6) / (size / owner.spec.up as f64),
            again: owner.sent_by_then.1 as f64 / owner.first_sent.len().max(1) as f64 - 1.0,
            spread: uploads.iter().copied().fold(0.0, f64::max) / mean,
        }
    }
}

/// The fluid bound in seconds (Kumar and Ross): the owners' uplinks must send the blob once, the slowest downlink must take it, and all
/// uplinks together must send it to everybody.
fn bound(world: &World, size: f64, owners: &[NodeId], agents: &[NodeId]) -> f64 {
    let up = |nodes: &[NodeId]| nodes.iter().map(|node| world.nodes[*node].spec.up as f64).sum::<f64>();
    let slowest = agents.iter().map(|node| world.nodes[*node].spec.down as f64).fold(f64::MAX, f64::min);
    let shared = agents.len() as f64 * size / (up(owners) + up(agents));
    (size / up(owners)).max(size / slowest).max(shared)
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "p50 {:.3}  p99 {:.3}  max {:.3}  copies {:.2}  duplicates {:.2} %  first copy {:.3} (rested {:.3}, again {:.3})  upload spread {:.2}",
            self.p50,
            self.p99,
            self.max,
            self.copies,
            self.duplicates * 100.0,
            self.first_copy,
            self.rested,
            self.again,
            self.spread
        )
    }
}
