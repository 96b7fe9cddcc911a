//! The way of pull events into the queue: in batches, because a read must not cost a transaction.
//!
//! Price: the events of the last moment before a crash are lost, and so are those that come faster than the disk takes them; these
//! are counted.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use shoal_http::Shutdown;
use shoal_metadata::Outbox;
use shoal_telemetry::EventsMetrics;
use tokio::sync::mpsc;

use super::bell::Bell;

/// Events that wait to be queued. With some 700 bytes each they hold 6 MiB.
const WAITING_MAX: usize = 8192;
/// Events in one transaction.
const BATCH_MAX: usize = 512;
/// How long a batch gathers: ten transactions a second are next to nothing, and a webhook is not that urgent.
const LINGER: Duration = Duration::from_millis(100);

/// Where pull events go in.
pub(super) struct Pulls {
    sender: mpsc::Sender<Bytes>,
    metrics: EventsMetrics,
}

/// Writes them to the queue.
pub(super) struct PullWriter {
    receiver: mpsc::Receiver<Bytes>,
    outbox: Arc<dyn Outbox>,
    bell: Bell,
    metrics: EventsMetrics,
}

pub(super) fn channel(outbox: Arc<dyn Outbox>, bell: Bell, metrics: EventsMetrics) -> (Pulls, PullWriter) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    (Pulls { sender, metrics: metrics.clone() }, PullWriter { receiver, outbox, bell, metrics })
}

impl Pulls {
    /// Never waits.
    pub(super) fn push(&self, payload: Bytes) {
        if self.sender.try_send(payload).is_err() {
            self.metrics.dropped.inc();
        }
    }
}

impl PullWriter {
    pub(super) async fn run(mut self, shutdown: Shutdown) {
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                received = self.receiver.recv_many(&mut batch, BATCH_MAX) => {
                    if received == 0 {
                        return;
                    }
                }
                () = shutdown.wait() => return self.drain().await,
            }
            tokio::select! {
                () = tokio::time::sleep(LINGER) => {}
                () = shutdown.wait() => {}
            }
            while batch.len() < BATCH_MAX
                && let Ok(payload) = self.receiver.try_recv()
            {
                batch.push(payload);
            }
            self.write(std::mem::take(&mut batch)).await;
        }
    }

    /// Queues what came before the end.
    async fn drain(&mut self) {
        let mut rest = Vec::new();
        while let Ok(payload) = self.receiver.try_recv() {
            rest.push(payload);
        }
        if !rest.is_empty() {
            self.write(rest).await;
        }
    }

    async fn write(&self, batch: Vec<Bytes>) {
        let count = batch.len() as u64;
        match self.outbox.outbox_append(batch).await {
            Ok(()) => self.bell.ring(),
            Err(error) => {
                tracing::warn!(count, %error, "pull events could not be queued and are lost");
                self.metrics.dropped.inc_by(count);
            }
        }
    }
}
