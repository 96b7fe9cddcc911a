//! Disk work, off the async threads: a queue of jobs and a few blocking threads that empty it.
//!
//! A thread takes job after job until there are none, so that under load a piece costs no hand-over to a fresh thread. Reads by
//! clients go before everything else, because somebody waits for each of them; the rest is first come, first served.

mod job;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use shoal_oci::Digest;
use shoal_store::{ErrorKind, FileRange, Store};
use shoal_swarm_types::PieceIndex;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::event::Event;
use crate::handles::Handles;
use crate::limits::{Bounds, DISK_QUEUE_MAX};
pub(crate) use job::{Job, Landed, Load};

/// Disk workers. Clones share them.
#[derive(Clone)]
pub(crate) struct Disk(Arc<Shared>);

struct Shared {
    store: Store,
    handles: Handles,
    events: mpsc::Sender<Event>,
    workers_max: usize,
    queue: Mutex<Queue>,
    idle: Notify,
}

#[derive(Default)]
struct Queue {
    urgent: VecDeque<Errand>,
    jobs: VecDeque<Job>,
    workers: usize,
}

/// A caller's own work, which reports by itself.
type Errand = Box<dyn FnOnce() + Send>;

enum Work {
    Errand(Errand),
    Job(Job),
}

impl Disk {
    /// Workers for `store` that report to `events`.
    pub(crate) fn new(store: Store, bounds: &Bounds, events: mpsc::Sender<Event>) -> Self {
        Self(Arc::new(Shared {
            store,
            handles: Handles::default(),
            events,
            workers_max: bounds.disk_workers.max(1),
            queue: Mutex::default(),
            idle: Notify::new(),
        }))
    }

    /// The store.
    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    /// Open files.
    pub(crate) fn handles(&self) -> &Handles {
        &self.0.handles
    }

    /// Queues a job whose result reaches the actor as [`Event::Disk`].
    pub(crate) fn submit(&self, job: Job) {
        let mut queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.jobs.push_back(job);
        self.wake(&mut queue);
    }

    /// Whether reads for peers should be put off.
    fn is_overloaded(&self) -> bool {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner).jobs.len() >= DISK_QUEUE_MAX
    }

    /// Runs `work` on a worker, before queued jobs, unless the caller has gone by then. `None` when the workers are gone.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> T + Send + 'static,
    ) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        let store = self.0.store.clone();
        let errand = Box::new(move || {
            if !reply.is_closed() {
                // The caller may leave while we work.
                let _ = reply.send(work(&store));
            }
        });
        {
            let mut queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.urgent.push_back(errand);
            self.wake(&mut queue);
        }
        answer.await.ok()
    }

    /// A piece of `len` bytes for a peer: where it lies, when it may go out unread; else it is read and verified now.
    ///
    /// # Errors
    /// The store's; [`ErrorKind::Busy`] when the disk cannot keep up.
    pub(crate) async fn load(&self, digest: Digest, index: PieceIndex, len: u64) -> Result<Load, ErrorKind> {
        if let Some(storage) = self.0.handles.get(&digest)
            && let Some(range) = storage.piece_to_send(index)
            && range.len == len
        {
            return Ok(Load::File(range));
        }
        if self.is_overloaded() {
            return Err(ErrorKind::Busy);
        }
        let (reply, answer) = oneshot::channel();
        self.submit(Job::Load { digest, index, reply });
        match answer.await {
            Ok(Ok(load)) if load.len() == len => Ok(load),
            Ok(Ok(_)) => Err(ErrorKind::Invalid),
            Ok(Err(error)) => Err(error.kind()),
            // The runtime ends.
            Err(_) => Err(ErrorKind::Busy),
        }
    }

    /// Brings bytes into memory.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) async fn warm(&self, range: FileRange) -> std::io::Result<()> {
        let warmed = self.run(move |_| range.warm()).await;
        warmed.unwrap_or_else(|| Err(std::io::Error::other("the disk workers are gone")))
    }

    /// Waits until no work is under way, at most for `limit`. True when everything is done.
    pub(crate) async fn drained(&self, limit: Duration) -> bool {
        let wait = async {
            loop {
                let idle = self.0.idle.notified();
                tokio::pin!(idle);
                // Registered before the check, so that the last worker's word is not missed.
                idle.as_mut().enable();
                if self.0.queue.lock().unwrap_or_else(PoisonError::into_inner).workers == 0 {
                    return;
                }
                idle.await;
            }
        };
        timeout(limit, wait).await.is_ok()
    }

    fn wake(&self, queue: &mut Queue) {
        if queue.workers < self.0.workers_max {
            queue.workers += 1;
            let worker = Worker { shared: Arc::clone(&self.0), counted: true };
            spawn_blocking(move || worker.run());
        }
    }
}

/// One worker thread at work.
struct Worker {
    shared: Arc<Shared>,
    /// Whether the queue still counts this worker.
    counted: bool,
}

impl Worker {
    fn run(mut self) {
        while let Some(work) = self.next() {
            match work {
                Work::Errand(errand) => errand(),
                Work::Job(job) => {
                    if let Some(done) = job.run(&self.shared) {
                        // Fails only when the actor is gone.
                        let _ = self.shared.events.blocking_send(Event::Disk(done));
                    }
                }
            }
        }
    }

    /// The next work. Without any, the worker is counted out under the same lock, so that whoever queues something afterwards
    /// starts another.
    fn next(&mut self) -> Option<Work> {
        let mut queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(errand) = queue.urgent.pop_front() {
            return Some(Work::Errand(errand));
        }
        if let Some(job) = queue.jobs.pop_front() {
            return Some(Work::Job(job));
        }
        queue.workers -= 1;
        self.counted = false;
        drop(queue);
        self.shared.idle.notify_waiters();
        None
    }
}

impl Drop for Worker {
    /// A worker that ended by a panic, or was never run because the runtime stopped, is no longer counted either.
    fn drop(&mut self) {
        if self.counted {
            self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner).workers -= 1;
            self.shared.idle.notify_waiters();
        }
    }
}
