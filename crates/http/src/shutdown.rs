//! One signal from the program to everything that runs: finish what you do and stop.

use tokio::sync::watch;

/// A switch that is thrown once. Clones share it.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Sender<bool>);

impl Shutdown {
    /// A switch that has not been thrown.
    pub fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    /// Throws the switch. Later calls change nothing.
    pub fn trigger(&self) {
        self.0.send_replace(true);
    }

    /// Whether the switch was thrown.
    pub fn is_triggered(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns when the switch is thrown, at once if it was before.
    pub async fn wait(&self) {
        // The sender lives in self, so the channel cannot close while we wait.
        let _ = self.0.subscribe().wait_for(|thrown| *thrown).await;
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_waiter_returns_before_and_after() {
        let shutdown = Shutdown::new();
        let early = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { shutdown.wait().await }
        });
        assert!(!shutdown.is_triggered());
        shutdown.trigger();
        early.await.unwrap();
        shutdown.wait().await;
        assert!(shutdown.is_triggered());
    }
}
