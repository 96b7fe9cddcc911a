//! The usual world: some owners, many agents, one image of one or several blobs.

use shoal_swarm_protocol::{Limits, Role};

use crate::net::Net;
use crate::node::{BlobId, NodeId};
use crate::report::Report;
use crate::script::Script;
use crate::spec::Spec;
use crate::world::World;

/// What a fleet is made of.
#[derive(Clone, Debug)]
pub struct FleetSpec {
    /// The network.
    pub net: Net,
    /// Seed of everything.
    pub seed: u64,
    /// Number of owners.
    pub origins: u32,
    /// Rate of each owner's link in bytes per second.
    pub origin_rate: u64,
    /// Number of agents.
    pub agents: u32,
    /// Rate of each agent's link in bytes per second.
    pub rate: u64,
    /// Sizes of the blobs in bytes.
    pub sizes: Vec<u64>,
    /// Changes of the agents' and owners' limits.
    pub knobs: Knobs,
}

/// Switches and sizes that a run may change in the limits of every core: what each mechanism is worth.
#[derive(Clone, Debug, Default)]
pub struct Knobs {
    /// Owners are asked like any neighbour, and hand out nothing of their own choice.
    pub uncoordinated: bool,
    /// A random neighbour is asked, not the least loaded.
    pub random_neighbour: bool,
    /// Most bytes in flight per neighbour.
    pub window_max: Option<u64>,
    /// Neighbours that a download looks for.
    pub neighbours: Option<u32>,
    /// Pieces that an agent, and an owner, send at a time.
    pub uploads: Option<u32>,
}

impl Knobs {
    fn turn(&self, limits: &mut Limits) {
        limits.distinct &= !self.uncoordinated;
        limits.least_loaded &= !self.random_neighbour;
        if let Some(bytes) = self.window_max {
            limits.window_max_bytes = bytes;
            limits.window_start_bytes = limits.window_start_bytes.min(bytes);
        }
        if let Some(uploads) = self.uploads {
            limits.uploads_max = uploads;
        }
        if let Some(neighbours) = self.neighbours {
            limits.neighbours_wanted = neighbours;
        }
    }
}

/// A world with its groups of nodes.
pub struct Fleet {
    /// The world.
    pub world: World,
    /// The owners.
    pub owners: Vec<NodeId>,
    /// The agents.
    pub agents: Vec<NodeId>,
    /// The blobs, all held by all owners.
    pub blobs: Vec<BlobId>,
    knobs: Knobs,
}

impl Fleet {
    /// A fleet as it is before anybody wants anything. `shape` may change what an agent is.
    pub fn new(of: &FleetSpec, shape: impl Fn(u32, Spec) -> Spec) -> Self {
        let mut world = World::new(of.seed, of.net.clone());
        let ready = |mut spec: Spec| {
            of.knobs.turn(&mut spec.limits);
            spec
        };
        let owners: Vec<NodeId> =
            (0..of.origins).map(|_| world.add(ready(Spec::new(Role::Owner, of.origin_rate)))).collect();
        let agents =
            (0..of.agents).map(|at| world.add(ready(shape(at, Spec::new(Role::Agent, of.rate))))).collect();
        let mut fleet = Self { world, owners, agents, blobs: Vec::new(), knobs: of.knobs.clone() };
        for (at, size) in of.sizes.iter().enumerate() {
            let blob = fleet.world.add_blob(&format!("blob {at}"), *size, &fleet.owners);
            fleet.blobs.extend(blob);
        }
        fleet
    }

    /// Adds a node that is not counted among the agents.
    pub fn add(&mut self, mut spec: Spec) -> NodeId {
        self.knobs.turn(&mut spec.limits);
        self.world.add(spec)
    }

    /// Every agent wants every blob from a moment on that depends on the agent's number.
    pub fn open(&mut self, when: impl Fn(u32) -> f64) {
        for (at, agent) in (0..).zip(self.agents.clone()) {
            for blob in self.blobs.clone() {
                self.world.at(when(at), Script::Open(agent, blob));
            }
        }
    }

    /// Every agent that will want a blob also reads it in order, so many pieces ahead.
    pub fn stream(&mut self, window: u32) {
        for agent in self.agents.clone() {
            for blob in self.blobs.clone() {
                let opened = self.world.node(agent).holding(blob).and_then(|holding| holding.opened);
                if let Some(opened) = opened {
                    self.world.at(opened as f64 / 1e9, Script::Stream(agent, blob, window));
                }
            }
        }
    }

    /// Figures of all agents.
    pub fn report(&self) -> Report {
        self.report_of(&self.agents)
    }

    /// Figures of some agents.
    pub fn report_of(&self, agents: &[NodeId]) -> Report {
        Report::of(&self.world, &self.blobs, agents, |_| f64::INFINITY)
    }
}
