//! One run at a time: what it works with, when it begins, and what it told last.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use shoal_api::audit::Audit;
use shoal_api::events::Events;
use shoal_api::leases::Leases;
use shoal_metadata::Upkeep;
use shoal_oci::{Repository, Tag};
use shoal_store::Store;
use shoal_telemetry::CollectMetrics;

use crate::options::CollectOptions;
use crate::report::CollectReport;
use crate::{content, expire, links};

/// How many removals are under way at once. Each waits for a flush of the disk that all of them share.
pub(crate) const REMOVALS_MAX: usize = 64;

/// Says whether a tag may never go.
pub type Immutable = Box<dyn Fn(&Repository, &Tag) -> bool + Send + Sync>;

/// Says how long what nobody pulls stays in a repository of which no rule says so; `None`: for ever.
pub type Kept = Box<dyn Fn(&Repository) -> Option<Duration> + Send + Sync>;

/// Says into which repositories somebody uploads now.
pub type Uploading = Box<dyn Fn() -> HashSet<Repository> + Send + Sync>;

/// The rooms that the collector works in.
pub struct Parts {
    /// Links, manifests, tags.
    pub upkeep: Arc<dyn Upkeep>,
    /// Content.
    pub store: Store,
    /// Who uses what now.
    pub leases: Leases,
    /// The repositories into which somebody uploads now. Nothing of theirs is unlinked: a layer that came early waits for one that
    /// takes long.
    pub uploading: Uploading,
    /// The tags that may never go.
    pub immutable: Immutable,
    /// How long what nobody pulls stays where no rule says so. `None`: everywhere for ever.
    pub kept: Option<Kept>,
    /// Who is told of each tag and manifest that retention removes.
    pub events: Arc<dyn Events>,
    /// Where retention leaves a line for each of them.
    pub audit: Arc<dyn Audit>,
    /// Counters.
    pub metrics: CollectMetrics,
}

/// The collector. Cheap to clone; clones are the same one.
#[derive(Clone)]
pub struct Collector(Arc<Shared>);

struct Shared {
    parts: Parts,
    options: CollectOptions,
    running: tokio::sync::Mutex<()>,
    stopping: AtomicBool,
    /// When the touched of the leases were rotated last.
    rotated: Mutex<Instant>,
    last: Mutex<Option<CollectReport>>,
}

/// A run is under way; there is one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a collection is running; ask for its report when it has ended")]
pub struct Busy;

/// One run.
pub(crate) struct Run<'a> {
    pub(crate) parts: &'a Parts,
    pub(crate) options: &'a CollectOptions,
    pub(crate) report: CollectReport,
    stopping: &'a AtomicBool,
}

impl Run<'_> {
    /// Whether the server is stopping: a run ends where it is.
    pub(crate) fn is_over(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Milliseconds since 1970, `age` ago.
    pub(crate) fn ago(age: Duration) -> u64 {
        shoal_metadata::clock::now().saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
    }

    pub(crate) fn fault(&mut self, what: impl std::fmt::Display) {
        let what = what.to_string();
        tracing::warn!(what, "the collector passed over something");
        self.report.faults.push(what);
    }
}

impl Collector {
    /// A collector that has not run yet. What happened before now is not remembered, so nothing goes for one grace.
    pub fn new(parts: Parts, options: CollectOptions) -> Self {
        Self(Arc::new(Shared {
            parts,
            options,
            running: tokio::sync::Mutex::default(),
            stopping: AtomicBool::new(false),
            rotated: Mutex::new(Instant::now()),
            last: Mutex::default(),
        }))
    }

    /// Collects now. The run goes on to its end when the future is dropped.
    ///
    /// # Errors
    /// [`Busy`].
    pub async fn collect(&self, dry_run: bool) -> Result<CollectReport, Busy> {
        let shared = Arc::clone(&self.0);
        // A removal that was begun holds a claim until it has ended; so it must not be dropped half-way.
        let run = tokio::spawn(async move { shared.run(dry_run).await });
        run.await.unwrap_or(Err(Busy))
    }

    /// What the last run that was not dry did.
    pub fn last(&self) -> Option<CollectReport> {
        self.0.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Collects from time to time, until [`Self::stop`]. Never ends when nothing is to be done on time.
    pub async fn run(&self) {
        let Some(every) = self.0.options.every else { return std::future::pending().await };
        let mut period = tokio::time::interval(every);
        period.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        period.tick().await;
        while !self.0.stopping.load(Ordering::Relaxed) {
            period.tick().await;
            // Busy: an operator's run does as well.
            _ = self.collect(false).await;
        }
    }

    /// Lets a run end at its next step, and none begin.
    pub async fn stop(&self) {
        self.0.stopping.store(true, Ordering::Relaxed);
        drop(self.0.running.lock().await);
    }
}

impl Shared {
    async fn run(&self, dry_run: bool) -> Result<CollectReport, Busy> {
        let _running = self.running.try_lock().map_err(|_| Busy)?;
        let began = Instant::now();
        self.rotate();
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut run = Run {
            parts: &self.parts,
            options: &self.options,
            report: CollectReport::begin(dry_run, since_epoch.as_secs()),
            stopping: &self.stopping,
        };
        expire::expire(&mut run).await;
        links::unlink(&mut run).await;
        content::free(&mut run).await;
        let mut report = run.report;
        report.end(began.elapsed());
        self.tell(&report);
        Ok(report)
    }

    /// Forgets who was told what before the last rotation, once in each grace.
    fn rotate(&self) {
        let mut rotated = self.rotated.lock().unwrap_or_else(PoisonError::into_inner);
        if rotated.elapsed() >= self.options.grace {
            *rotated = Instant::now();
            self.parts.leases.rotate();
        }
    }

    fn tell(&self, report: &CollectReport) {
        tracing::info!(
            dry_run = report.dry_run,
            tags = report.tags.count,
            manifests = report.manifests.count,
            links = report.links.count,
            blobs = report.blobs.count,
            bytes = report.bytes_freed,
            busy = report.busy,
            faults = report.faults.count,
            took_ms = report.took_ms,
            "collected"
        );
        if report.dry_run {
            return;
        }
        let metrics = &self.parts.metrics;
        metrics.runs.inc();
        metrics.blobs.inc_by(report.blobs.count);
        metrics.bytes.inc_by(report.bytes_freed);
        metrics.faults.inc_by(report.faults.count);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(report.clone());
    }
}
