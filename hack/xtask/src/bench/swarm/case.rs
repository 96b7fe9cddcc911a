//! The named cases: what is measured, on which links, and what has to come out.
//!
//! Bars are those that were set before anything was measured; changed parameters make another case, which has none.

use super::fleet::{Fleet, Shape};

const MBIT: u64 = 1_000_000;
const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GB: u64 = 1_000_000_000;

/// A name on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Name {
    /// Check of the harness: one TCP stream over one shaped link
    S0,
    /// The same with an MTU of 9000
    S0Jumbo,
    /// 16 agents, 20 Mbit/s, the origin as slow as an agent, 32 MiB
    H1,
    /// The same with an origin four times as fast
    H2,
    /// 32 agents, 40 Mbit/s, 64 MiB, MTU 9000
    H3,
    /// 64 agents, 10 Mbit/s, 16 MiB, MTU 9000
    H4,
    /// Half of 16 agents at 5 Mbit/s, the others and the origin at 20
    Hetero,
    /// 16 agents that start within 40 % of the bound
    Staggered,
    /// A third of 16 agents killed half way
    Churn,
    /// CPU time: 1 GiB to one agent, links as fast as the machine
    C1,
    /// The same with the cluster's TLS on
    Tls,
    /// Memory of an agent: 10 GB to one agent
    Memory,
    /// Latency of small blobs, beside direct requests to the server
    Small,
    /// Latency of random reads while a large blob arrives
    Demand,
}

/// How a case is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One TCP stream, none of our programs.
    Wire,
    /// One blob to all agents; completion counts.
    Swarm,
    /// One blob to one agent; CPU time and memory count.
    Cost,
    Small,
    Demand,
}

/// What a measure may be at most, and what to aim for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bar {
    pub(super) measure: &'static str,
    pub(super) at_most: f64,
    pub(super) aim: Option<f64>,
}

/// A case with its parameters.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Case {
    /// In the names of measurements.
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) agents: u16,
    /// Bits per second of an agent's link in each direction. `None`: as fast as the machine.
    pub(super) rate: Option<u64>,
    pub(super) origin_rate: Option<u64>,
    /// Bytes of the blob; of small blobs and reads, the largest.
    pub(super) size: u64,
    pub(super) mtu: u16,
    pub(super) shape: Shape,
    pub(super) tls: bool,
    pub(super) bars: Vec<Bar>,
}

const fn bar(measure: &'static str, at_most: f64, aim: f64) -> Bar {
    Bar { measure, at_most, aim: Some(aim) }
}

const fn limit(measure: &'static str, at_most: f64) -> Bar {
    Bar { measure, at_most, aim: None }
}

/// What is asked of every swarm on shaped links, beside its own bars.
const OVERHEAD: Bar = bar("overhead", 4.0, 3.0);
const UPLOADS: Bar = bar("worst_upload", 1.3, 1.1);
const OWN_BOUND: Bar = bar("own_bound_max", 1.25, 1.15);

impl Name {
    /// All, in the order in which they are measured: the check of the harness stands first, long ones last.
    pub(super) const ALL: [Self; 14] = [
        Self::S0,
        Self::S0Jumbo,
        Self::H1,
        Self::H2,
        Self::H3,
        Self::H4,
        Self::Hetero,
        Self::Staggered,
        Self::Churn,
        Self::Small,
        Self::Demand,
        Self::C1,
        Self::Tls,
        Self::Memory,
    ];

    /// The case as it is defined.
    pub(super) fn case(self) -> Case {
        let swarm = |name: &str, agents, rate: u64, size: u64, bars: &[Bar]| Case {
            name: name.to_owned(),
            kind: Kind::Swarm,
            agents,
            rate: Some(rate * MBIT),
            origin_rate: Some(rate * MBIT),
            size: size * MIB,
            mtu: 1500,
            shape: Shape::Alike,
            tls: false,
            bars: bars.to_vec(),
        };
        let cost = |name: &str, size, bars: &[Bar]| Case {
            kind: Kind::Cost,
            rate: None,
            origin_rate: None,
            size,
            ..swarm(name, 1, 1, 0, bars)
        };
        match self {
            Self::S0 => Case { kind: Kind::Wire, ..swarm("s0", 1, 20, 32, &[]) },
            Self::S0Jumbo => Case { kind: Kind::Wire, mtu: 9000, ..swarm("s0_jumbo", 1, 20, 32, &[]) },
            Self::H1 => swarm("h1", 16, 20, 32, H1),
            Self::H2 => Case { origin_rate: Some(80 * MBIT), ..swarm("h2", 16, 20, 32, H2) },
            Self::H3 => Case { mtu: 9000, ..swarm("h3", 32, 40, 64, H3) },
            Self::H4 => Case { mtu: 9000, ..swarm("h4", 64, 10, 16, H4) },
            Self::Hetero => Case { shape: Shape::Mixed, ..swarm("hetero", 16, 20, 16, &[OWN_BOUND]) },
            Self::Staggered => {
                Case { shape: Shape::Staggered, ..swarm("staggered", 16, 20, 32, &[OWN_BOUND]) }
            }
            Self::Churn => Case { shape: Shape::Dying, ..swarm("churn", 16, 20, 32, &[OWN_BOUND]) },
            Self::C1 => cost("c1", 1024 * MIB, &[bar("cpu_per_gb", 1.8, 1.2)]),
            Self::Tls => Case { tls: true, ..cost("tls", 1024 * MIB, &[bar("cpu_per_gb", 2.4, 1.6)]) },
            Self::Memory => {
                cost("memory", 10 * GB, &[bar("rss_idle", 30.0, 12.0), bar("rss_peak", 64.0, 32.0)])
            }
            Self::Small => Case { kind: Kind::Small, agents: 4, ..cost("small", MIB, SMALL) },
            Self::Demand => Case { kind: Kind::Demand, ..swarm("demand", 1, 1000, 1024, DEMAND) },
        }
    }
}

