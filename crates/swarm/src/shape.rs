//! How fast pieces may leave and arrive, when an operator wants less than the network gives.
//!
//! Each direction is a line that is busy for as long as the bytes take that were let through. Whoever has bytes waits until the line is
//! free, takes it for one quantum (a few milliseconds of the rate), and stands in line again. So the rate holds within milliseconds,
//! nobody's burst of a second goes before everybody else, and connections share by quanta.
//!
//! Arriving pieces are of two classes. Those that a reader waits for take the line at once, one behind the other; the others only when it
//! is free, and never more than their own limit. So a background pull does not delay a demand read by more than a quantum for each
//! connection that is in the middle of one.
//!
//! Non-goal: exactness below a quantum, and priorities on the way out, where the core orders what is sent. The price without a limit: one
//! atomic load for each portion of a piece.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};

/// How long a quantum takes at most. The runtime's timer counts in milliseconds.
const QUANTUM: Duration = Duration::from_millis(2);

/// Bytes of a quantum: below, system calls cost more than they carry; above, one is more than the kernel is given at once.
const QUANTUM_BYTES: (u64, u64) = (4 * 1024, 64 * 1024);

/// Time for which an idle line may be made up for: timers wake up to a millisecond late, and a thread may be busy as long.
const SLACK: Duration = Duration::from_millis(4);

/// The slowest line, in bytes per second. Below it pieces would not arrive within the time that peers give them.
pub const RATE_MIN: u64 = 64 * 1024;

/// Bytes per second; `None` for as many as possible.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateLimits {
    /// Bytes of pieces sent to peers.
    pub upload: Option<u64>,
    /// Bytes of pieces received from peers.
    pub download: Option<u64>,
    /// Of these, pieces that a reader waits for.
    pub foreground: Option<u64>,
    /// Of these, pieces that no reader waits for.
    pub background: Option<u64>,
    /// Of the pieces that no reader waits for, those of blobs that somebody wants beforehand.
    pub prefetch: Option<u64>,
}

/// Whether somebody waits for a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// A reader does.
    Foreground,
    /// Nobody does: the rest of a blob.
    Background,
    /// Nobody does yet: a preheat.
    Prefetch,
}

/// The lines of one process.
#[derive(Debug, Default)]
pub struct Shaper {
    upload: Line,
    download: Line,
    foreground: Line,
    background: Line,
    prefetch: Line,
}

/// One direction.
#[derive(Debug)]
struct Line {
    /// Bytes per second; 0 without a limit.
    rate: AtomicU64,
    /// When the bytes that were let through are over.
    free: Mutex<Option<Instant>>,
    /// The one that takes the line when it is free; others wait their turn behind it, first come, first served.
    turn: Semaphore,
}

impl Default for Line {
    fn default() -> Self {
        Self { rate: AtomicU64::new(0), free: Mutex::default(), turn: Semaphore::new(1) }
    }
}

impl Shaper {
    /// Lines with these limits.
    pub fn new(limits: RateLimits) -> Self {
        let shaper = Self::default();
        shaper.set(limits);
        shaper
    }

    /// Other limits from now on. Less than [`RATE_MIN`] is taken for that.
    pub fn set(&self, limits: RateLimits) {
        self.upload.set(limits.upload);
        self.download.set(limits.download);
        self.foreground.set(limits.foreground);
        self.background.set(limits.background);
        self.prefetch.set(limits.prefetch);
    }

    /// The limits that hold.
    pub fn limits(&self) -> RateLimits {
        RateLimits {
            upload: self.upload.limit(),
            download: self.download.limit(),
            foreground: self.foreground.limit(),
            background: self.background.limit(),
            prefetch: self.prefetch.limit(),
        }
    }

    /// How many bytes to send at once, of `len` that are there.
    pub(crate) fn portion_out(&self, len: usize) -> usize {
        self.upload.portion(len)
    }

    /// Waits until `len` bytes may leave.
    pub(crate) async fn send(&self, len: usize) {
        self.upload.wait_turn(len).await;
    }

    /// How many bytes to take in at once, of `len` that will come.
    pub(crate) fn portion_in(&self, len: usize) -> usize {
        let incoming = [&self.download, &self.foreground, &self.background, &self.prefetch];
        incoming.into_iter().fold(len, |len, line| line.portion(len))
    }

    /// Whether what comes in is limited at all.
    pub(crate) fn limits_download(&self) -> bool {
        [&self.download, &self.foreground, &self.background, &self.prefetch]
            .into_iter()
            .any(|line| line.limit().is_some())
    }

    /// Waits until `len` bytes may be taken in.
    pub(crate) async fn receive(&self, class: Class, len: usize) {
        match class {
            Class::Foreground => {
                self.foreground.wait_booked(len).await;
                self.download.wait_booked(len).await;
            }
            Class::Background | Class::Prefetch => {
                if class == Class::Prefetch {
                    self.prefetch.wait_turn(len).await;
                }
                self.background.wait_turn(len).await;
                self.download.wait_turn(len).await;
            }
        }
    }
}

impl Line {
    fn set(&self, limit: Option<u64>) {
        self.rate.store(limit.map_or(0, |rate| rate.max(RATE_MIN)), Ordering::Relaxed);
        // What was let through at another rate counts for nothing.
        *self.free() = None;
    }

    fn limit(&self) -> Option<u64> {
        Some(self.rate.load(Ordering::Relaxed)).filter(|rate| *rate > 0)
    }

    fn portion(&self, len: usize) -> usize {
        let Some(rate) = self.limit() else { return len };
        let bytes = rate / (1_000 / QUANTUM.as_millis() as u64);
        len.min(bytes.clamp(QUANTUM_BYTES.0, QUANTUM_BYTES.1) as usize)
    }

    /// Takes the line behind those who have it.
    async fn wait_booked(&self, len: usize) {
        let Some(rate) = self.limit() else { return };
        let start = self.book(len, rate);
        if start > Instant::now() {
            sleep_until(start).await;
        }
    }

    /// Takes the line when it is free.
    async fn wait_turn(&self, len: usize) {
        if self.limit().is_none() {
            return;
        }
        // The semaphore is never closed.
        let _turn = self.turn.acquire().await;
        loop {
            let Some(rate) = self.limit() else { return };
            let free = *self.free();
            match free.filter(|free| *free > Instant::now()) {
                Some(free) => sleep_until(free).await,
                None => {
                    self.book(len, rate);
                    return;
                }
            }
        }
    }

    /// Takes the line for `len` bytes; from when on.
    fn book(&self, len: usize, rate: u64) -> Instant {
        let now = Instant::now();
        let mut free = self.free();
        let earliest = now.checked_sub(SLACK).unwrap_or(now);
        let start = free.map_or(now, |free| free.max(earliest));
        *free = Some(start + Duration::from_secs_f64(len as f64 / rate as f64));
        start
    }

    fn free(&self) -> MutexGuard<'_, Option<Instant>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
