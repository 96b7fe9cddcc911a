//! Every blob is read again from time to time, so that damage is found while somebody still has a good copy.
//!
//! Disks lose bits without a word, and reads only find what is read. A scrub walks over all blobs in the order of their digests, at a
//! bounded rate, and remembers how far it came, so that restarts do not always begin with the same ones. What is damaged is repaired
//! from whoever has it; where nobody has it, it goes into quarantine: it counts as absent, so that clients push it again instead of
//! skipping it, and its bytes wait for the operator.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use shoal_oci::Digest;
use shoal_store::{Listed, Scrubbed, Store};
use shoal_telemetry::CollectMetrics;
use shoal_telemetry::rooms::collect::ScrubOutcome;

use crate::report::{Damage, DamageOutcome, ScrubReport};

/// Blobs listed at once.
const PAGE_LEN: usize = 256;

/// Blobs between two times that the position is written.
const SAVE_EVERY: u64 = 256;

/// How long one repair may take before the blob goes into quarantine instead.
const REPAIR_TIME_MAX: Duration = Duration::from_secs(10 * 60);

/// How a scrub goes.
#[derive(Clone, Debug)]
pub struct ScrubOptions {
    /// The time from the end of a pass to the beginning of the next; `None`: only when asked.
    pub every: Option<Duration>,
    /// Bytes read in a second at most, on average.
    pub rate: u64,
    /// The file that remembers how far the pass came.
    pub state: PathBuf,
}

/// Somebody else who may have a good copy.
#[async_trait]
pub trait Repair: Send + Sync + 'static {
    /// Tries to make a damaged blob whole; `true` when every byte of it verifies now.
    async fn repair(&self, digest: &Digest) -> bool;
}

/// The scrubber. Cheap to clone; clones are the same one.
#[derive(Clone)]
pub struct Scrubber(Arc<Shared>);

struct Shared {
    store: Store,
    repair: Arc<dyn Repair>,
    metrics: CollectMetrics,
    options: ScrubOptions,
    running: tokio::sync::Mutex<()>,
    stopping: AtomicBool,
    report: Mutex<ScrubReport>,
}

/// What the state file holds.
#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    /// The last blob that was read, inside a pass.
    after: Option<Digest>,
    /// Seconds since 1970 when the last pass ended.
    finished: Option<u64>,
}

impl Scrubber {
    /// A scrubber that does nothing yet.
    pub fn new(
        store: Store,
        repair: Arc<dyn Repair>,
        metrics: CollectMetrics,
        options: ScrubOptions,
    ) -> Self {
        Self(Arc::new(Shared {
            store,
            repair,
            metrics,
            options,
            running: tokio::sync::Mutex::default(),
            stopping: AtomicBool::new(false),
            report: Mutex::default(),
        }))
    }

    /// What the pass under way, or the last one, saw.
    pub fn report(&self) -> ScrubReport {
        self.0.report.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Begins a pass over all blobs from the first one; `false` when one is under way. [`Self::report`] tells how far it is.
    pub fn start(&self) -> bool {
        let Ok(running) = self.0.running.try_lock() else { return false };
        // The report is of the new pass from this moment on, so that nobody takes the last one for it.
        *self.0.report() = ScrubReport { started: now(), ..ScrubReport::default() };
        drop(running);
        let shared = Arc::clone(&self.0);
        tokio::spawn(async move { shared.pass(None).await });
        true
    }

    /// Verifies one blob now and deals with it as a pass does; `None` when it is not there.
    ///
    /// # Errors
    /// The store's error when the disk does not tell whether it is there.
    pub async fn one(&self, digest: &Digest) -> shoal_store::Result<Option<ScrubReport>> {
        let Some(size) = self.0.store.stat(digest)? else { return Ok(None) };
        let mut report = ScrubReport { started: now(), finished: true, ..ScrubReport::default() };
        let listed = Listed { digest: *digest, size, modified: SystemTime::UNIX_EPOCH };
        self.0.visit(&listed, &mut report).await;
        Ok(Some(report))
    }

    /// Scrubs from time to time, until [`Self::stop`]. A pass that a restart broke off goes on where it was.
    pub async fn run(&self) {
        let Some(every) = self.0.options.every else { return std::future::pending().await };
        loop {
            let state = self.0.load().await;
            let due = state.finished.map_or(Duration::ZERO, |finished| {
                every.saturating_sub(Duration::from_secs(now().saturating_sub(finished)))
            });
            if state.after.is_none() {
                tokio::time::sleep(due).await;
            }
            self.0.pass(state.after).await;
            if self.0.is_stopping() {
                return;
            }
            // The next pass is due after `every`; a state file that cannot be written must not make this a tight loop.
            tokio::time::sleep(every.min(Duration::from_secs(60))).await;
        }
    }

    /// Lets a pass end at its next blob.
    pub async fn stop(&self) {
        self.0.stopping.store(true, Ordering::Relaxed);
        drop(self.0.running.lock().await);
    }
}

impl Shared {
    fn report(&self) -> std::sync::MutexGuard<'_, ScrubReport> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Reads all blobs after `after`.
    async fn pass(&self, mut after: Option<Digest>) {
        let _running = self.running.lock().await;
        let mut report = ScrubReport { started: now(), ..ScrubReport::default() };
        loop {
            let (store, from) = (self.store.clone(), after);
            let page = tokio::task::spawn_blocking(move || store.each_digest(from, PAGE_LEN))
                .await
                .unwrap_or_default();
            if page.is_empty() {
                break;
            }
            for listed in page {
                if self.is_stopping() {
                    return self.save(State { after, finished: None }).await;
                }
                self.visit(&listed, &mut report).await;
                after = Some(listed.digest);
                *self.report() = report.clone();
                if report.blobs.is_multiple_of(SAVE_EVERY) {
                    self.save(State { after, finished: None }).await;
                }
            }
        }
        report.finished = true;
        tracing::info!(
            blobs = report.blobs,
            bytes = report.bytes,
            restored = report.restored,
            damaged = report.damaged.count,
            faults = report.faults.count,
            "scrub finished"
        );
        *self.report() = report;
        self.save(State { after: None, finished: Some(now()) }).await;
    }

