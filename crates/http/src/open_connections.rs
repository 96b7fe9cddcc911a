//! The open connections of a listener, and who makes room when there are too many.
//!
//! A connection without a request in service costs its client nothing to open again, so when all places are taken the one that has
//! waited longest is closed: idle ones, and those that never finish their header (slowloris). Requests in service keep their place.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use shoal_telemetry::rooms::http::ListenerMetrics;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Shutdown;
use crate::connection::{Phase, Watch};

/// Nobody is sent away before he had this long: a few round trips, in which an honest client gets its request across.
const WAIT_MIN: Duration = Duration::from_millis(100);

/// How often a place is looked for while there is none.
const RETRY: Duration = Duration::from_millis(50);

/// The open connections. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct OpenConnections {
    slots: Arc<Semaphore>,
    watches: Arc<Mutex<Watches>>,
    metrics: ListenerMetrics,
}

#[derive(Debug, Default)]
struct Watches {
    next: u64,
    open: HashMap<u64, Arc<Watch>>,
}

impl OpenConnections {
    pub(crate) fn new(connections_max: usize, metrics: ListenerMetrics) -> Self {
        Self { slots: Arc::new(Semaphore::new(connections_max)), watches: Arc::default(), metrics }
    }

    /// A place for one more connection; `None` on shutdown. Sends somebody away when there is none.
    pub(crate) async fn enter(&self, shutdown: &Shutdown) -> Option<OpenConnection> {
        loop {
            if let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() {
                return Some(self.open(slot));
            }
            self.evict_longest_waiting();
            tokio::select! {
                () = shutdown.wait() => return None,
                slot = Arc::clone(&self.slots).acquire_owned() => return slot.ok().map(|slot| self.open(slot)),
                () = tokio::time::sleep(RETRY) => {}
            }
        }
    }

    fn open(&self, slot: OwnedSemaphorePermit) -> OpenConnection {
        let watch = Arc::new(Watch::new());
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        let id = watches.next;
        watches.next += 1;
        watches.open.insert(id, Arc::clone(&watch));
        self.metrics.connections.inc();
        OpenConnection { id, watch, all: self.clone(), _slot: slot }
    }

    /// Closes the connection that has been without a request in service for longest, when there is one.
    pub(crate) fn evict_longest_waiting(&self) {
        let watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting =
            watches.open.values().filter(|watch| watch.phase() != Phase::Busy && !watch.is_leaving());
        let longest = waiting.map(|watch| (watch.waited(), watch)).max_by_key(|(waited, _)| *waited);
        if let Some((waited, watch)) = longest
            && waited >= WAIT_MIN
        {
            tracing::debug!(?waited, "the connection that has waited longest is closed to make room");
            watch.evict();
        }
    }
}

/// The place of one connection, free again when this is dropped.
#[derive(Debug)]
pub(crate) struct OpenConnection {
    id: u64,
    watch: Arc<Watch>,
    all: OpenConnections,
    _slot: OwnedSemaphorePermit,
}

impl OpenConnection {
    pub(crate) fn watch(&self) -> Arc<Watch> {
        Arc::clone(&self.watch)
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.all.watches.lock().unwrap_or_else(PoisonError::into_inner).open.remove(&self.id);
        self.all.metrics.connections.dec();
    }
}
