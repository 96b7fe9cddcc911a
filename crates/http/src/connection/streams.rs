//! The requests of one HTTP/2 connection, each in a task of its own.
//!
//! HTTP/2 lets a client hold many requests at once and take answers by the byte. So every stream is watched: one whose client does
//! not take its answer is reset alone, and a client that mostly cancels (a reset flood, CVE-2023-44487) loses its connection.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::rt::Executor;
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// How many more requests than it lets finish a client may cancel. A client that stops a whole pull cancels one per layer.
const CANCELLED_MAX: u64 = 128;

/// What an answer and the task that carries it tell each other.
#[derive(Debug, Default)]
pub(super) struct StreamWatch {
    /// How often the next part of the body was asked for.
    asked: AtomicU64,
    /// A part was handed over, and the next has not been asked for.
    waiting: AtomicBool,
    answered: AtomicBool,
}

impl StreamWatch {
    /// The next part is asked for: the client takes what it gets.
    pub(super) fn asked(&self) {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.waiting.store(false, Ordering::Relaxed);
    }

    /// A part was handed over.
    pub(super) fn handed(&self) {
        self.waiting.store(true, Ordering::Relaxed);
    }

    /// The handler has answered.
    pub(super) fn answered(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }

    /// Returns when the client has not taken a part for `limit` (and at most twice that).
    async fn stalled(&self, limit: Duration) {
        loop {
            let before = self.asked.load(Ordering::Relaxed);
            tokio::time::sleep(limit).await;
            if self.waiting.load(Ordering::Relaxed) && self.asked.load(Ordering::Relaxed) == before {
                return;
            }
        }
    }
}

/// Runs the requests of a connection. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Streams(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    stall_timeout: Duration,
    /// The watch of the request that hyper hands over next: it calls the service and then the executor, without a pause.
    next: Mutex<Option<Arc<StreamWatch>>>,
    tasks: Mutex<JoinSet<()>>,
    cancelled: AtomicU64,
    finished: AtomicU64,
    flooded: Notify,
}

impl Streams {
    pub(super) fn new(stall_timeout: Duration) -> Self {
        Self(Arc::new(Inner {
            stall_timeout,
            next: Mutex::new(None),
            tasks: Mutex::new(JoinSet::new()),
            cancelled: AtomicU64::new(0),
            finished: AtomicU64::new(0),
            flooded: Notify::new(),
        }))
    }

    /// The watch of a request whose task is started next.
    pub(super) fn watch_next(&self) -> Arc<StreamWatch> {
        let watch = Arc::new(StreamWatch::default());
        *self.0.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&watch));
        watch
    }

    /// Returns when the client cancels too much.
    pub(super) async fn flooded(&self) {
        self.0.flooded.notified().await;
    }

    /// Ends all requests.
    pub(super) fn abort(&self) {
        self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}

impl Inner {
    fn ended(&self, watch: &StreamWatch) {
        if watch.answered.load(Ordering::Relaxed) {
            self.finished.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let cancelled = self.cancelled.fetch_add(1, Ordering::Relaxed) + 1;
        if cancelled > self.finished.load(Ordering::Relaxed) + CANCELLED_MAX {
            self.flooded.notify_one();
        }
    }
}

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        let inner = Arc::clone(&self.0);
        let watch = self.0.next.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default();
        let mut tasks = self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            tokio::select! {
                () = future => {}
                () = watch.stalled(inner.stall_timeout) => tracing::debug!("an HTTP/2 client does not take its answer; the stream is reset"),
            }
            inner.ended(&watch);
        });
    }
}