    async fn visit(&self, listed: &Listed, report: &mut ScrubReport) {
        let (store, digest, rate) = (self.store.clone(), listed.digest, self.options.rate);
        let seen = tokio::task::spawn_blocking(move || {
            let mut pace = Pace { began: Instant::now(), bytes: 0, rate };
            store.scrub_paced(&digest, |len| pace.keep(len))
        });
        let seen = seen.await;
        match seen {
            Ok(Ok(seen)) => {
                report.blobs += 1;
                report.bytes += listed.size;
                self.metrics.scrubbed_blobs.inc();
                self.metrics.scrubbed_bytes.inc_by(listed.size);
                match seen {
                    Scrubbed::Intact => {}
                    Scrubbed::Restored => report.restored += 1,
                    Scrubbed::Damaged { .. } => report.damaged.push(self.mend(listed).await),
                }
            }
            // Collected or removed since it was listed.
            Ok(Err(error)) if error.kind() == shoal_store::ErrorKind::NotFound => {}
            Ok(Err(error)) => report.faults.push(error.to_string()),
            Err(error) => report.faults.push(error.to_string()),
        }
    }

    async fn mend(&self, listed: &Listed) -> Damage {
        let digest = listed.digest;
        let repaired =
            tokio::time::timeout(REPAIR_TIME_MAX, self.repair.repair(&digest)).await.unwrap_or(false);
        let outcome = if repaired { DamageOutcome::Repaired } else { self.put_away(digest).await };
        let counted = match outcome {
            DamageOutcome::Repaired => ScrubOutcome::Repaired,
            DamageOutcome::Quarantined => ScrubOutcome::Quarantined,
            DamageOutcome::Left => ScrubOutcome::Left,
        };
        self.metrics.damaged.of(counted).inc();
        tracing::error!(%digest, size = listed.size, ?outcome, "a damaged blob was found");
        Damage { digest, size: listed.size, outcome }
    }

    async fn put_away(&self, digest: Digest) -> DamageOutcome {
        let store = self.store.clone();
        match tokio::task::spawn_blocking(move || store.quarantine(&digest)).await {
            Ok(Ok(_)) => DamageOutcome::Quarantined,
            Ok(Err(error)) => {
                tracing::error!(%digest, %error, "a damaged blob could not be put into quarantine");
                DamageOutcome::Left
            }
            Err(_panicked) => DamageOutcome::Left,
        }
    }

    /// Where the last pass was; a file that is missing or cannot be read means "at the beginning".
    async fn load(&self) -> State {
        let path = self.options.state.clone();
        let read = tokio::task::spawn_blocking(move || std::fs::read(path)).await;
        let bytes = read.ok().and_then(Result::ok).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    async fn save(&self, state: State) {
        let path = self.options.state.clone();
        let writing = move || -> std::io::Result<()> {
            let aside = path.with_extension("new");
            std::fs::write(&aside, serde_json::to_vec(&state)?)?;
            std::fs::rename(&aside, &path)
        };
        let written = tokio::task::spawn_blocking(writing).await;
        if let Ok(Err(error)) = written {
            tracing::warn!(%error, "how far the scrub came could not be written; after a restart it begins again");
        }
    }
}

/// Keeps the reading of one blob at the rate: on its own thread, so it may sleep there.
struct Pace {
    began: Instant,
    bytes: u64,
    rate: u64,
}

impl Pace {
    fn keep(&mut self, len: u64) {
        self.bytes += len;
        let due = Duration::from_secs_f64(self.bytes as f64 / self.rate.max(1) as f64);
        std::thread::sleep(due.saturating_sub(self.began.elapsed()));
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}
