//! The connections of this process, by number.

use std::collections::HashMap;
use std::sync::Arc;

use shoal_swarm_protocol::ConnId;
use tokio::sync::mpsc;

use crate::conn::{Conn, Outgoing, Precedence, Tools};
use crate::desk::Desk;
use crate::disk::Disk;
use crate::envelope::Stream;
use crate::event::Event;
use crate::limits::CONNECTIONS_SPARE;
use crate::options::SwarmOptions;
use crate::pool::Pool;

/// Every connection that the core knows of.
pub(crate) struct Conns {
    open: HashMap<ConnId, Conn>,
    next: u64,
    max: usize,
    tools: Tools,
}

impl Conns {
    /// No connection yet.
    pub(crate) fn new(
        options: &SwarmOptions,
        disk: Disk,
        desk: Arc<Desk>,
        events: mpsc::Sender<Event>,
    ) -> Self {
        let max = options.limits.connections_max as usize + CONNECTIONS_SPARE;
        let pool = Pool::new(options.bounds.inbound_bytes_max);
        let shaper = Arc::clone(&options.shaper);
        let (precedence, times) = (Arc::new(Precedence::default()), options.times.clone());
        let tools = Tools { pool, disk, shaper, desk, precedence, times, events };
        Self { open: HashMap::new(), next: 0, max, tools }
    }

    /// Takes in a connection and gives it a number; `None` when there are too many already.
    pub(crate) fn add(&mut self, stream: Stream) -> Option<ConnId> {
        if self.open.len() >= self.max {
            return None;
        }
        let id = ConnId(self.next);
        self.next += 1;
        let conn = Conn::start(id, stream, &self.tools);
        self.open.insert(id, conn);
        Some(id)
    }

    /// Queues a message or a piece. False when the connection had to be cut off because the peer reads too slowly.
    pub(crate) fn send(&mut self, id: ConnId, outgoing: Outgoing) -> bool {
        let Some(conn) = self.open.get(&id) else { return true };
        if conn.send(outgoing) {
            return true;
        }
        self.open.remove(&id);
        false
    }

    /// Whether a connection is open.
    pub(crate) fn is_open(&self, id: ConnId) -> bool {
        self.open.contains_key(&id)
    }

    /// Ends a connection; what is queued on it is still sent. False when it was not open.
    pub(crate) fn close(&mut self, id: ConnId) -> bool {
        self.open.remove(&id).is_some()
    }

    /// Lets go of memory that is no longer needed.
    pub(crate) fn sweep(&self) {
        self.tools.pool.sweep();
    }

    /// Ends all of them.
    pub(crate) fn close_all(&mut self) {
        self.open.clear();
    }
}
