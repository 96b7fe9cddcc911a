//! Which agents have announced lately: the operator's first question.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shoal_swarm_types::PeerId;
use tokio::time::Instant;

/// Most agents remembered. Others are served all the same.
const AGENTS_MAX: usize = 20_000;

/// An agent that has been silent for this long is forgotten. An agent with any blob announces about once a minute.
const SILENCE_MAX: Duration = Duration::from_secs(10 * 60);

/// One agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its identity since its last start.
    pub id: PeerId,
    /// Where it takes swarm connections.
    pub addr: SocketAddr,
    /// When it announced last.
    pub last: Instant,
}

/// The agents that have announced.
#[derive(Default)]
pub struct Fleet {
    seen: Mutex<HashMap<SocketAddr, Seen>>,
}

impl Fleet {
    /// Notes that an agent has announced.
    pub fn note(&self, id: PeerId, addr: SocketAddr, now: Instant) {
        let mut seen = self.lock();
        if seen.len() < AGENTS_MAX || seen.contains_key(&addr) {
            seen.insert(addr, Seen { id, addr, last: now });
        }
    }

    /// Forgets the silent.
    pub fn expire(&self, now: Instant) {
        self.lock().retain(|_, agent| now.duration_since(agent.last) < SILENCE_MAX);
    }

    /// All agents, by address.
    pub fn agents(&self) -> Vec<Seen> {
        let mut agents: Vec<_> = self.lock().values().cloned().collect();
        agents.sort_by_key(|agent| agent.addr);
        agents
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SocketAddr, Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_the_silent_and_keeps_one_entry_for_an_address() {
        let (start, fleet) = (Instant::now(), Fleet::default());
        let addr = |port| SocketAddr::from(([10, 0, 0, 1], port));
        fleet.note(PeerId([1; 20]), addr(1), start);
        fleet.note(PeerId([2; 20]), addr(1), start + SILENCE_MAX / 2);
        fleet.note(PeerId([3; 20]), addr(2), start);
        fleet.expire(start + SILENCE_MAX);
        let left: Vec<_> = fleet.agents().into_iter().map(|agent| agent.id).collect();
        assert_eq!(left, [PeerId([2; 20])]);
    }
}
