//! The words of the OCI distribution and image specifications, and nothing else.
//!
//! Pure: no disk, no network, no clock. Both faces that speak OCI (the server's registry and the agent's mirror) and every room
//! that names a blob take their words from here, so that a digest or a repository name that exists as a value is a valid one.

pub mod digest;
pub mod error;
pub mod name;

pub use digest::{Algorithm, Digest, Digester, ParseDigestError};
pub use error::{ErrorCode, OciError};
pub use name::{ParseNameError, Reference, Repository, Tag};
