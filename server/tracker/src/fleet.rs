//! Which agents have announced lately, and how much each machine asks: the operator's first question, and a bound for whoever floods.
//!
//! Sharded by address, because every announce comes through here.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shoal_swarm_types::{PeerId, ZoneName};
use tokio::time::Instant;

use crate::address::host;
use crate::roster::PEERS_PER_HOST_MAX;

/// Number of shards: well above the number of cores.
const SHARDS: usize = 64;

/// Most agents remembered. Others are served all the same.
const AGENTS_MAX: usize = 100_000;

/// Most machines remembered, and asked to hold back one by one: twenty times as many as agents would be if each machine had one, at
/// 100 bytes each.
const HOSTS_MAX: usize = 200_000;

/// An agent that has been silent for this long is forgotten: two of the longest intervals.
const SILENCE_MAX: Duration = Duration::from_secs(25 * 60);

/// Announced blobs per second that one machine may go on with. An agent that seeds 10,000 blobs announces 80 a second on average.
const ITEMS_PER_SECOND: f64 = 500.0;

/// Announced blobs that one machine may send at once: an agent that starts again with 20,000 blobs in its cache.
const ITEMS_BURST: f64 = 20_000.0;

/// One agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its identity since its last start.
    pub id: PeerId,
    /// Where it takes swarm connections.
    pub addr: SocketAddr,
    /// Where it stands, as it says.
    pub zone: Option<ZoneName>,
    /// When it announced last.
    pub last: Instant,
}

/// A machine that has asked too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flood {
    /// When it may come again.
    pub retry_after: Duration,
}

/// One machine: what it may still ask, and the agents on it.
struct Machine {
    items: f64,
    last: Instant,
    agents: Vec<Agent>,
}

struct Agent {
    port: u16,
    id: PeerId,
    zone: Option<ZoneName>,
    last: Instant,
}

/// The agents that have announced.
pub struct Fleet {
    shards: Vec<Mutex<HashMap<IpAddr, Machine>>>,
    agents: AtomicUsize,
}

impl Default for Fleet {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), agents: AtomicUsize::new(0) }
    }
}

impl Fleet {
    /// Lets somebody at `source` announce `items` blobs, if the machine has not asked too much lately.
    pub fn admit(&self, source: IpAddr, items: usize, now: Instant) -> Result<(), Flood> {
        let mut machines = self.shard(source);
        let full = machines.len() >= HOSTS_MAX / SHARDS;
        let machine = match machines.get_mut(&source) {
            Some(machine) => machine,
            // Whoever invents machines gains nothing but not being counted.
            None if full => return Ok(()),
            None => machines.entry(source).or_insert(Machine {
                items: ITEMS_BURST,
                last: now,
                agents: Vec::new(),
            }),
        };
        let passed = now.duration_since(machine.last).as_secs_f64();
        machine.items = (machine.items + passed * ITEMS_PER_SECOND).min(ITEMS_BURST);
        machine.last = machine.last.max(now);
        // A request about nothing is a question whether we live, and costs as much as one blob.
        let cost = items.max(1) as f64;
        if machine.items < cost {
            let retry_after = Duration::from_secs_f64((cost - machine.items) / ITEMS_PER_SECOND);
            return Err(Flood { retry_after });
        }
        machine.items -= cost;
        Ok(())
    }

