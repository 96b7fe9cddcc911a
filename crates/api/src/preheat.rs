//! Fetching before somebody asks: what a preheat request sets in motion.
//!
//! Today the origin of this server makes blobs ready for peers. Whatever asks agents to fetch hangs on to the same seam.

use async_trait::async_trait;
use shoal_oci::{Digest, Repository};

/// One image to make ready: everything that a client needs to pull it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreheatImage {
    /// Where it is.
    pub repository: Repository,
    /// Its manifest or index.
    pub manifest: Digest,
    /// The blobs of the manifest, and of every manifest below it; each once.
    pub blobs: Vec<Digest>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Preheated {
    /// Blobs that peers can fetch now.
    pub ready: usize,
    /// Blobs that are not here, or cannot be read.
    pub missing: usize,
    /// Agents that were asked to fetch.
    pub agents: usize,
}

/// Makes images ready.
#[async_trait]
pub trait Preheat: Send + Sync + 'static {
    /// Makes one image ready. Blobs that cannot be made ready are counted, not an error.
    async fn preheat(&self, image: &PreheatImage) -> Preheated;
}
