//! Blobs in memory: for tests that serve or compare small images without a disk.

use std::collections::BTreeMap;

use anyhow::Result;
use shoal_oci::Digest;

use crate::sink::Sink;

/// Every blob of an image by its digest.
#[derive(Clone, Debug, Default)]
pub struct MemoryBlobs {
    blobs: BTreeMap<Digest, Vec<u8>>,
}

impl MemoryBlobs {
    /// No blobs.
    pub fn new() -> Self {
        Self::default()
    }

    /// The bytes under a digest.
    pub fn get(&self, digest: &Digest) -> Option<&[u8]> {
        self.blobs.get(digest).map(Vec::as_slice)
    }

    /// All blobs, ordered by digest.
    pub fn iter(&self) -> impl Iterator<Item = (&Digest, &[u8])> {
        self.blobs.iter().map(|(digest, bytes)| (digest, bytes.as_slice()))
    }
}

impl Sink for MemoryBlobs {
    type Writer = Vec<u8>;

    fn begin(&mut self) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }

    fn finish(&mut self, writer: Vec<u8>, digest: &Digest) -> Result<()> {
        self.blobs.insert(*digest, writer);
        Ok(())
    }
}
