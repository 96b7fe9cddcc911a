//! Sentences our processes say to one another: types, traits and thin clients, one file per listener.
//!
//! A role never imports another role: both sides of a conversation meet in these types. The room knows words and URLs, and
//! nothing of what an answer is made from: no store, no database, no swarm.

pub mod arriving;
pub mod audit;
pub mod caller;
pub mod cluster;
pub mod copies;
pub mod error;
pub mod events;
pub mod exchange;
pub mod leases;
pub mod origin;
pub mod preheat;
pub mod rights;
pub mod tags;
pub mod tracker;

pub use cluster::{MembersOnly, cluster_authorization, cluster_key};
pub use copies::{
    Arrival, Copies, CopyError, CopyErrorKind, Freshness, Intake, IntakeError, ListedOf, Resolution,
};
pub use error::ApiError;
pub use exchange::Base;
pub use leases::{Claim, Lease, Leases};
pub use origin::OriginClient;
pub use rights::{EverybodyMay, Grants, Member, Rights, RightsError};
pub use tracker::{
    AnnounceEvent, AnnounceItem, AnnounceReply, AnnounceRequest, AnnounceResponse, ItemError, ItemErrorCode,
    ItemReply, Reach, TrackerClient,
};
