//! Room for work that takes a core for a quarter of a second: checking passwords.
//!
//! Half of the cores at most, so that a flood of logins leaves the other half to pulls and pushes. Who has to wait waits in a bounded
//! queue for a bounded time, and one address cannot fill the queue alone.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::rejection::Rejection;

/// Logins that wait at once: at a quarter of a second each, one slot serves 40 of them in the time that is waited.
const WAITING_MAX: usize = 128;
/// Of one address. Half: a company behind NAT logs in at nine in the morning.
const WAITING_PER_ADDRESS_MAX: usize = 64;
/// Clients give up after some 15 s; an answer that comes later is work for nobody.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// When somebody who did not get in should come back.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The slots.
pub(crate) struct Slots {
    running: Arc<Semaphore>,
    waiting: Mutex<HashMap<IpAddr, usize>>,
}

impl Slots {
    pub(crate) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { running: Arc::new(Semaphore::new((cores / 2).max(1))), waiting: Mutex::default() }
    }

    /// Waits for a slot. It is free again when the permit is dropped.
    pub(crate) async fn enter(&self, address: IpAddr) -> Result<OwnedSemaphorePermit, Rejection> {
        let _ticket = self.queue(address).ok_or(Rejection::TooMany { retry_after: RETRY_AFTER })?;
        let entered = tokio::time::timeout(WAIT_MAX, Arc::clone(&self.running).acquire_owned()).await;
        match entered {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(Rejection::TooMany { retry_after: RETRY_AFTER }),
        }
    }

    fn queue(&self, address: IpAddr) -> Option<Ticket<'_>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = waiting.values().sum();
        let own = waiting.get(&address).copied().unwrap_or(0);
        if all >= WAITING_MAX || own >= WAITING_PER_ADDRESS_MAX {
            return None;
        }
        waiting.insert(address, own + 1);
        Some(Ticket { slots: self, address })
    }
}

/// A place in the queue.
struct Ticket<'a> {
    slots: &'a Slots,
    address: IpAddr,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut waiting = self.slots.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match waiting.get_mut(&self.address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => _ = waiting.remove(&self.address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_queue_and_the_wait_are_bounded() {
        let slots = Slots::new();
        let mut held = Vec::new();
        while let Ok(permit) = Arc::clone(&slots.running).try_acquire_owned() {
            held.push(permit);
        }
        let here = IpAddr::from([192, 0, 2, 1]);
        let tickets: Vec<_> = std::iter::from_fn(|| slots.queue(here)).collect();
        assert_eq!(tickets.len(), WAITING_PER_ADDRESS_MAX);
        assert!(matches!(slots.enter(here).await, Err(Rejection::TooMany { .. })));
        // Another address still waits, and not for ever.
        let there = IpAddr::from([192, 0, 2, 2]);
        assert!(matches!(slots.enter(there).await, Err(Rejection::TooMany { .. })));
        drop((held, tickets));
        assert!(slots.enter(here).await.is_ok());
        assert!(slots.waiting.lock().unwrap().is_empty());
    }
}
