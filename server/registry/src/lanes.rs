//! Pushes and pulls, each with a road of its own, so that neither can block the other.
//!
//! A lane bounds the requests that are being answered and, among them, those that occupy a blocking thread. Both wait when the lane
//! is full, for a stated time, and are then told to come again. Reading a large body or sending one occupies no thread and is bounded
//! by the memory of [`crate::room`] and by the listener.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{self, Refusal};
use crate::options::RegistryOptions;

/// Blocking threads that one lane may occupy. A disk that hangs holds as many, and the runtime has 512 in all, so that the other
/// lane and the rest of the server still find theirs. Group commits gain nothing from more.
const THREADS_MAX: usize = 96;

/// The two lanes.
#[derive(Debug)]
pub(crate) struct Lanes {
    /// Requests that change something.
    pub(crate) pushes: Lane,
    /// Requests that read.
    pub(crate) pulls: Lane,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Lane {
    requests: Arc<Semaphore>,
    threads: Arc<Semaphore>,
    wait_max: Duration,
}

/// A place in a lane, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place(#[expect(dead_code, reason = "held, never read")] OwnedSemaphorePermit);

impl Lanes {
    pub(crate) fn new(options: &RegistryOptions) -> Self {
        let lane = |requests| Lane {
            requests: Arc::new(Semaphore::new(requests)),
            threads: Arc::new(Semaphore::new(THREADS_MAX)),
            wait_max: options.wait_max,
        };
        Self { pushes: lane(options.pushes_max), pulls: lane(options.pulls_max) }
    }

    /// The lane of a request.
    pub(crate) fn of(&self, method: &Method) -> &Lane {
        if matches!(*method, Method::GET | Method::HEAD) { &self.pulls } else { &self.pushes }
    }
}

impl Lane {
    /// A place for a request.
    ///
    /// # Errors
    /// 503 when none became free in time.
    pub(crate) async fn enter(&self) -> Result<Place, Refusal> {
        self.place(&self.requests).await
    }

    /// A place for a blocking thread.
    ///
    /// # Errors
    /// 503 when none became free in time.
    pub(crate) async fn thread(&self) -> Result<Place, Refusal> {
        self.place(&self.threads).await
    }

    async fn place(&self, places: &Arc<Semaphore>) -> Result<Place, Refusal> {
        if let Ok(permit) = Arc::clone(places).try_acquire_owned() {
            return Ok(Place(permit));
        }
        match tokio::time::timeout(self.wait_max, Arc::clone(places).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Place(permit)),
            Ok(Err(_)) | Err(_) => Err(error::crowded()),
        }
    }
}
