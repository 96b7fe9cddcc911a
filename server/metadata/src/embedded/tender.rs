//! The thread for what has to be done now and then, and holds up nobody: folding the log, writing down pulls.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::pulls::{self, Pulls};
use super::writer::Door;
use super::{log, schema};
use crate::Result;

/// How long pulls stay in memory.
const PULLS_WAIT_MAX: Duration = Duration::from_secs(60);

/// Calls that may wait: while one of each kind waits, more say nothing new.
pub(super) const CALLS_LEN: usize = 2;

/// Why the thread is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wake {
    /// The log is long.
    Log,
    /// Many pulls wait to be written.
    Pulls,
    /// The engine closes.
    Stop,
}

/// The door to the thread.
pub(super) struct Tender {
    calls: SyncSender<Wake>,
    thread: Option<JoinHandle<()>>,
}

impl Tender {
    pub(super) fn start(
        database: &Path,
        door: Door,
        pulls: Arc<Pulls>,
        calls: SyncSender<Wake>,
        called: Receiver<Wake>,
    ) -> Result<Self> {
        let round = Round { connection: schema::open_tender(database)?, door, pulls };
        let thread = super::readers::spawn("metadata-tend", move || round.run(&called))?;
        Ok(Self { calls, thread: Some(thread) })
    }

    /// Calls the thread, unless calls wait already.
    pub(super) fn wake(&self, why: Wake) {
        let _ = self.calls.try_send(why);
    }
}

impl Drop for Tender {
    fn drop(&mut self) {
        let _ = self.calls.send(Wake::Stop); // an error: the thread has ended already
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // a panic there was reported there
        }
    }
}

struct Round {
    connection: Connection,
    door: Door,
    pulls: Arc<Pulls>,
}

impl Round {
    fn run(&self, called: &Receiver<Wake>) {
        let mut written = Instant::now();
        loop {
            let left = PULLS_WAIT_MAX.saturating_sub(written.elapsed());
            match called.recv_timeout(left) {
                Ok(Wake::Log) => self.fold_log(),
                Ok(Wake::Pulls) | Err(RecvTimeoutError::Timeout) => {
                    self.write_pulls();
                    written = Instant::now();
                }
                Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => {
                    self.write_pulls();
                    return;
                }
            }
        }
    }

    fn fold_log(&self) {
        if let Err(error) = log::copy(&self.connection) {
            tracing::warn!(%error, "the metadata log could not be folded into the database");
        }
    }

    fn write_pulls(&self) {
        let taken = self.pulls.take();
        for batch in taken.chunks(pulls::BATCH_LEN) {
            let (work, kept) = (batch.to_vec(), batch.to_vec());
            if let Err(error) = self.door.run(move |transaction| pulls::write(transaction, &work)) {
                tracing::warn!(%error, pulls = kept.len(), "pulls could not be written down; they are tried again");
                self.pulls.put_back(kept);
            }
        }
    }
}
