//! The threads that read. Each has a connection of its own, and in it a snapshot per question, so that readers wait neither for the
//! writer nor for one another.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::schema;
use crate::{Error, Result};

/// Reading threads. A question takes some ten microseconds of CPU unless the disk must be asked; four keep two cores busy and
/// one slow disk read from stopping the others.
const THREADS: usize = 4;
/// Questions that may wait for a reader: some ten milliseconds of work.
const QUEUE_LEN: usize = 1024;

type Question = Box<dyn FnOnce(&Connection) + Send>;
type Waiting = Arc<Mutex<mpsc::Receiver<Question>>>;

/// The door to the reading threads.
pub(super) struct Readers {
    queue: Option<mpsc::Sender<Question>>,
    threads: Vec<JoinHandle<()>>,
}

impl Readers {
    /// Opens the connections and starts the threads.
    pub(super) fn start(database: &Path) -> Result<Self> {
        let (queue, waiting) = mpsc::channel(QUEUE_LEN);
        let waiting = Arc::new(Mutex::new(waiting));
        let mut readers = Self { queue: Some(queue), threads: Vec::with_capacity(THREADS) };
        for _ in 0..THREADS {
            let connection = schema::open_reader(database)?;
            let waiting = Arc::clone(&waiting);
            readers.threads.push(spawn("metadata-read", move || read(&connection, &waiting))?);
        }
        Ok(readers)
    }

    /// Queues a question and waits for its answer.
    pub(super) async fn run<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let question: Question = Box::new(move |connection| {
            if !reply.is_closed() {
                let _ = reply.send(work(connection)); // a caller that went away does not need the answer
            }
        });
        let queue = self.queue.as_ref().ok_or(Error::Closed)?;
        queue.send(question).await.map_err(|_| Error::Closed)?;
        answer.await.map_err(|_| Error::Closed)?
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.queue = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join(); // a panic there was reported there
        }
    }
}

fn read(connection: &Connection, waiting: &Waiting) {
    loop {
        // One thread waits in the queue, the others wait for its place.
        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        let Some(question) = next else { break };
        question(connection);
    }
}

/// Starts a named thread of the engine.
pub(super) fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(body).map_err(|error| {
        let message = format!("no thread can be started: {error}");
        Error::Database { kind: crate::ErrorKind::Unavailable, message }
    })
}
