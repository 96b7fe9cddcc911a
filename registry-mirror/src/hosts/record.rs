//! What `apply` has done to which files, so that `restore` can take it back byte for byte.
//!
//! Written ahead: a file is named here, with what was in it, before it is touched, and forgotten after it is as it was. So whatever stops
//! us, a later run knows each file that may be ours, and both contents that it may have. It lives in its own directory in the tree:
//! `record.json`, and the contents under their digests.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use shoal_oci::Digest;

use super::disk::{Content, Disk};
use super::error::HostsError;
use super::runtime::Runtime;

/// Above the directory of the record; locked while one of us is at work.
const ABOVE: &str = "/var/lib/shoal";

/// The form of the record.
const VERSION: u32 = 1;

/// All files that are ours, or about to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    version: u32,
    /// Whether a pull has come through every runtime since the files were last changed.
    pub(crate) proven: bool,
    /// By the path in the tree, without links.
    pub(crate) files: BTreeMap<PathBuf, Entry>,
    /// Directories that were made for them, each after the one that it is in.
    pub(crate) directories: Vec<PathBuf>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// For whom it was changed.
    pub(crate) runtime: Runtime,
    /// What was there; `None`: nothing.
    pub(crate) before: Option<Kept>,
    /// What of ours may be there, the newest last.
    pub(crate) written: Vec<Digest>,
}

/// A file as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kept {
    digest: Digest,
    mode: u32,
    uid: u32,
    gid: u32,
}

impl Kept {
    /// The digest of its bytes.
    pub(crate) const fn digest(&self) -> Digest {
        self.digest
    }
}

impl Default for Record {
    fn default() -> Self {
        Self { version: VERSION, proven: false, files: BTreeMap::new(), directories: Vec::new() }
    }
}

impl Entry {
    /// Whether a file with this content is ours.
    pub(crate) fn has_written(&self, content: Option<&Content>) -> bool {
        content.is_some_and(|content| self.written.contains(&content.digest()))
    }

    /// Whether a file is as it was.
    pub(crate) fn is_as_before(&self, content: Option<&Content>) -> bool {
        match (&self.before, content) {
            (None, None) => true,
            (Some(before), Some(content)) => before.digest == content.digest(),
            _ => false,
        }
    }
}

/// The directory of the record.
#[derive(Debug)]
pub(crate) struct State<'a> {
    disk: &'a Disk,
    directory: PathBuf,
}

impl<'a> State<'a> {
    /// That of a tree.
    pub(crate) fn new(disk: &'a Disk) -> Self {
        Self { disk, directory: Path::new(ABOVE).join("hosts") }
    }

    /// Keeps others out until the answer is dropped. `None` when nobody has ever applied anything here, and `make` is not wanted.
    pub(crate) fn lock(&self, make: bool) -> Result<Option<Flock<File>>, HostsError> {
        let above = Path::new(ABOVE);
        if make {
            for missing in self.disk.missing_directories(&above.join("hosts")) {
                self.disk.make_directory(&missing)?;
            }
        }
        let real = self.disk.root().real(above);
        let file = match File::open(&real) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(HostsError::io("open", &real)(error)),
        };
        let locked = Flock::lock(file, FlockArg::LockExclusiveNonblock);
        locked.map(Some).map_err(|(_, why)| {
            let why = format!("another `shoal-agent hosts` is at work ({why}); wait for it");
            HostsError::Record { path: real, why }
        })
    }

    fn file(&self) -> PathBuf {
        self.directory.join("record.json")
    }

    fn contents(&self) -> PathBuf {
        self.directory.join("contents")
    }

    /// What is remembered; nothing when there is nothing.
    pub(crate) fn load(&self) -> Result<Record, HostsError> {
        let Some(content) = self.disk.read(&self.file())? else { return Ok(Record::default()) };
        let unusable = |why: String| {
            let why = format!(
                "{why}; restore it from a backup, or put the runtimes' files right by hand and remove it"
            );
            HostsError::Record { path: self.disk.root().real(&self.file()), why }
        };
        let record: Record = serde_json::from_slice(&content.bytes)
            .map_err(|error| unusable(format!("is not a record of `hosts apply`: {error}")))?;
        if record.version != VERSION {
            return Err(unusable(format!(
                "has version {}, and this program writes {VERSION}",
                record.version
            )));
        }
        Ok(record)
    }

    /// Writes the record, or removes everything once there is nothing to remember.
    pub(crate) fn save(&self, record: &Record) -> Result<(), HostsError> {
        if record.files.is_empty() && record.directories.is_empty() {
            return self.erase();
        }
        self.make(&self.file())?;
        let text = serde_json::to_vec_pretty(record).map_err(|error| HostsError::Record {
            path: self.disk.root().real(&self.file()),
            why: format!("cannot be written: {error}"),
        })?;
        self.disk.put(&self.file(), &private(text))
    }

    /// Keeps a content, synced, before anything refers to it.
    pub(crate) fn keep(&self, content: &Content) -> Result<Kept, HostsError> {
        let digest = content.digest();
        let path = self.contents().join(digest.to_hex());
        if self.disk.read(&path)?.is_none_or(|kept| kept.digest() != digest) {
            self.make(&path)?;
            self.disk.put(&path, &private(content.bytes.clone()))?;
        }
        let (uid, gid) = content.owner.unwrap_or_default();
        Ok(Kept { digest, mode: content.mode, uid, gid })
    }

    /// The file as it was.
    pub(crate) fn kept(&self, kept: &Kept) -> Result<Content, HostsError> {
        let Kept { digest, mode, uid, gid } = kept;
        let bytes = self.bytes(digest)?;
        Ok(Content { bytes, mode: *mode, owner: Some((*uid, *gid)) })
    }

    /// What was there before us.
    pub(crate) fn before(&self, entry: &Entry) -> Result<Option<Content>, HostsError> {
        entry.before.as_ref().map(|kept| self.kept(kept)).transpose()
    }

    /// A kept content by its digest.
    pub(crate) fn bytes(&self, digest: &Digest) -> Result<Vec<u8>, HostsError> {
        let path = self.contents().join(digest.to_hex());
        let found = self.disk.read(&path)?.filter(|content| content.digest() == *digest);
        let content = found.ok_or_else(|| HostsError::Record {
            path: self.disk.root().real(&path),
            why: "is missing or damaged, and the record needs it; restore the directory from a backup"
                .to_owned(),
        })?;
        Ok(content.bytes)
    }

    fn make(&self, path: &Path) -> Result<(), HostsError> {
        self.disk.missing_directories(path).iter().try_for_each(|missing| self.disk.make_directory(missing))
    }

    /// The record goes first: contents that nobody refers to are no record.
    fn erase(&self) -> Result<(), HostsError> {
        self.disk.remove(&self.file())?;
        for directory in [self.contents(), self.directory.clone()] {
            for name in self.disk.names(&directory)? {
                let path = directory.join(name);
                if self.disk.root().real(&path).is_file() {
                    self.disk.remove(&path)?;
                }
            }
            self.disk.remove_directory(&directory)?;
        }
        Ok(())
    }
}

/// Contents of configurations may hold credentials.
fn private(bytes: Vec<u8>) -> Content {
    Content { mode: 0o600, ..Content::new(bytes) }
}
