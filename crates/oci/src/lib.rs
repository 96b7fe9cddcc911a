//! The words of the OCI distribution and image specifications, and nothing else.
//!
//! Pure: no disk, no network, no clock. Both faces that speak OCI (the server's registry and the agent's mirror) and every room
//! that names a blob take their words from here, so that a digest or a repository name that exists as a value is a valid one.

pub mod descriptor;
pub mod digest;
pub mod entity_tag;
pub mod error;
pub mod host;
pub mod manifest;
pub mod media_type;
pub mod name;
pub mod pattern;
pub mod query;
pub mod range;
pub mod reply;
pub mod route;

pub use descriptor::{Annotations, Descriptor};
pub use digest::{Algorithm, Digest, Digester, ParseDigestError};
pub use entity_tag::{EntityTag, EntityTags};
pub use error::{ErrorCode, OciError};
pub use host::{Host, ParseHostError};
pub use manifest::{MANIFEST_SIZE_MAX, Manifest};
pub use media_type::ManifestType;
pub use name::{ParseNameError, Reference, Repository, Tag};
pub use pattern::{ParsePatternError, RepositoryPattern, TagPattern};
pub use query::Query;
pub use range::Selection;
pub use route::Route;