    /// Notes that an agent has announced.
    pub fn note(&self, id: PeerId, addr: SocketAddr, zone: Option<&ZoneName>, now: Instant) {
        let mut machines = self.shard(addr.ip());
        let full = machines.len() >= HOSTS_MAX / SHARDS;
        if full && !machines.contains_key(&addr.ip()) {
            return;
        }
        let fresh = || Machine { items: ITEMS_BURST, last: now, agents: Vec::new() };
        let machine = machines.entry(addr.ip()).or_insert_with(fresh);
        if let Some(agent) = machine.agents.iter_mut().find(|agent| agent.port == addr.port()) {
            (agent.id, agent.last) = (id, now);
            if agent.zone.as_ref() != zone {
                agent.zone = zone.cloned();
            }
        } else if machine.agents.len() < PEERS_PER_HOST_MAX && self.len() < AGENTS_MAX {
            machine.agents.push(Agent { port: addr.port(), id, zone: zone.cloned(), last: now });
            self.agents.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Number of agents.
    pub fn len(&self) -> usize {
        self.agents.load(Ordering::Relaxed)
    }

    /// Whether nobody has announced.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets the silent.
    pub fn expire(&self, now: Instant) {
        for shard in &self.shards {
            let mut gone = 0;
            lock(shard).retain(|_, machine| {
                let before = machine.agents.len();
                machine.agents.retain(|agent| now.duration_since(agent.last) < SILENCE_MAX);
                gone += before - machine.agents.len();
                let rested = now.duration_since(machine.last).as_secs_f64() * ITEMS_PER_SECOND;
                !machine.agents.is_empty() || machine.items + rested < ITEMS_BURST
            });
            self.agents.fetch_sub(gone, Ordering::Relaxed);
        }
    }

    /// All agents, by address.
    pub fn agents(&self) -> Vec<Seen> {
        let mut agents = Vec::with_capacity(self.len());
        for shard in &self.shards {
            for (ip, machine) in lock(shard).iter() {
                agents.extend(machine.agents.iter().map(|agent| Seen {
                    id: agent.id,
                    addr: SocketAddr::new(*ip, agent.port),
                    zone: agent.zone.clone(),
                    last: agent.last,
                }));
            }
        }
        agents.sort_by_key(|agent| agent.addr);
        agents
    }

    fn shard(&self, ip: IpAddr) -> MutexGuard<'_, HashMap<IpAddr, Machine>> {
        // Machines of one network differ in their last bytes.
        let bytes = host(ip);
        let number = usize::from(bytes[15]) ^ usize::from(bytes[14]).rotate_left(3);
        lock(&self.shards[number % SHARDS])
    }
}

fn lock<T>(shard: &Mutex<T>) -> MutexGuard<'_, T> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

    #[test]
    fn forgets_the_silent_and_keeps_one_entry_for_an_address() {
        let (start, fleet) = (Instant::now(), Fleet::default());
        let addr = |port| SocketAddr::new(HERE, port);
        let zone = "eu-1a".parse().unwrap();
        fleet.note(PeerId([1; 20]), addr(1), None, start);
        fleet.note(PeerId([2; 20]), addr(1), Some(&zone), start + SILENCE_MAX / 2);
        fleet.note(PeerId([3; 20]), addr(2), None, start);
        assert_eq!(fleet.len(), 2);
        fleet.expire(start + SILENCE_MAX);
        let left: Vec<_> = fleet.agents().into_iter().map(|agent| (agent.id, agent.zone)).collect();
        assert_eq!((left, fleet.len()), (vec![(PeerId([2; 20]), Some(zone))], 1));
        fleet.expire(start + SILENCE_MAX * 3);
        assert!(fleet.is_empty());
    }

    #[test]
    fn a_flood_is_held_back_and_ends() {
        let (start, fleet) = (Instant::now(), Fleet::default());
        let at = |second| start + Duration::from_secs(second);
        let admitted = (0..1_000_000).take_while(|_| fleet.admit(HERE, 256, start).is_ok()).count();
        assert_eq!(admitted, (ITEMS_BURST / 256.0) as usize);
        let other = IpAddr::from([10, 0, 0, 2]);
        assert_eq!(fleet.admit(other, 1, start), Ok(()), "another machine is not to blame");
        let held = fleet.admit(HERE, 256, start).unwrap_err();
        assert!(held.retry_after < Duration::from_secs(1));
        assert!(fleet.admit(HERE, 256, start + held.retry_after).is_ok());
        let steady = (1..=60).filter(|second| fleet.admit(HERE, 256, at(*second)).is_ok()).count();
        assert_eq!(steady, 60);
    }

    #[test]
    fn one_machine_cannot_invent_agents_without_end() {
        let (start, fleet) = (Instant::now(), Fleet::default());
        for port in 1..=1000 {
            fleet.note(PeerId([1; 20]), SocketAddr::new(HERE, port), None, start);
        }
        assert_eq!(fleet.len(), PEERS_PER_HOST_MAX);
    }
}
