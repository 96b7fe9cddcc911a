//! Room `copies`: repositories of ours that are filled from an upstream when somebody pulls from them, and kept.
//!
//! Goals: one question to the upstream for all who ask at the same time, one fetch of a blob for the whole fleet; what was pulled once can
//! be pulled while the upstream is down, by tag too; how old an answer may be is a policy, and how old it is can be told. Non-goals: how an
//! upstream is asked (`shoal_upstream`), where bytes are kept (the intake behind [`shoal_api::Intake`]), how they spread (the swarm).
//!
//! A copy is an ordinary repository in the cluster's memory: its tags and manifests are durable, listed, collected and retained as all
//! others. Its manifests may name what is not here yet. Price: between two questions to the upstream a moved tag is not seen, for as long
//! as the policy says.

mod arrivals;
mod copies;
mod flights;
mod lists;
mod manifests;
mod memory;
mod policy;

pub use copies::{CopiesOptions, LocalCopies};
pub use policy::{Policy, Rule, Validity};
