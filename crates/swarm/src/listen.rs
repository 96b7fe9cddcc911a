//! Taking connections: many may knock, few may wait at the door, and only those who belong here come in.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::{debug, warn};

use crate::event::{Arrival, Event};
use crate::handshake::{Introduction, shake};
use crate::limits::{ACCEPT_PAUSE, HANDSHAKES_MAX, HANDSHAKES_PER_ADDRESS_MAX};

/// What is needed to receive a newcomer.
pub(crate) struct Door {
    pub(crate) us: Introduction,
    pub(crate) limit: Duration,
    pub(crate) events: mpsc::Sender<Event>,
}

/// Accepts until the task is aborted.
pub(crate) async fn accept(listener: TcpListener, door: Door) {
    let door = Arc::new(door);
    let waiting = Arc::new(Waiting::default());
    loop {
        match listener.accept().await {
            Ok((stream, from)) => match Place::take(&waiting, from.ip()) {
                Some(place) => {
                    tokio::spawn(receive(stream, from, Arc::clone(&door), place));
                }
                None => debug!(%from, "too many connections without a handshake; dropped the newest"),
            },
            Err(error) => {
                warn!(%error, "cannot accept peer connections; check the limit on open files");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn receive(stream: TcpStream, from: SocketAddr, door: Arc<Door>, place: Place) {
    match shake(stream, &door.us, None, door.limit).await {
        Ok((stream, theirs)) => {
            // Where the peer can be dialled: where it comes from, at the port it named.
            let addr = SocketAddr::new(from.ip(), theirs.port);
            let arrival = Arrival { stream, peer: theirs.peer_id, addr, outbound: false, zone: theirs.zone };
            // Fails only when the actor is gone, and then nobody needs the connection.
            let _ = door.events.send(Event::Connected(arrival)).await;
        }
        Err(refusal) => debug!(%from, %refusal, "refused a connection"),
    }
    drop(place);
}

/// Connections that have not said who they are, counted by address.
#[derive(Default)]
struct Waiting(Mutex<HashMap<IpAddr, usize>>);

/// A counted place among them, given back when dropped.
struct Place {
    waiting: Arc<Waiting>,
    address: IpAddr,
}

impl Place {
    fn take(waiting: &Arc<Waiting>, address: IpAddr) -> Option<Self> {
        let mut counts = waiting.0.lock().unwrap_or_else(PoisonError::into_inner);
        let total: usize = counts.values().sum();
        let here = counts.get(&address).copied().unwrap_or(0);
        if total >= HANDSHAKES_MAX || here >= HANDSHAKES_PER_ADDRESS_MAX {
            return None;
        }
        counts.insert(address, here + 1);
        Some(Self { waiting: Arc::clone(waiting), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.waiting.0.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.get_mut(&self.address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                counts.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_every_place() {
        let waiting = Arc::new(Waiting::default());
        let crowd: IpAddr = "10.0.0.1".parse().unwrap();
        let other: IpAddr = "10.0.0.2".parse().unwrap();
        let places: Vec<_> = std::iter::from_fn(|| Place::take(&waiting, crowd)).collect();
        assert_eq!(places.len(), HANDSHAKES_PER_ADDRESS_MAX);
        assert!(Place::take(&waiting, other).is_some());
        drop(places);
        assert!(Place::take(&waiting, crowd).is_some());
        assert!(waiting.0.lock().unwrap().is_empty());
    }
}
