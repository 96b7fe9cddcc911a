//! The connections of this process, by number.

use std::collections::HashMap;

use shoal_swarm_protocol::{ConnId, Message};
use tokio::sync::mpsc;

use crate::conn::{Budget, Conn};
use crate::envelope::Stream;
use crate::event::Event;
use crate::limits::{CONNECTIONS_SPARE, Times};
use crate::options::SwarmOptions;

/// Every connection that the core knows of.
pub(crate) struct Conns {
    open: HashMap<ConnId, Conn>,
    next: u64,
    max: usize,
    budget: Budget,
    times: Times,
    events: mpsc::Sender<Event>,
}

impl Conns {
    /// No connection yet.
    pub(crate) fn new(options: &SwarmOptions, events: mpsc::Sender<Event>) -> Self {
        let budget = Budget::new(options.bounds.inbound_bytes_max);
        let max = options.limits.connections_max as usize + CONNECTIONS_SPARE;
        Self { open: HashMap::new(), next: 0, max, budget, times: options.times.clone(), events }
    }

    /// Takes in a connection and gives it a number; `None` when there are too many already.
    pub(crate) fn add(&mut self, stream: Stream) -> Option<ConnId> {
        if self.open.len() >= self.max {
            return None;
        }
        let id = ConnId(self.next);
        self.next += 1;
        let conn = Conn::start(id, stream, self.budget.clone(), &self.times, self.events.clone());
        self.open.insert(id, conn);
        Some(id)
    }

    /// Queues a message. False when the connection had to be cut off because the peer reads too slowly.
    pub(crate) fn send(&mut self, id: ConnId, message: Message) -> bool {
        let Some(conn) = self.open.get(&id) else { return true };
        if conn.send(message) {
            return true;
        }
        self.open.remove(&id);
        false
    }

    /// Ends a connection; what is queued on it is still sent. False when it was not open.
    pub(crate) fn close(&mut self, id: ConnId) -> bool {
        self.open.remove(&id).is_some()
    }

    /// Ends all of them.
    pub(crate) fn close_all(&mut self) {
        self.open.clear();
    }
}
