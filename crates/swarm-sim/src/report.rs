//! Figures of a run: completion against the bounds, copies, overhead.

use crate::bound::{Link, fluid_bound, own_bounds};
use crate::node::{BlobId, Counts, NodeId};
use crate::spec::Nature;
use crate::world::World;

/// Figures of one blob's distribution to some agents.
#[derive(Clone, Debug)]
pub struct Report {
    /// The fluid bound of the fleet in seconds.
    pub bound: f64,
    /// When each agent that completed had it, in seconds since it wanted it; in order.
    pub seconds: Vec<f64>,
    /// The same over the agent's own bound; in order.
    pub own_ratios: Vec<f64>,
    /// Agents that wanted it and do not have it.
    pub missing: usize,
    /// Bytes of pieces that left the owners over the blob's size.
    pub copies: f64,
    /// Pieces received in vain over pieces received.
    pub duplicates: f64,
    /// Bytes of messages over bytes of pieces.
    pub control: f64,
    /// When every piece had left the owners once, over the time that their uplinks take for it.
    pub first_copy: f64,
    /// The most that an agent sent over the mean.
    pub upload_spread: f64,
    /// When each had piece 0, in seconds since it wanted the blob; in order.
    pub first_byte: Vec<f64>,
}

impl Report {
    /// Figures of some blobs that are wanted together, for agents that wanted them. `until` says when an agent goes, if it does.
    pub fn of(world: &World, blobs: &[BlobId], agents: &[NodeId], until: impl Fn(NodeId) -> f64) -> Self {
        let size: f64 = blobs.iter().map(|blob| world.blob(*blob).size() as f64).sum();
        let owners = owners(world, blobs);
        let owner_links: Vec<Link> =
            owners.iter().map(|owner| link(world, *owner, blobs, until(*owner))).collect();
        let links: Vec<Link> = agents.iter().map(|agent| link(world, *agent, blobs, until(*agent))).collect();
        let own = own_bounds(size, &owner_links, &links);
        let stay = || agents.iter().copied().zip(own.iter().copied()).filter(|(_, bound)| bound.is_finite());
        let staying: Vec<NodeId> = stay().map(|(agent, _)| agent).collect();
        let done = |agent: NodeId| done(world, agent, blobs);
        let left = |blob: &BlobId| world.blob(*blob).left_seconds().unwrap_or(f64::INFINITY);
        let first_copy = blobs.iter().map(left).fold(0.0, f64::max);
        let up: f64 = owner_links.iter().map(|owner| owner.up).sum();
        Self {
            bound: fluid_bound(size, &owner_links, &links),
            seconds: sorted(staying.iter().filter_map(|agent| done(*agent))),
            own_ratios: sorted(stay().filter_map(|(agent, own)| Some(done(agent)? / own))),
            missing: staying.iter().filter(|agent| done(**agent).is_none()).count(),
            copies: sum(world, &owners, |counts| counts.sent_bytes) / size,
            duplicates: duplicates(world, agents) as f64
                / sum(world, agents, |counts| counts.pieces).max(1.0),
            control: control(world),
            first_copy: first_copy / (size / up),
            upload_spread: spread(world, &staying),
            first_byte: sorted(staying.iter().filter_map(|agent| first_byte(world, *agent, blobs))),
        }
    }

    /// Seconds after which a share of the agents had it.
    pub fn quantile(&self, share: f64) -> f64 {
        quantile(&self.seconds, share)
    }

    /// The same over the fleet's bound.
    pub fn ratio(&self, share: f64) -> f64 {
        self.quantile(share) / self.bound
    }
}

/// The smallest value that at least a share of all sorted values do not exceed; infinite of nothing.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let rank = (sorted.len() as f64 * share).ceil().max(1.0) as usize;
    sorted.get(rank.min(sorted.len()).wrapping_sub(1)).copied().unwrap_or(f64::INFINITY)
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// Whoever owns any of the blobs.
fn owners(world: &World, blobs: &[BlobId]) -> Vec<NodeId> {
    let mut owners: Vec<NodeId> = blobs.iter().flat_map(|blob| world.blob(*blob).owners.clone()).collect();
    owners.sort_unstable();
    owners.dedup();
    owners
}

/// When an agent had the last of the blobs, in seconds since it wanted the first.
fn done(world: &World, agent: NodeId, blobs: &[BlobId]) -> Option<f64> {
    let holdings = || blobs.iter().filter_map(|blob| world.node(agent).holding(*blob));
    let opened = holdings().filter_map(|holding| holding.opened).min()?;
    let completed: Option<Vec<u64>> = holdings().map(|holding| holding.completed).collect();
    Some((completed?.into_iter().max()? - opened) as f64 / 1e9)
}

/// When an agent had the first piece of the first blob, in seconds since it wanted it.
fn first_byte(world: &World, agent: NodeId, blobs: &[BlobId]) -> Option<f64> {
    let holding = world.node(agent).holding(*blobs.first()?)?;
    Some((holding.first_byte? - holding.opened?) as f64 / 1e9)
}

/// A node's link, there from when it wanted the first of the blobs.
fn link(world: &World, node: NodeId, blobs: &[BlobId], until: f64) -> Link {
    let of = world.node(node);
    let opened = blobs.iter().filter_map(|blob| of.holding(*blob)?.opened).min();
    let from = opened.map_or(0.0, |opened| opened as f64 / 1e9);
    Link { up: of.spec().up as f64, down: of.spec().down as f64, from, until }
}

fn sum(world: &World, nodes: &[NodeId], count: impl Fn(&Counts) -> u64) -> f64 {
    nodes.iter().map(|node| count(world.node(*node).counts())).sum::<u64>() as f64
}

/// Bytes of messages over bytes of pieces, over all honest nodes.
fn control(world: &World) -> f64 {
    let honest = || world.nodes().iter().filter(|node| node.spec().nature == Nature::Honest);
    let control: u64 = honest().map(|node| node.counts().control_bytes).sum();
    let sent: u64 = honest().map(|node| node.counts().sent_bytes).sum();
    control as f64 / sent.max(1) as f64
}

/// The most that one of some nodes sent over their mean.
fn spread(world: &World, nodes: &[NodeId]) -> f64 {
    let sent = || nodes.iter().map(|node| world.node(*node).counts().sent_bytes as f64);
    sent().fold(0.0, f64::max) / (sent().sum::<f64>() / nodes.len().max(1) as f64)
}

fn duplicates(world: &World, agents: &[NodeId]) -> u64 {
    agents.iter().filter_map(|agent| world.core(*agent)).map(|core| core.totals().duplicate_pieces).sum()
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "p50 {:.3} p99 {:.3} p99.9 {:.3} max {:.3} × {:.2} s, own {:.3}, missing {}, copies {:.2}, duplicates {:.2} %, \
             control {:.2} %, first copy {:.3}, spread {:.2}, first byte p50 {:.3} s",
            self.ratio(0.5),
            self.ratio(0.99),
            self.ratio(0.999),
            self.ratio(1.0),
            self.bound,
            quantile(&self.own_ratios, 1.0),
            self.missing,
            self.copies,
            self.duplicates * 100.0,
            self.control * 100.0,
            self.first_copy,
            self.upload_spread,
            quantile(&self.first_byte, 0.5),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_occurred() {
        let values: Vec<f64> = (1..=8).map(f64::from).collect();
        assert!((quantile(&values, 0.5) - 4.0).abs() < 1e-9);
        assert!((quantile(&values, 0.99) - 8.0).abs() < 1e-9);
        assert!(quantile(&[], 0.5).is_infinite());
    }
}
