//! What is computed while the bytes of an upload pass by, so that nobody has to read them again.

use std::path::Path;

use shoal_oci::{Algorithm, Digest, Digester};
use shoal_swarm_types::{Metainfo, PieceDigester};

use crate::disk;
use crate::error::{Error, Result};

/// Bytes that go through both hashes before the next ones: they are still in the first-level or second-level cache when the
/// second hash wants them, and BLAKE3 is at its full rate.
const STRIDE_LEN: usize = 64 * 1024;

/// The blob's SHA-256 and its piece digests so far: at most about 40 KiB for blobs up to 2 GiB.
#[derive(Clone)]
pub(crate) struct Hashes {
    sha256: Digester,
    pieces: PieceDigester,
}

impl Hashes {
    pub(crate) fn new() -> Self {
        Self { sha256: Digester::new(Algorithm::Sha256), pieces: PieceDigester::new() }
    }

    /// What passing through the first `size` bytes of a file gives. Reads it once.
    pub(crate) fn of_file(path: &Path, size: u64) -> Result<Self> {
        let mut hashes = Self::new();
        disk::read_through(path, |bytes| hashes.update(bytes))?;
        if hashes.size() == size {
            return Ok(hashes);
        }
        // Somebody else has changed the file under us.
        Err(Error::io("find the uploaded bytes in", path, std::io::ErrorKind::UnexpectedEof.into()))
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        for stride in bytes.chunks(STRIDE_LEN) {
            self.sha256.update(stride);
            self.pieces.update(stride);
        }
    }

    pub(crate) const fn size(&self) -> u64 {
        self.pieces.size()
    }

    pub(crate) fn sha256(&self) -> Digest {
        self.sha256.clone().finish()
    }

    pub(crate) fn metainfo(&self, digest: &Digest) -> Metainfo {
        self.pieces.clone().finish(*digest)
    }
}
