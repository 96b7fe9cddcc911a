//! Connecting to peers, a bounded number at once, each within its time.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use shoal_swarm_protocol::Handshake;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tracing::debug;

use crate::event::{Arrival, Event};
use crate::handshake::{Refusal, shake};
use crate::limits::{DIALS_MAX, Times};

/// Dials on the core's behalf.
pub(crate) struct Dialer {
    ours: Handshake,
    times: Times,
    slots: Arc<Semaphore>,
    events: mpsc::Sender<Event>,
}

impl Dialer {
    /// A dialer that introduces itself with `ours`.
    pub(crate) fn new(ours: Handshake, times: Times, events: mpsc::Sender<Event>) -> Self {
        Self { ours, times, slots: Arc::new(Semaphore::new(DIALS_MAX)), events }
    }

    /// Dials in the background; the answer is [`Event::Connected`] or [`Event::DialFailed`]. Without a free slot it fails at once:
    /// the core tries again later, when it still wants to.
    pub(crate) fn dial(&self, addr: SocketAddr) {
        let (ours, times, events) = (self.ours, self.times.clone(), self.events.clone());
        let slot = Arc::clone(&self.slots).try_acquire_owned();
        tokio::spawn(async move {
            let event = match slot {
                Ok(_slot) => attempt(addr, &ours, &times).await,
                Err(_) => Event::DialFailed { addr },
            };
            let _ = events.send(event).await;
        });
    }
}

async fn attempt(addr: SocketAddr, ours: &Handshake, times: &Times) -> Event {
    match connect(addr, ours, times).await {
        Ok((stream, theirs)) => {
            Event::Connected(Arrival { stream, peer: theirs.peer_id, addr, outbound: true })
        }
        Err(refusal) => {
            debug!(%addr, %refusal, "could not connect to a peer");
            Event::DialFailed { addr }
        }
    }
}

async fn connect(
    addr: SocketAddr,
    ours: &Handshake,
    times: &Times,
) -> Result<(TcpStream, Handshake), Refusal> {
    let connecting = timeout(times.dial, TcpStream::connect(addr));
    let mut stream = connecting.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    let theirs = shake(&mut stream, ours, true, times.handshake).await?;
    Ok((stream, theirs))
}
