//! Small file systems of their own, to be filled. Mounting needs root.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::mounts::MountedDir;

/// A mounted file system that goes away with the value.
#[derive(Debug)]
pub struct SmallDisk {
    /// The mount point is in here; unmounts it before it is removed.
    directory: MountedDir,
}

impl SmallDisk {
    /// In memory, without direct input and output on older kernels.
    pub fn tmpfs(size_mib: u32) -> Result<Self> {
        let disk = Self { directory: MountedDir::new()? };
        let size = format!("size={size_mib}m");
        disk.mount(&["-t", "tmpfs", "-o", &size, "shoal-test"])?;
        Ok(disk)
    }

    /// ext4 in a file behind a loop device.
    pub fn ext4(size_mib: u32) -> Result<Self> {
        let disk = Self { directory: MountedDir::new()? };
        let image = disk.directory.path().join("image");
        File::create(&image)?.set_len(u64::from(size_mib) << 20)?;
        // No blocks for root alone: the server of the test is root and would get them.
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&image))?;
        disk.mount(&["-o", "loop", &image.display().to_string()])?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("disk")
    }

    fn mount(&self, words: &[&str]) -> Result<()> {
        std::fs::create_dir(self.path())?;
        run(Command::new("mount").args(words).arg(self.path()))
    }
}

/// Takes room away: a file of `size_mib` that is really there.
pub fn ballast(directory: &Path, size_mib: usize) -> Result<PathBuf> {
    let file = directory.join("ballast");
    std::fs::write(&file, vec![0x5a; size_mib << 20])?;
    File::open(&file)?.sync_all()?;
    Ok(file)
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
