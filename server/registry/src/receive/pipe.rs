//! The one way of batches into an upload, in order.
//!
//! While there is work a blocking thread does it, and goes on with the batch that waits without asking anybody: a thread that had to be
//! woken for each batch would stand still for a tenth of the time. When there is no work the thread is free for others, so a slow
//! client holds none.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shoal_store::Upload;
use tokio::sync::Notify;

use super::Gathered;
use crate::context::Context;
use crate::error::{self, Refusal};
use crate::lanes;

/// An upload into which batches go.
pub(super) struct Pipe {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Told whenever a batch was taken, and when the thread ends.
    changed: Notify,
}

struct State {
    upload: Place,
    /// The one batch that waits.
    next: Option<Gathered>,
}

/// Where the upload is.
enum Place {
    Here(Upload),
    /// With the thread.
    Away,
    /// It is suspended: a write has failed, or the thread died.
    Lost(Option<Refusal>),
}

impl Pipe {
    pub(super) fn new(upload: Upload) -> Self {
        let state = Mutex::new(State { upload: Place::Here(upload), next: None });
        Self { shared: Arc::new(Shared { state, changed: Notify::new() }) }
    }

    /// Hands over a batch; waits while one waits already.
    pub(super) async fn push(&self, cx: &Context, bytes: Gathered) -> Result<(), Refusal> {
        if bytes.len() == 0 {
            return Ok(());
        }
        let mut bytes = Some(bytes);
        loop {
            let changed = self.shared.changed.notified();
            match self.shared.offer(&mut bytes)? {
                Offered::Taken => return Ok(()),
                Offered::Start(mut worker) => {
                    worker.place = Some(cx.lanes.pushes.thread().await?);
                    // Nobody waits for the task: the worker tells when it ends, in whatever way.
                    drop(tokio::task::spawn_blocking(move || worker.run()));
                    return Ok(());
                }
                Offered::Full => changed.await,
            }
        }
    }

    /// Waits until everything is written, and gives the upload back.
    pub(super) async fn finish(self) -> Result<Upload, Refusal> {
        loop {
            let changed = self.shared.changed.notified();
            if let Some(upload) = self.shared.reclaim()? {
                return Ok(upload);
            }
            changed.await;
        }
    }
}

impl Shared {
    fn hold(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the batch if there is room for it.
    fn offer(self: &Arc<Self>, bytes: &mut Option<Gathered>) -> Result<Offered, Refusal> {
        let mut state = self.hold();
        match std::mem::replace(&mut state.upload, Place::Away) {
            Place::Here(upload) => {
                let work = bytes.take().map(|bytes| (upload, bytes));
                Ok(Offered::Start(Worker { shared: self.clone(), work, has_upload: true, place: None }))
            }
            Place::Away if state.next.is_some() => Ok(Offered::Full),
            Place::Away => {
                state.next = bytes.take();
                Ok(Offered::Taken)
            }
            Place::Lost(refusal) => Err(state.lost(refusal)),
        }
    }

    /// The upload, if all is written.
    fn reclaim(&self) -> Result<Option<Upload>, Refusal> {
        let mut state = self.hold();
        match std::mem::replace(&mut state.upload, Place::Away) {
            Place::Here(upload) => Ok(Some(upload)),
            Place::Away => Ok(None),
            Place::Lost(refusal) => Err(state.lost(refusal)),
        }
    }
}

impl State {
    /// Why the upload is lost. Only the first who asks gets the reason, and nobody asks twice.
    fn lost(&mut self, refusal: Option<Refusal>) -> Refusal {
        self.upload = Place::Lost(None);
        refusal.unwrap_or_else(|| error::internal("a task of the store ended early", &"no result"))
    }
}

/// What came of an offer.
enum Offered {
    Taken,
    /// Nobody writes: this worker has to be started.
    Start(Worker),
    Full,
}

/// Writes batches while there are any.
struct Worker {
    shared: Arc<Shared>,
    /// What to begin with.
    work: Option<(Upload, Gathered)>,
    /// Whether it still has to say what became of the upload. Once it has, the upload may be with the next worker already.
    has_upload: bool,
    /// Its right to a thread.
    place: Option<lanes::Place>,
}

impl Worker {
    fn run(mut self) {
        self.work();
    }

    fn work(&mut self) {
        let Some((mut upload, mut bytes)) = self.work.take() else { return };
        loop {
            if let Err(error) = write(&mut upload, bytes) {
                // What was written before stays, so that the client can go on when there is room again.
                upload.suspend();
                self.has_upload = false;
                self.shared.hold().upload = Place::Lost(Some(error::of_push(&error)));
                return;
            }
            let mut state = self.shared.hold();
            match state.next.take() {
                Some(next) => bytes = next,
                None => {
                    self.has_upload = false;
                    state.upload = Place::Here(upload);
                    return;
                }
            }
            drop(state);
            self.shared.changed.notify_waiters();
        }
    }
}

impl Drop for Worker {
    /// Also after a panic, so that nobody waits for ever.
    fn drop(&mut self) {
        if self.has_upload {
            self.shared.hold().upload = Place::Lost(None);
        }
        self.shared.changed.notify_waiters();
    }
}

fn write(upload: &mut Upload, bytes: Gathered) -> shoal_store::Result<()> {
    match bytes {
        Gathered::Large(buffer) => upload.write_buffer(buffer),
        Gathered::Frames { frames, .. } => frames.into_iter().try_for_each(|frame| upload.write(&frame)),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use shoal_store::{Options, Store};

    use super::*;

    fn batch() -> Option<Gathered> {
        Some(Gathered::Frames { frames: vec![Bytes::from_static(b"bytes")], len: 5 })
    }

    fn started(pipe: &Pipe) -> Worker {
        match pipe.shared.offer(&mut batch()).ok() {
            Some(Offered::Start(worker)) => worker,
            _ => panic!("somebody else has the upload"),
        }
    }

    #[test]
    fn a_worker_that_ends_late_does_not_take_the_upload_of_the_next_one_for_lost() {
        let directory = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(directory.path(), Options::durable()).unwrap();
        let pipe = Pipe::new(store.open_upload(&store.create_upload("label").unwrap()).unwrap());
        let mut first = started(&pipe);
        first.work();
        let mut second = started(&pipe);
        drop(first);
        second.work();
        assert_eq!(pipe.shared.reclaim().ok().flatten().map(|upload| upload.size()), Some(10));
    }

    #[test]
    fn a_worker_that_never_worked_leaves_no_one_waiting() {
        let directory = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(directory.path(), Options::durable()).unwrap();
        let pipe = Pipe::new(store.open_upload(&store.create_upload("label").unwrap()).unwrap());
        drop(started(&pipe));
        assert!(pipe.shared.reclaim().is_err());
    }
}
