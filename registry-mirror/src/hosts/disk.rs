//! Files of the tree: read whole, replaced whole.
//!
//! A file is written aside in its own directory, synced, renamed over the old one, and the directory synced: whoever stops us, and
//! whenever, finds the old file or the new one. Mode, owner and extended attributes (labels, access lists) of the old file go over to the new
//! one. The price: hard links to the file stay with the old content.

use std::cell::Cell;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use shoal_oci::Digest;

use super::error::{HostsError, Refusal};
use super::root::Root;

/// The longest file that is read: a hundred times what a runtime's configuration has.
const FILE_LEN_MAX: u64 = 4 << 20;

/// What new files look like.
const MODE: u32 = 0o644;

/// A regular file, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) bytes: Vec<u8>,
    pub(crate) mode: u32,
    /// User and group; `None`: whoever runs this.
    pub(crate) owner: Option<(u32, u32)>,
}

impl Content {
    /// A new file of whoever runs this, readable for everybody.
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, mode: MODE, owner: None }
    }

    /// The same file with other bytes.
    pub(crate) fn with(&self, bytes: Vec<u8>) -> Self {
        Self { bytes, ..*self }
    }

    /// The digest of its bytes.
    pub(crate) fn digest(&self) -> Digest {
        Digest::sha256(&self.bytes)
    }
}

/// The tree on its disk.
#[derive(Debug)]
pub(crate) struct Disk {
    root: Root,
    /// Steps that are still made before everything fails, as if the process had ended there. `None`, but for tests: no end.
    steps: Option<Cell<u32>>,
}

impl Disk {
    /// The files below a root.
    pub(crate) const fn new(root: Root) -> Self {
        Self { root, steps: None }
    }

    /// The same, which fails from the step `count` on.
    #[cfg(test)]
    pub(super) const fn stopping_after(root: Root, count: u32) -> Self {
        Self { root, steps: Some(Cell::new(count)) }
    }

    /// Where `/` is.
    pub(crate) const fn root(&self) -> &Root {
        &self.root
    }

    /// Called before every step that another process can see.
    fn step(&self, path: &Path) -> Result<(), HostsError> {
        let Some(steps) = &self.steps else { return Ok(()) };
        let left = steps.get().checked_sub(1);
        let left = left.ok_or_else(|| HostsError::io("go on with", path)(io::Error::other("stopped")))?;
        steps.set(left);
        Ok(())
    }

    /// The file at a resolved path, or `None` when there is none.
    pub(crate) fn read(&self, path: &Path) -> Result<Option<Content>, HostsError> {
        let real = self.root.real(path);
        let metadata = match fs::symlink_metadata(&real) {
            Ok(metadata) => metadata,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(HostsError::io("look at", &real)(error)),
        };
        if !metadata.is_file() {
            return Err(
                Refusal::new(path, "is not a regular file", "remove it, or name another runtime").into()
            );
        }
        let mut bytes = Vec::new();
        let file = File::open(&real).map_err(HostsError::io("open", &real))?;
        file.take(FILE_LEN_MAX + 1).read_to_end(&mut bytes).map_err(HostsError::io("read", &real))?;
        if bytes.len() as u64 > FILE_LEN_MAX {
            let problem = format!("has more than {FILE_LEN_MAX} bytes");
            return Err(Refusal::new(path, problem, "this is no configuration; look what it is").into());
        }
        let (mode, owner) = (metadata.mode() & 0o7777, Some((metadata.uid(), metadata.gid())));
        Ok(Some(Content { bytes, mode, owner }))
    }

