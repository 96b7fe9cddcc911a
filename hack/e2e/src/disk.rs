//! Small file systems of their own, to be filled or to lose their power. Mounting needs root.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::mounts::MountedDir;

/// The journal is written when somebody syncs, and not for the time that has passed: what nobody synced is lost with the power. Longer
/// than any test.
const COMMIT_SECONDS: u32 = 300;
/// `EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH` (fs/ext4/ext4.h), as the tests of the kernel's file systems cut the power.
/// In Perl, which no Debian is without, because a program of ours would need unsafe code for it.
const SHUTDOWN: &str = r#"open(my $disk, "<", $ARGV[0]) or die $!; my $how = pack("L", 2); defined(ioctl($disk, 0x8004587d, $how)) or die $!"#;

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
        std::fs::create_dir(disk.path())?;
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "shoal-test"]).arg(disk.path()))?;
        Ok(disk)
    }

    /// ext4 in a file behind a loop device.
    pub fn ext4(size_mib: u32) -> Result<Self> {
        let disk = Self { directory: MountedDir::new()? };
        let image = disk.directory.path().join("image");
        File::create(&image)?.set_len(u64::from(size_mib) << 20)?;
        // No blocks for root alone: the server of the test is root and would get them.
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&image))?;
        std::fs::create_dir(disk.path())?;
        disk.mount_image()?;
        Ok(disk)
    }

    /// Takes the power from an [`ext4`](Self::ext4) disk: from now on nothing reaches it, every call on it fails with EIO, and what was
    /// in the page cache or in the journal's memory is never written. What had been synced is there when the power is back.
    pub fn power_off(&self) -> Result<()> {
        run(Command::new("perl").args(["-e", SHUTDOWN]).arg(self.path()))
    }

    /// Mounts the disk again as it was when the power went. Nobody may have a file of it open.
    pub fn power_on(&self) -> Result<()> {
        run(Command::new("umount").arg(self.path()))?;
        self.mount_image()
    }

    fn mount_image(&self) -> Result<()> {
        let image = self.directory.path().join("image");
        run(Command::new("mount")
            .args(["-o", &format!("loop,commit={COMMIT_SECONDS}")])
            .arg(image)
            .arg(self.path()))
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("disk")
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
