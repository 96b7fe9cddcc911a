//! Whether the disk of a drill has power, as its clients have to know to judge an answer.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use anyhow::Result;

use crate::disk::SmallDisk;

/// How long the server lives on a disk without power.
const DARK: Duration = Duration::from_millis(30);
/// Room for the longest drill; the image is sparse.
const DISK_MIB: u32 = 16 * 1024;

const ON: u8 = 0;
const GOING: u8 = 1;
const OFF: u8 = 2;

/// The power of a drill's disk, when the drill has one of its own.
#[derive(Debug)]
pub(super) struct Power {
    disk: Option<SmallDisk>,
    state: AtomicU8,
}

impl Power {
    /// With a disk that can lose it, or without one.
    pub(super) fn new(can_go: bool) -> Result<Self> {
        let disk = if can_go { Some(SmallDisk::ext4(DISK_MIB)?) } else { None };
        Ok(Self { disk, state: AtomicU8::new(ON) })
    }

    pub(super) fn disk(&self) -> Option<&SmallDisk> {
        self.disk.as_ref()
    }

    /// Takes it, and leaves the server alone with that for a moment.
    pub(super) async fn take(&self) -> Result<()> {
        let Some(disk) = &self.disk else { return Ok(()) };
        self.state.store(GOING, Ordering::SeqCst);
        disk.power_off()?;
        self.state.store(OFF, Ordering::SeqCst);
        tokio::time::sleep(DARK).await;
        Ok(())
    }

    /// Brings it back. The server must be dead.
    pub(super) fn bring_back(&self) -> Result<()> {
        let Some(disk) = &self.disk else { return Ok(()) };
        disk.power_on()?;
        self.state.store(ON, Ordering::SeqCst);
        Ok(())
    }

    /// Whether an answer that has just come is one of a server in peace. While the power goes no answer binds: the kernel itself may
    /// tell a sync that was under way at that moment that all is well.
    pub(super) fn is_on(&self) -> bool {
        self.state.load(Ordering::SeqCst) == ON
    }

    /// Whether whoever asks now asks a server that cannot keep anything, and must not promise to.
    pub(super) fn is_off(&self) -> bool {
        self.state.load(Ordering::SeqCst) == OFF
    }
}