    /// Names in a directory, in order; none when there is no such directory.
    pub(crate) fn names(&self, directory: &Path) -> Result<Vec<String>, HostsError> {
        let real = self.root.real(directory);
        let entries = match fs::read_dir(&real) {
            Ok(entries) => entries,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(vec![]);
            }
            Err(error) => return Err(HostsError::io("list", &real)(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(HostsError::io("list", &real))?;
            names.extend(entry.file_name().into_string());
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Puts a file in place of whatever is there. Its directory must exist.
    pub(crate) fn put(&self, path: &Path, content: &Content) -> Result<(), HostsError> {
        let (real, aside) = (self.root.real(path), self.root.real(&aside(path)));
        self.step(&real)?;
        self.write_aside(&real, &aside, content)?;
        self.step(&real)?;
        fs::rename(&aside, &real).map_err(HostsError::io("replace", &real))?;
        self.step(&real)?;
        sync_directory(&real)
    }

    fn write_aside(&self, real: &Path, aside: &Path, content: &Content) -> Result<(), HostsError> {
        match fs::remove_file(aside) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(HostsError::io("remove", aside)(error));
            }
            _ => {}
        }
        let failed = || HostsError::io("write", aside);
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(aside).map_err(failed())?;
        file.write_all(&content.bytes).map_err(failed())?;
        let metadata = file.metadata().map_err(failed())?;
        let owner = content.owner.filter(|owner| *owner != (metadata.uid(), metadata.gid()));
        if let Some((uid, gid)) = owner {
            fchown(&file, Some(uid), Some(gid)).map_err(HostsError::io("give away", aside))?;
        }
        copy_attributes(real, aside);
        file.set_permissions(Permissions::from_mode(content.mode)).map_err(failed())?;
        file.sync_all().map_err(failed())
    }

    /// Removes a file if there is one.
    pub(crate) fn remove(&self, path: &Path) -> Result<(), HostsError> {
        let real = self.root.real(path);
        self.step(&real)?;
        match fs::remove_file(&real) {
            Ok(()) => sync_directory(&real),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(HostsError::io("remove", &real)(error)),
        }
    }

    /// Removes what a put that was stopped has left beside `path`.
    pub(crate) fn sweep(&self, path: &Path) -> Result<(), HostsError> {
        let aside = aside(path);
        if self.root.real(&aside).exists() { self.remove(&aside) } else { Ok(()) }
    }

    /// The directories above `path` that do not exist, outermost first.
    pub(crate) fn missing_directories(&self, path: &Path) -> Vec<PathBuf> {
        let above = path.ancestors().skip(1);
        let mut missing: Vec<PathBuf> =
            above.take_while(|above| !self.root.real(above).exists()).map(Path::to_owned).collect();
        missing.reverse();
        missing
    }

    /// Makes one directory, unless it is there.
    pub(crate) fn make_directory(&self, path: &Path) -> Result<(), HostsError> {
        let real = self.root.real(path);
        self.step(&real)?;
        match fs::create_dir(&real) {
            Ok(()) => sync_directory(&real),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(HostsError::io("make", &real)(error)),
        }
    }

    /// Removes a directory if it is there and empty.
    pub(crate) fn remove_directory(&self, path: &Path) -> Result<(), HostsError> {
        let real = self.root.real(path);
        self.step(&real)?;
        match fs::remove_dir(&real) {
            Ok(()) => sync_directory(&real),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty) => {
                Ok(())
            }
            Err(error) => Err(HostsError::io("remove", &real)(error)),
        }
    }
}

/// Where a file is written before it takes the place of `path`. No runtime reads names that begin with a dot and end so.
fn aside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.shoal-new"))
}

fn sync_directory(of: &Path) -> Result<(), HostsError> {
    let directory = of.parent().unwrap_or(of);
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(HostsError::io("sync", directory))
}

/// Copies extended attributes as far as the file system takes them: a label that cannot be copied is given by the system as to any new file.
fn copy_attributes(from: &Path, to: &Path) {
    let mut names = vec![0_u8; 16 << 10];
    let Ok(len) = rustix::fs::listxattr(from, &mut names[..]) else { return };
    for name in names[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0_u8; 64 << 10];
        if let Ok(len) = rustix::fs::getxattr(from, name, &mut value[..]) {
            let _ = rustix::fs::setxattr(to, name, &value[..len], rustix::fs::XattrFlags::empty());
        }
    }
}
