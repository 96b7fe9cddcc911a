//! The audit log: one line of JSON for every write and every refusal, in a file that only grows.
//!
//! One thread writes. Records wait in a bounded queue for it, and requests wait for their record, so a disk that is slow slows writes
//! down and loses nothing. When the file cannot be written there are two policies: by default the change is made, the record is
//! counted as lost, and a line says how many were when the file can be written again; with `required` changes are refused instead,
//! and a record is flushed to the disk before its change is acknowledged.

mod file;
mod line;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::Serialize;
use shoal_api::audit::{Audit, AuditRecord, AuditUnavailable};
use shoal_telemetry::EventsMetrics;
use shoal_telemetry::rooms::events::AuditResult;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};

use crate::error::EventsError;
use file::AuditFile;

/// Records that wait for the thread. Each belongs to a request that waits as well, so this bounds nothing that is not bounded by the
/// connections; it only has to be more than one write gathers.
const WAITING_MAX: usize = 1024;
/// Records in one write.
const BATCH_MAX: usize = 256;
/// How often a file that could not be written is tried again when no record comes.
const RETRY_PERIOD: Duration = Duration::from_secs(1);
/// How often the queue is looked at meanwhile: as long as a record may wait more than it has to while the file is broken.
const LOOK_PERIOD: Duration = Duration::from_millis(20);

/// What an operator can set.
#[derive(Clone, Debug)]
pub struct AuditOptions {
    /// The file. Its directory must be there.
    pub file: PathBuf,
    /// Whether a change without a record is refused.
    pub required: bool,
}

/// The audit log. Clones share it; the thread ends with the last of them.
#[derive(Clone)]
pub struct AuditLog {
    sender: mpsc::Sender<Waiting>,
    shared: Arc<Shared>,
}

struct Shared {
    file: PathBuf,
    required: bool,
    /// The last write failed.
    failing: AtomicBool,
    /// Records that could not be written since the start.
    lost: AtomicU64,
    metrics: EventsMetrics,
}

/// A line and the request that waits for it.
struct Waiting {
    line: String,
    done: oneshot::Sender<bool>,
}

/// How the audit log is.
#[derive(Clone, Debug, Serialize)]
pub struct AuditStatus {
    /// The file.
    pub file: PathBuf,
    /// Whether changes are refused while it cannot be written.
    pub required: bool,
    /// Whether it can be written.
    pub writable: bool,
    /// Records that could not be written since the start.
    pub lost: u64,
}

impl AuditLog {
    /// Opens the file, makes it if it is not there, and starts the thread.
    ///
    /// # Errors
    /// [`EventsError::AuditFile`], [`EventsError::Thread`].
    pub fn open(options: AuditOptions, metrics: EventsMetrics) -> Result<Self, EventsError> {
        let file = AuditFile::open(&options.file)
            .map_err(|source| EventsError::AuditFile { path: options.file.clone(), source })?;
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let shared = Arc::new(Shared {
            file: options.file,
            required: options.required,
            failing: AtomicBool::new(false),
            lost: AtomicU64::new(0),
            metrics,
        });
        let writer = Writer { file, receiver, shared: Arc::clone(&shared), lost: 0 };
        std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer.run())
            .map_err(EventsError::Thread)?;
        Ok(Self { sender, shared })
    }

    /// How the log is now.
    pub fn status(&self) -> AuditStatus {
        AuditStatus {
            file: self.shared.file.clone(),
            required: self.shared.required,
            writable: !self.shared.failing.load(Ordering::Relaxed),
            lost: self.shared.lost.load(Ordering::Relaxed),
        }
    }

    /// Hands a record over without waiting for it, for those that may not wait: refusals, after which nothing was changed. One that
    /// finds no room is counted as lost.
    pub fn note(&self, record: &AuditRecord) {
        let (done, _) = oneshot::channel();
        if self.sender.try_send(Waiting { line: line::of(record), done }).is_err() {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
            self.shared.metrics.audit_records.of(AuditResult::Lost).inc();
        }
    }

    fn outcome(&self, written: bool) -> Result<(), AuditUnavailable> {
        if written || !self.shared.required { Ok(()) } else { Err(AuditUnavailable) }
    }
}

#[async_trait]
impl Audit for AuditLog {
    fn is_on(&self) -> bool {
        true
    }

    fn admit(&self) -> Result<(), AuditUnavailable> {
        self.outcome(!self.shared.failing.load(Ordering::Relaxed))
    }

    async fn write(&self, record: AuditRecord) -> Result<(), AuditUnavailable> {
        let (done, written) = oneshot::channel();
        let waiting = Waiting { line: line::of(&record), done };
        // The thread ends only with the last handle; were it to panic, nothing is written any more.
        let sent = self.sender.send(waiting).await.is_ok();
        self.outcome(sent && written.await.unwrap_or(false))
    }
}

/// The thread's state.
struct Writer {
    file: AuditFile,
    receiver: mpsc::Receiver<Waiting>,
    shared: Arc<Shared>,
    /// Records lost since the file could last be written.
    lost: u64,
}

impl Writer {
    fn run(mut self) {
        loop {
            let failing = self.shared.failing.load(Ordering::Relaxed);
            let Some(first) = (if failing { self.wait_or_retry() } else { self.receiver.blocking_recv() })
            else {
                return;
            };
            let mut batch = vec![first];
            while batch.len() < BATCH_MAX
                && let Ok(waiting) = self.receiver.try_recv()
            {
                batch.push(waiting);
            }
            self.write(batch);
        }
    }

    /// Waits for a record, and tries the file from time to time: with `required` no change is made until it can be written, so
    /// that there may be no record to try it with.
    fn wait_or_retry(&mut self) -> Option<Waiting> {
        let mut tried = Instant::now();
        while self.shared.failing.load(Ordering::Relaxed) {
            match self.receiver.try_recv() {
                Ok(waiting) => return Some(waiting),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => std::thread::sleep(LOOK_PERIOD),
            }
            if tried.elapsed() >= RETRY_PERIOD {
                self.write(Vec::new());
                tried = Instant::now();
            }
        }
        self.receiver.blocking_recv()
    }

    fn write(&mut self, batch: Vec<Waiting>) {
        let mut text = if self.lost > 0 { line::gap(self.lost) } else { String::new() };
        text.extend(batch.iter().map(|waiting| waiting.line.as_str()));
        let written = self.file.append(text.as_bytes(), self.shared.required);
        let count = batch.len() as u64;
        let records = &self.shared.metrics.audit_records;
        match &written {
            Ok(()) => {
                records.of(AuditResult::Written).inc_by(count);
                if self.shared.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!(lost = self.lost, "the audit log can be written again");
                }
                self.lost = 0;
            }
            Err(error) => {
                records.of(AuditResult::Lost).inc_by(count);
                self.lost += count;
                self.shared.lost.fetch_add(count, Ordering::Relaxed);
                if !self.shared.failing.swap(true, Ordering::Relaxed) {
                    let (file, required) = (self.shared.file.display().to_string(), self.shared.required);
                    tracing::error!(file, required, %error, "the audit log cannot be written");
                }
            }
        }
        for waiting in batch {
            // A request whose client has gone does not wait any more.
            _ = waiting.done.send(written.is_ok());
        }
    }
}
