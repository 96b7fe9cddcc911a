//! The swarm in virtual time: thousands of real cores on modelled links, by seed.
//!
//! # Goals, non-goals, price
//!
//! To say what the scheduler of production does with fleets that no test bench holds: the cores here are those of
//! [`shoal_swarm_protocol`], the same bytes of code, and only what is around them is a model. The model is calibrated against real
//! runs in network namespaces; what it leaves out is said in `net`. It is no proof of a data path: sockets, disks and CPU are
//! parameters here. The price of running real cores is memory (some tens of KiB per agent) and time (every message of every agent is
//! handled); so a fleet of 15,000 takes minutes.
//!
//! # Rooms
//!
//! `calendar` orders events; `net` and `side` are links and connections; `node`, `blob`, `tracker`, `villain` are who takes part;
//! `world` drives them. `bound` and `report` say how well it went, `scenario` is the list of what is run.

mod blob;
mod bound;
mod calendar;
mod figure;
mod fleet;
mod log;
mod net;
mod node;
mod packet;
mod report;
mod scenario;
mod script;
mod side;
mod spec;
mod tracker;
mod villain;
mod world;

pub use crate::blob::Blob;
pub use crate::bound::{Link, fluid_bound, own_bounds};
pub use crate::figure::{Bar, Figure};
pub use crate::fleet::{Fleet, FleetSpec, Knobs};
pub use crate::log::{Record, Trail, Witness};
pub use crate::net::Net;
pub use crate::node::{BlobId, Counts, Holding, Node, NodeId};
pub use crate::report::Report;
pub use crate::scenario::{Curve, Options, Outcome, SCENARIOS, Scenario};
pub use crate::script::Script;
pub use crate::spec::{Nature, Spec};
pub use crate::tracker::Tracker;
pub use crate::world::{Demand, World};
