//! How far each endpoint is in the queue of events.
//!
//! The numbers are kept in memory and written to a file before events leave the queue. A crash may set an endpoint back to events
//! that it has had: they are delivered again, never skipped.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use shoal_metadata::Outbox;
use tokio::sync::Notify;

use crate::error::EventsError;

/// The positions of all endpoints.
pub(super) struct Positions {
    path: PathBuf,
    /// By the endpoint's name, the number of the last event that it is done with.
    reached: Mutex<BTreeMap<String, u64>>,
    /// Rings when a position has changed.
    pub(super) moved: Notify,
}

/// The file.
#[derive(Serialize, Deserialize)]
struct Saved {
    positions: BTreeMap<String, u64>,
}

impl Positions {
    /// Reads the file. An endpoint that is not in it is new and is told what happens from now on; when there is no file, every
    /// endpoint is told everything that waits.
    pub(super) async fn open(
        path: PathBuf,
        names: Vec<String>,
        outbox: &dyn Outbox,
    ) -> Result<Self, EventsError> {
        let newest = outbox.outbox_last().await?;
        let saved = read(&path).filter(|saved| saved.is_of(newest));
        let mut reached = BTreeMap::new();
        for name in names {
            let position = match &saved {
                None => 0,
                Some(saved) => saved.positions.get(&name).copied().unwrap_or(newest),
            };
            reached.insert(name, position);
        }
        Ok(Self { path, reached: Mutex::new(reached), moved: Notify::new() })
    }

    /// How far an endpoint is.
    pub(super) fn of(&self, name: &str) -> u64 {
        self.lock().get(name).copied().unwrap_or(0)
    }

    /// Notes that an endpoint is done with everything up to the event `id`.
    pub(super) fn advance(&self, name: &str, id: u64) {
        if let Some(position) = self.lock().get_mut(name) {
            *position = id.max(*position);
        }
        self.moved.notify_one();
    }

    /// What every endpoint is done with.
    pub(super) fn reached_by_all(&self) -> u64 {
        self.lock().values().copied().min().unwrap_or(0)
    }

    /// Writes the file: whole or not at all. It need not survive a power cut, which only sets endpoints back.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn save(&self) -> std::io::Result<()> {
        let saved = Saved { positions: self.lock().clone() };
        let staged = self.path.with_extension("new");
        let mut file = std::fs::File::create(&staged)?;
        file.write_all(&serde_json::to_vec(&saved)?)?;
        drop(file);
        std::fs::rename(&staged, &self.path)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.reached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Saved {
    /// Whether these are positions in a queue whose newest event ever is `newest`, and not in one that a restore has replaced.
    fn is_of(&self, newest: u64) -> bool {
        let beyond = self.positions.values().any(|position| *position > newest);
        if beyond {
            tracing::warn!(
                "the positions of webhooks are those of another database; what waits is delivered again"
            );
        }
        !beyond
    }
}

/// The file's content; `None` when there is none that can be used.
fn read(path: &Path) -> Option<Saved> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) => {
            if error.kind() != std::io::ErrorKind::NotFound {
                tracing::warn!(path = %path.display(), %error, "the positions of webhooks cannot be read; what waits is delivered again");
            }
            return None;
        }
    };
    serde_json::from_slice(&text)
        .inspect_err(|error| {
            tracing::warn!(path = %path.display(), %error, "the positions of webhooks are damaged; what waits is delivered again");
        })
        .ok()
}
