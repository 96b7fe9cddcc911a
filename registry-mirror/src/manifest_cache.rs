//! Manifests the agent has seen, by digest, on disk.
//!
//! They are documents of a few kilobytes, so they do not go through the swarm and not into the blob store: a plain file each, checked
//! against its digest whenever it is read. A cache: what is missing or damaged is asked for again, so there is no fsync.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use shoal_oci::{Digest, MANIFEST_SIZE_MAX};

/// Manifests kept at most. At some 10 KiB each that is 200 MiB of disk in practice.
const MANIFESTS_MAX: usize = 20_000;

/// The directory of cached manifests.
#[derive(Clone, Debug)]
pub struct ManifestCache {
    directory: PathBuf,
}

impl ManifestCache {
    /// Opens or makes the directory, and drops the oldest files when there are too many.
    ///
    /// # Errors
    /// When the directory cannot be made or read.
    pub fn open(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        crate::references::remove_leftovers(directory)?;
        crate::references::trim(directory, MANIFESTS_MAX)?;
        Ok(Self { directory: directory.to_owned() })
    }

    /// Drops the oldest files when there are too many.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn trim(&self) -> io::Result<()> {
        crate::references::trim(&self.directory, MANIFESTS_MAX)
    }

    /// The bytes under `digest`, if they are here and still hash to it. A damaged file is removed.
    pub fn get(&self, digest: &Digest) -> Option<Bytes> {
        let path = self.path(digest);
        let bytes = fs::read(&path).ok()?;
        if Digest::of(digest.algorithm(), &bytes) == *digest {
            return Some(Bytes::from(bytes));
        }
        tracing::warn!(%digest, "a cached manifest is damaged and is dropped");
        let _ = fs::remove_file(path);
        None
    }

    /// Keeps `bytes`, which the caller has checked against `digest`.
    ///
    /// # Errors
    /// When the file cannot be written; the caller may go on without.
    pub fn put(&self, digest: &Digest, bytes: &[u8]) -> io::Result<()> {
        debug_assert!(bytes.len() as u64 <= MANIFEST_SIZE_MAX);
        crate::references::write_aside(&self.path(digest), bytes)
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.directory.join(format!("{}-{}", digest.algorithm().as_str(), digest.to_hex()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_what_was_put_and_never_what_was_damaged() {
        let directory = tempfile::tempdir().unwrap();
        let cache = ManifestCache::open(directory.path()).unwrap();
        let digest = Digest::sha256(b"{}");
        assert_eq!(cache.get(&digest), None);
        cache.put(&digest, b"{}").unwrap();
        assert_eq!(cache.get(&digest).unwrap(), "{}");
        fs::write(cache.path(&digest), b"{ }").unwrap();
        assert_eq!(cache.get(&digest), None);
        assert!(!cache.path(&digest).exists());
    }
}
