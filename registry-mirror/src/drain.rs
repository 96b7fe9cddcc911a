//! An agent that gives nothing to others any more, because its machine is about to be stopped or is needed for something else.
//!
//! Drained, it is not announced for what it has, lets nobody join for pieces, and is not ready. Its own machine is served as before: a
//! runtime that asks it must not be worse off. Until the next start or until the operator says otherwise.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use shoal_telemetry::Health;

/// The check that says so.
const CHECK: &str = "drain";

/// Whether this agent is drained. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Drain {
    drained: Arc<AtomicBool>,
    health: Health,
}

impl Drain {
    /// It is not.
    pub(crate) fn new(health: Health) -> Self {
        Self { drained: Arc::default(), health }
    }

    /// Whether it is.
    pub(crate) fn is_on(&self) -> bool {
        self.drained.load(Ordering::Relaxed)
    }

    /// Begins or ends it; false when that changes nothing.
    pub(crate) fn set(&self, on: bool) -> bool {
        if self.drained.swap(on, Ordering::Relaxed) == on {
            return false;
        }
        tracing::info!(on, "drained by the operator, or no longer");
        let outcome =
            if on { Err("drained by the operator; pulls of this machine go on".to_owned()) } else { Ok(()) };
        self.health.set(CHECK, outcome);
        true
    }
}
