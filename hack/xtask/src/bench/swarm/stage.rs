//! What every contestant of a run is given: the nodes, a directory, and the blob.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use shoal_oci::Digest;
use shoal_oci::digest::{Algorithm, Digester};
use shoal_test_images::random::RandomBytes;

use super::super::netns::Network;
use super::case::Case;

/// The origin's node; agents follow.
pub(super) const ORIGIN: u16 = 0;
/// Lines of a log that an error shows.
const LOG_LINES: usize = 8;
/// Bytes made and hashed at once.
const CHUNK_LEN: usize = 1 << 20;

/// The place of one run.
pub(super) struct Stage<'a> {
    pub(super) case: &'a Case,
    pub(super) network: &'a Network,
    /// Goes away after the run.
    pub(super) directory: &'a Path,
    pub(super) blob: Blob,
}

/// Random bytes that a seed decides; no file is needed to push them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::bench) struct Blob {
    pub(super) size: u64,
    pub(super) seed: u64,
    pub(super) digest: Digest,
}

impl Stage<'_> {
    /// The nodes of the agents.
    pub(super) fn agents(&self) -> std::ops::RangeInclusive<u16> {
        1..=self.case.agents
    }

    /// A directory of a node, which is made.
    pub(super) fn node_directory(&self, index: u16) -> Result<PathBuf> {
        let directory = self.directory.join(index.to_string());
        std::fs::create_dir_all(&directory)?;
        Ok(directory)
    }

    /// The address of a node.
    pub(super) fn address(&self, index: u16) -> IpAddr {
        Network::address(index)
    }

    /// The last lines of a log, for error messages.
    pub(super) fn tail(log: &Path) -> String {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        let from = text.lines().count().saturating_sub(LOG_LINES);
        text.lines().skip(from).collect::<Vec<_>>().join("\n")
    }

    /// Words that run this very program inside of a node.
    pub(super) fn errand(&self, index: u16, words: &[&str]) -> Result<Vec<OsString>> {
        let mut all: Vec<OsString> = self.network.prefix(index).into_iter().map(OsString::from).collect();
        all.extend([crate::build::own_path()?.into(), "inside".into()]);
        all.extend(words.iter().map(OsString::from));
        Ok(all)
    }
}

impl Blob {
    /// Makes the bytes once, to know their digest.
    pub(super) fn new(size: u64, seed: u64) -> Result<Self> {
        let mut digester = Digester::new(Algorithm::Sha256);
        copy(&mut Self::bytes(size, seed), |bytes| {
            digester.update(bytes);
            Ok(())
        })?;
        Ok(Self { size, seed, digest: digester.finish() })
    }

    /// The bytes, for whoever has the size and the seed.
    pub(in crate::bench) fn bytes(size: u64, seed: u64) -> impl Read + Send {
        RandomBytes::new(seed, &[size]).take(size)
    }

    /// All bytes, in memory.
    pub(in crate::bench) fn whole(size: u64, seed: u64) -> Result<Vec<u8>> {
        let mut all = Vec::with_capacity(usize::try_from(size)?);
        // In chunks like everybody else, because the generator forgets the rest of a word at the end of each.
        copy(&mut Self::bytes(size, seed), |bytes| {
            all.extend_from_slice(bytes);
            Ok(())
        })?;
        Ok(all)
    }

    /// Writes the bytes to a file.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let mut file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        copy(&mut Self::bytes(self.size, self.seed), |bytes| Ok(file.write_all(bytes)?))
    }

    /// Whether a file holds these bytes, by size and SHA-256.
    pub(super) fn is_in(&self, path: &Path) -> Result<bool> {
        let mut file = File::open(path).with_context(|| format!("there is no {}", path.display()))?;
        let mut digester = Digester::new(Algorithm::Sha256);
        let mut size = 0;
        copy(&mut file, |bytes| {
            size += bytes.len() as u64;
            digester.update(bytes);
            Ok(())
        })?;
        Ok(size == self.size && digester.finish() == self.digest)
    }
}

fn copy(source: &mut dyn Read, mut sink: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut buffer = vec![0; CHUNK_LEN];
    loop {
        match source.read(&mut buffer)? {
            0 => return Ok(()),
            count => sink(&buffer[..count])?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_recognised_in_a_file_and_a_changed_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("blob");
        let blob = Blob::new(3_000_000, 7).unwrap();
        blob.write(&path).unwrap();
        assert!(blob.is_in(&path).unwrap());
        assert_eq!(Blob::new(3_000_000, 7).unwrap(), blob);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[2_999_999] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert!(!blob.is_in(&path).unwrap());
        assert_eq!(
            Digest::sha256(&Blob::whole(3_000_001, 7).unwrap()),
            Blob::new(3_000_001, 7).unwrap().digest
        );
        assert_ne!(Blob::new(3_000_000, 8).unwrap().digest, blob.digest);
    }
}
