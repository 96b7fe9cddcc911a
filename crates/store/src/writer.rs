//! Threads that write while others hash: one buffer is on its way to the disk and through SHA-256 at the same time.
//!
//! Goal: a caller of the store's blocking words gets that overlap without knowing of it, and without a runtime. Non-goal: deep queues
//! at the disk. A buffer is handed over only to a thread that is free; when none is, its owner writes it, which is slower for one
//! push and never wrong. Price: up to [`THREADS_MAX`] threads while pushes run; they end when nothing comes for [`IDLE_MAX`].

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::locks::hold;

/// Threads at most: with this many megabytes under way a disk is at its full rate.
const THREADS_MAX: usize = 4;

/// How long a thread waits for work before it ends: longer than the pauses in a push, short enough that an idle store has none.
const IDLE_MAX: Duration = Duration::from_secs(5);

/// What a writer does.
type Work<T> = Box<dyn FnOnce() -> T + Send>;

/// What came of a write: bytes written, and why not all.
pub(crate) type Outcome = (u64, io::Result<()>);

struct Task {
    work: Work<Outcome>,
    done: SyncSender<Outcome>,
}

/// The threads of one store.
#[derive(Default)]
pub(crate) struct Writers {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    tasks: VecDeque<Task>,
    idle: usize,
    threads: usize,
    closed: bool,
}

/// A write under way, or done already.
pub(crate) enum Pending {
    Done(Outcome),
    Waits(Receiver<Outcome>),
}

impl Pending {
    /// Waits for the end of the write.
    pub(crate) fn wait(self) -> Outcome {
        match self {
            Self::Done(outcome) => outcome,
            // The sender goes without a word only when the thread panicked.
            Self::Waits(done) => {
                done.recv().unwrap_or_else(|_| (0, Err(io::Error::other("a writing thread ended early"))))
            }
        }
    }
}

impl Writers {
    /// Runs `work` on a thread that is free; on this one if there is none.
    pub(crate) fn start(&self, work: impl FnOnce() -> Outcome + Send + 'static) -> Pending {
        let (done, outcome) = sync_channel(1);
        match self.hand_over(Task { work: Box::new(work), done }) {
            None => Pending::Waits(outcome),
            Some(task) => Pending::Done((task.work)()),
        }
    }

    /// Gives the task back when nobody can take it at once.
    fn hand_over(&self, task: Task) -> Option<Task> {
        let mut state = hold(&self.inner.state);
        if state.idle > state.tasks.len() {
            state.tasks.push_back(task);
            drop(state);
            self.inner.changed.notify_one();
            return None;
        }
        if state.threads >= THREADS_MAX {
            return Some(task);
        }
        let inner = self.inner.clone();
        // The new thread cannot take the task before we let go of the state.
        let started = thread::Builder::new().name("store-writer".to_owned()).spawn(move || inner.run());
        if started.is_err() {
            return Some(task);
        }
        state.threads += 1;
        state.tasks.push_back(task);
        None
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        hold(&self.inner.state).closed = true;
        self.inner.changed.notify_all();
    }
}

impl Inner {
    fn run(&self) {
        let _alive = Alive(self);
        while let Some(Task { work, done }) = self.next() {
            // Nobody waits when the upload was dropped in a panic; the bytes are written all the same.
            _ = done.send(work());
        }
    }

    /// The next task; `None` when the thread has to end.
    fn next(&self) -> Option<Task> {
        let mut state = hold(&self.state);
        loop {
            if let Some(task) = state.tasks.pop_front() {
                return Some(task);
            }
            if state.closed {
                return None;
            }
            state.idle += 1;
            let (woken, timeout) =
                self.changed.wait_timeout(state, IDLE_MAX).unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if timeout.timed_out() && state.tasks.is_empty() {
                return None;
            }
        }
    }
}

/// Counts a thread until it ends, in whatever way.
struct Alive<'a>(&'a Inner);

impl Drop for Alive<'_> {
    fn drop(&mut self) {
        hold(&self.0.state).threads -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn tasks_run_beside_their_owner_and_without_a_free_thread_on_it() {
        let writers = Writers::default();
        let barrier = Arc::new(Barrier::new(THREADS_MAX + 1));
        let busy: Vec<_> = (0..THREADS_MAX)
            .map(|number| {
                let barrier = barrier.clone();
                writers.start(move || {
                    barrier.wait();
                    (number as u64, Ok(()))
                })
            })
            .collect();
        // All threads wait for us, so this one is done here.
        let here = thread::current().id();
        let inline = writers.start(move || (u64::from(thread::current().id() == here), Ok(())));
        assert!(matches!(inline, Pending::Done((1, Ok(())))));
        barrier.wait();
        let numbers: Vec<_> = busy.into_iter().map(|pending| pending.wait().0).collect();
        assert_eq!(numbers, [0, 1, 2, 3]);
    }

    #[test]
    fn a_task_that_panics_is_an_error_and_not_a_hang() {
        let writers = Writers::default();
        let pending = writers.start(|| panic!("a bug"));
        assert!(pending.wait().1.is_err());
        assert_eq!(writers.start(|| (1, Ok(()))).wait().0, 1);
    }
}
