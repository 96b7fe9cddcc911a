//! Who takes part in a run: each agent's link, when it starts, whether it dies; and the bounds that follow.

use std::time::Duration;

use shoal_swarm_sim::{Link as Access, own_bounds};

use super::super::netns::Link;
use super::as_f64;
use super::case::Case;

/// What is not the same for all agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Nothing.
    Alike,
    /// Half of them have a quarter of the rate.
    Mixed,
    /// They start one after another, in equal steps over [`STAGGER_SHARE`] of the bound.
    Staggered,
    /// A third of them is killed when half of the bound is over.
    Dying,
}

const MIXED_RATIO: u64 = 4;
const STAGGER_SHARE: f64 = 0.4;
const DEATH_SHARE: f64 = 0.5;
/// One of so many dies.
const DYING_ONE_IN: usize = 3;

/// One agent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Member {
    /// Bits per second.
    pub(super) rate: Option<u64>,
    pub(super) starts: Duration,
    pub(super) dies: Option<Duration>,
}

/// All agents of a run.
#[derive(Clone, Debug)]
pub(super) struct Fleet {
    pub(super) members: Vec<Member>,
    origin_rate: Option<u64>,
    mtu: u16,
    size: u64,
}

impl Fleet {
    /// The seed decides who starts when and who dies. Rates follow from the index, so that one network serves all runs of a case.
    pub(super) fn new(case: &Case, seed: u64) -> Self {
        let alike = Member { rate: case.rate, starts: Duration::ZERO, dies: None };
        let members = vec![alike; usize::from(case.agents)];
        let mut fleet = Self { members, origin_rate: case.origin_rate, mtu: case.mtu, size: case.size };
        let Some(bound) = fleet.bound() else { return fleet };
        let mut order: Vec<usize> = (0..fleet.members.len()).collect();
        fastrand::Rng::with_seed(seed).shuffle(&mut order);
        match case.shape {
            Shape::Alike => {}
            Shape::Mixed => {
                let slow = fleet.members.iter_mut().skip(1).step_by(2);
                slow.for_each(|member| member.rate = case.rate.map(|rate| rate / MIXED_RATIO));
            }
            Shape::Staggered => {
                let step = bound * STAGGER_SHARE / as_f64(order.len() as u64);
                for (turn, index) in order.into_iter().enumerate() {
                    fleet.members[index].starts = Duration::from_secs_f64(step * as_f64(turn as u64));
                }
            }
            Shape::Dying => {
                let death = Duration::from_secs_f64(bound * DEATH_SHARE);
                let count = fleet.members.len() / DYING_ONE_IN;
                order.truncate(count);
                order.into_iter().for_each(|index| fleet.members[index].dies = Some(death));
            }
        }
        fleet
    }

    /// The links of the origin's node and then of the agents'.
    pub(super) fn links(&self) -> Vec<Link> {
        let rates = std::iter::once(self.origin_rate).chain(self.members.iter().map(|member| member.rate));
        rates.map(|rate| Link { rate, mtu: self.mtu }).collect()
    }

    /// Seconds that the last agent needs at least, counted from the first start. `None` when links are not shaped.
    pub(super) fn bound(&self) -> Option<f64> {
        let ends = self.members.iter().zip(self.own_bounds()?).filter(|(member, _)| member.dies.is_none());
        Some(ends.map(|(member, own)| member.starts.as_secs_f64() + own).fold(0.0, f64::max))
    }

    /// Seconds that each agent needs at least, counted from its own start: the simulation's bounds, so that both divide by the same.
    pub(super) fn own_bounds(&self) -> Option<Vec<f64>> {
        let bytes = |rate: u64| as_f64(rate) / 8.0;
        let agents = self.members.iter().map(|member| {
            let until = member.dies.map_or(f64::INFINITY, |dies| dies.as_secs_f64());
            Some(Access { from: member.starts.as_secs_f64(), until, ..Access::new(bytes(member.rate?)) })
        });
        let agents = agents.collect::<Option<Vec<_>>>()?;
        let origin = Access::new(bytes(self.origin_rate?));
        Some(own_bounds(as_f64(self.size), &[origin], &agents))
    }
}

#[cfg(test)]
mod tests {
    use super::super::case::Name;

    #[test]
    fn a_third_dies_and_the_seed_says_who() {
        let case = Name::Churn.case();
        let dying = |seed| -> Vec<bool> {
            case.fleet(seed).members.iter().map(|member| member.dies.is_some()).collect()
        };
        assert_eq!(dying(1).iter().filter(|dies| **dies).count(), 5);
        assert_eq!(dying(1), dying(1));
        assert_ne!(dying(1), dying(2));
    }

    #[test]
    fn starts_lie_within_their_share_of_the_bound() {
        let fleet = Name::Staggered.case().fleet(3);
        let last = fleet.members.iter().map(|member| member.starts).max().unwrap();
        let bound = 32.0 * 1_048_576.0 * 8.0 / 20e6;
        assert!(last.as_secs_f64() < bound * 0.4 && last.as_secs_f64() > bound * 0.35);
        assert!(fleet.members.iter().any(|member| member.starts.is_zero()));
    }

    #[test]
    fn slow_agents_have_a_bound_of_their_own() {
        let fleet = Name::Hetero.case().fleet(1);
        let own = fleet.own_bounds().unwrap();
        assert!((own[1] / own[0] - 4.0).abs() < 0.01, "{own:?}");
        assert_eq!(fleet.links().len(), 17);
        assert_eq!(Name::C1.case().fleet(1).bound(), None);
    }
}
