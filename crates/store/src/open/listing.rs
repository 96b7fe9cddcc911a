//! Reading the directories at start: which files are ours, by name, and which are foreign.

use std::collections::HashMap;
use std::fs::{self, DirEntry, Metadata};
use std::io;
use std::path::Path;

use shoal_oci::{Algorithm, Digest};

use super::Recovery;
use crate::error::{Error, Result};
use crate::paths::{Part, parse_digest_file, parse_shard};

/// The shards that exist.
pub(crate) fn list_shards(dir: &Path, recovery: &mut Recovery) -> Result<Vec<u8>> {
    let fail = |source| Error::io("read", dir, source);
    let mut shards = Vec::new();
    for entry in fs::read_dir(dir).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let is_dir = entry.file_type().map_err(fail)?.is_dir();
        match parse_shard(&entry.file_name()).filter(|_| is_dir) {
            Some(first) => shards.push(first),
            None => recovery.foreign += 1,
        }
    }
    Ok(shards)
}

/// Calls `each` with every regular file in a directory. Everything else is foreign, and so is what `each` answers `None` to.
pub(crate) fn for_each_file(
    dir: &Path,
    recovery: &mut Recovery,
    mut each: impl FnMut(&DirEntry, Metadata) -> Option<()>,
) -> Result<()> {
    let fail = |source| Error::io("read", dir, source);
    for entry in fs::read_dir(dir).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        // Does not follow symbolic links.
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            Err(source) if source.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(fail(source)),
        };
        if !metadata.is_file() || each(&entry, metadata).is_none() {
            recovery.foreign += 1;
        }
    }
    Ok(())
}

/// The files found under one digest.
#[derive(Default)]
pub(crate) struct Parts {
    pub(crate) data: Option<Metadata>,
    pub(crate) have: Option<Metadata>,
    pub(crate) metainfo: Option<Metadata>,
}

impl Parts {
    fn of(&mut self, part: Part) -> &mut Option<Metadata> {
        match part {
            Part::Data => &mut self.data,
            Part::Have => &mut self.have,
            Part::Metainfo => &mut self.metainfo,
        }
    }
}

pub(crate) fn list(
    dir: &Path,
    algorithm: Algorithm,
    belongs: impl Fn(&Digest) -> bool,
    recovery: &mut Recovery,
) -> Result<HashMap<Digest, Parts>> {
    let mut found: HashMap<Digest, Parts> = HashMap::new();
    for_each_file(dir, recovery, |entry, metadata| {
        let (digest, part) =
            parse_digest_file(algorithm, &entry.file_name()).filter(|(digest, _)| belongs(digest))?;
        *found.entry(digest).or_default().of(part) = Some(metadata);
        Some(())
    })?;
    Ok(found)
}
