//! Connecting to peers, a bounded number at once, each within its time.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use shoal_swarm_protocol::Identity;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tracing::debug;

use crate::envelope::Stream;
use crate::event::{Arrival, Event};
use crate::handshake::{Introduction, Refusal, shake};
use crate::limits::{DIALS_MAX, Times};

/// Dials on the core's behalf.
pub(crate) struct Dialer {
    us: Introduction,
    times: Times,
    slots: Arc<Semaphore>,
    events: mpsc::Sender<Event>,
}

impl Dialer {
    /// A dialer that introduces itself as `us`.
    pub(crate) fn new(us: Introduction, times: Times, events: mpsc::Sender<Event>) -> Self {
        Self { us, times, slots: Arc::new(Semaphore::new(DIALS_MAX)), events }
    }

    /// Dials in the background; the answer is [`Event::Connected`] or [`Event::DialFailed`]. Without a free slot it fails at once:
    /// the core tries again later, when it still wants to.
    pub(crate) fn dial(&self, addr: SocketAddr) {
        let (us, times, events) = (self.us.clone(), self.times.clone(), self.events.clone());
        let slot = Arc::clone(&self.slots).try_acquire_owned();
        tokio::spawn(async move {
            let event = match slot {
                Ok(_slot) => attempt(addr, &us, &times).await,
                Err(_) => Event::DialFailed { addr },
            };
            let _ = events.send(event).await;
        });
    }
}

async fn attempt(addr: SocketAddr, us: &Introduction, times: &Times) -> Event {
    match connect(addr, us, times).await {
        Ok((stream, theirs)) => {
            let Identity { peer_id, zone, .. } = theirs;
            Event::Connected(Arrival { stream, peer: peer_id, addr, outbound: true, zone })
        }
        Err(refusal) => {
            debug!(%addr, %refusal, "could not connect to a peer");
            Event::DialFailed { addr }
        }
    }
}

async fn connect(addr: SocketAddr, us: &Introduction, times: &Times) -> Result<(Stream, Identity), Refusal> {
    let connecting = timeout(times.dial, TcpStream::connect(addr));
    let stream = connecting.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    shake(stream, us, Some(addr), times.handshake).await
}