const H1: &[Bar] = &[
    bar("completion_p50", 1.12, 1.08),
    bar("completion_max", 1.15, 1.10),
    bar("origin_copies", 1.10, 1.05),
    limit("first_byte_share_max", 5.0),
    OVERHEAD,
    UPLOADS,
];
const H2: &[Bar] = &[
    bar("completion_p50", 1.10, 1.06),
    bar("completion_max", 1.12, 1.08),
    limit("origin_copies", 2.3),
    OVERHEAD,
    UPLOADS,
];
const H3: &[Bar] = &[bar("completion_max", 1.15, 1.10), OVERHEAD, UPLOADS];
const H4: &[Bar] = &[bar("completion_max", 1.20, 1.12), OVERHEAD, UPLOADS];
const DEMAND: &[Bar] = &[bar("other_beyond_wire_p99", 20.0, 5.0), bar("same_beyond_wire_p99", 20.0, 5.0)];
const SMALL: &[Bar] = &[bar("beyond_direct_p50", 3.0, 1.0), limit("cold_mib_p99", 100.0)];

impl Case {
    /// The same in a fraction of a second: two or three agents, faster links, little to carry, no bars.
    pub(super) fn tiny(self) -> Self {
        let rate = self.rate.map(|_| 100 * MBIT);
        let size = match self.kind {
            Kind::Demand => 16 * MIB,
            Kind::Small => MIB,
            // Above the size of blobs that owners send whole.
            Kind::Wire | Kind::Swarm | Kind::Cost => 4 * MIB,
        };
        let (agents, origin_rate) = (self.agents.min(3), self.origin_rate.and(rate));
        Self { agents, rate, origin_rate, size, bars: Vec::new(), ..self }
    }

    /// What the case says about a measure.
    pub(super) fn bar(&self, measure: &str) -> Option<Bar> {
        self.bars.iter().find(|bar| bar.measure == measure).copied()
    }

    /// Whether programs of others can be measured beside ours.
    pub(super) fn has_peers(&self) -> bool {
        match self.kind {
            Kind::Swarm => true,
            // Ten gigabytes for each would take the better part of an hour.
            Kind::Cost => !self.tls && self.size <= GB * 2,
            Kind::Wire | Kind::Small | Kind::Demand => false,
        }
    }

    /// Who takes part, by the throw of a seed.
    pub(super) fn fleet(&self, seed: u64) -> Fleet {
        Fleet::new(self, seed)
    }

    /// In titles.
    pub(super) fn describe(&self) -> String {
        let mbit = |rate: Option<u64>| {
            rate.map_or_else(|| "unshaped".to_owned(), |rate| format!("{} Mbit/s", rate / MBIT))
        };
        let size = if self.size < MIB {
            format!("{} KiB", self.size / KIB)
        } else {
            format!("{} MiB", self.size / MIB)
        };
        let (agents, mtu) = (self.agents, self.mtu);
        format!(
            "{}: {size} to {agents} agents, {} each, origin {}, MTU {mtu}",
            self.name,
            mbit(self.rate),
            mbit(self.origin_rate)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_a_case_of_its_own() {
        let mut names: Vec<String> = Name::ALL.iter().map(|name| name.case().name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Name::ALL.len());
    }

    #[test]
    fn the_headline_has_the_bars_that_were_set() {
        let case = Name::H1.case();
        assert_eq!((case.agents, case.rate, case.size), (16, Some(20_000_000), 32 << 20));
        assert_eq!(case.bar("completion_p50").map(|bar| bar.at_most), Some(1.12));
        assert_eq!(case.bar("nothing"), None);
        assert!(case.describe().starts_with("h1: 32 MiB to 16 agents, 20 Mbit/s each"));
    }
}
