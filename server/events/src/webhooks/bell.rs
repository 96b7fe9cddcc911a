//! Tells the couriers that something is about to be queued.
//!
//! It rings when an event is made, which is a moment before its transaction commits, and nobody hears of the commit itself. So a
//! courier that heard it looks several times in growing steps before it goes back to looking once a second.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// How often a courier looks when it has heard nothing: finds what was queued by transactions that took longest.
const LOOK_PERIOD: Duration = Duration::from_secs(1);
/// The first and the longest step after the bell: a commit takes a few milliseconds, and a busy disk some hundred.
const STEP_MIN: Duration = Duration::from_millis(5);
const STEP_MAX: Duration = Duration::from_millis(200);

/// The bell. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Bell(Arc<watch::Sender<()>>);

/// One who listens.
pub(super) struct Listener {
    heard: watch::Receiver<()>,
    /// The next look after the bell, while steps are left.
    step: Option<Duration>,
}

impl Bell {
    pub(super) fn ring(&self) {
        self.0.send_replace(());
    }

    pub(super) fn listen(&self) -> Listener {
        Listener { heard: self.0.subscribe(), step: None }
    }
}

impl Listener {
    /// Waits until it is worth looking again.
    pub(super) async fn wait(&mut self) {
        let wait = self.step.unwrap_or(LOOK_PERIOD);
        let until = Instant::now() + wait;
        tokio::select! {
            // The sender lives as long as the couriers; were it gone, the clock would still tick.
            Ok(()) = self.heard.changed() => {
                self.step = Some(STEP_MIN);
                tokio::time::sleep(STEP_MIN).await;
            }
            () = tokio::time::sleep_until(until) => {
                self.step = self.step.map(|step| step * 2).filter(|step| *step <= STEP_MAX);
            }
        }
    }
}
