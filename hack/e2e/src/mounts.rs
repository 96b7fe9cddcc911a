//! Mounts that container engines leave behind in a temporary directory, which could not be removed with them.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A temporary directory that is emptied of mounts before it is removed.
#[derive(Debug)]
pub struct MountedDir {
    directory: tempfile::TempDir,
}

impl MountedDir {
    /// A new directory. Its path is short, because Unix sockets inside it may have at most 107 bytes of path.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self { directory: tempfile::Builder::new().prefix("shoal-").tempdir()? })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for MountedDir {
    fn drop(&mut self) {
        for mount in mounts_below(self.directory.path()) {
            let _ = Command::new("umount").arg("--lazy").arg(mount).output();
        }
    }
}

/// Mount points below a directory, innermost first.
fn mounts_below(directory: &Path) -> Vec<PathBuf> {
    let table = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let points = table.lines().filter_map(|line| line.split(' ').nth(1)).map(PathBuf::from);
    let mut found: Vec<PathBuf> = points.filter(|point| point.starts_with(directory)).collect();
    found.sort_unstable_by(|left, right| right.cmp(left));
    found
}
