//! What nobody needs any more goes, what is damaged is found: garbage collection, retention, scrub.
//!
//! Goals: a run is safe beside every push, mount and delete, and can be killed at any moment, because each removal decides for itself
//! once more, inside a claim on its digest and inside its own transaction; one thing that cannot be read stops nothing; everything
//! that goes can be listed beforehand (dry run) and is listed afterwards. Non-goals: knowing what a manifest means (metadata keeps
//! the references of each), and uploads nobody finished (the registry expires them).
//!
//! Two steps, from names to bytes: *links* that no manifest of their repository needs go first, then *content* that no repository
//! has. Before both, retention lets go of tags and untagged manifests. Nothing that is younger than the grace, or that a client was
//! told of within it, is touched. A run keeps no state: the next one begins at the beginning.

mod collector;
mod content;
mod expire;
mod links;
mod options;
pub mod report;
pub mod retention;
mod scrub;

pub use collector::{Busy, Collector, Immutable, Kept, Parts, Uploading};
pub use options::CollectOptions;
pub use report::{CollectReport, ScrubReport};
pub use scrub::{Repair, ScrubOptions, Scrubber};
