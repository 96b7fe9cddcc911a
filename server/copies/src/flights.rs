//! One piece of work for all who ask for the same at the same time.
//!
//! The work is a task of its own: it does not end with the request that began it, so a client that leaves does not take the others with it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

type Waiters<K, T> = HashMap<K, watch::Receiver<Option<T>>>;

/// Work under way, by what it is for. Clones share it.
pub(crate) struct Flights<K, T>(Arc<Mutex<Waiters<K, T>>>);

/// Ends a flight, in whatever way its task ends.
struct Landing<K: Eq + Hash, T> {
    flights: Flights<K, T>,
    key: K,
}

impl<K, T> Flights<K, T>
where
    K: Eq + Hash + Clone + Send + 'static,
    T: Clone + Send + Sync + 'static,
{
    /// What comes of the work for `key`: the one under way, or `work`. `None` only when the work panicked or the process stops.
    pub(crate) async fn join<F>(&self, key: &K, work: impl FnOnce() -> F) -> Option<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut outcome = {
            let mut flights = self.lock();
            match flights.get(key) {
                Some(outcome) => outcome.clone(),
                None => {
                    let (sender, outcome) = watch::channel(None);
                    let landing = Landing { flights: self.clone(), key: key.clone() };
                    let work = work();
                    tokio::spawn(async move {
                        let landed = work.await;
                        // First nobody joins any more, then those who did are told.
                        drop(landing);
                        sender.send_replace(Some(landed));
                    });
                    flights.insert(key.clone(), outcome.clone());
                    outcome
                }
            }
        };
        outcome.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone())
    }
}

impl<K, T> Flights<K, T> {
    fn lock(&self) -> MutexGuard<'_, Waiters<K, T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash, T> Drop for Landing<K, T> {
    fn drop(&mut self) {
        self.flights.lock().remove(&self.key);
    }
}

impl<K, T> Clone for Flights<K, T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K, T> Default for Flights<K, T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn who_comes_meanwhile_shares_and_who_leaves_ends_nothing() {
        let flights = Flights::<u8, u32>::default();
        let (count, gate) = (Arc::new(AtomicU32::new(0)), Arc::new(Semaphore::new(0)));
        let work = || {
            let (count, gate) = (Arc::clone(&count), Arc::clone(&gate));
            async move {
                let number = count.fetch_add(1, Ordering::Relaxed);
                drop(gate.acquire().await);
                number
            }
        };
        {
            let mut first = Box::pin(flights.join(&1, work));
            tokio::select! { biased; _ = &mut first => panic!(), () = tokio::task::yield_now() => {} }
        }
        let (a, b) = (flights.join(&1, work), flights.join(&1, work));
        let open = async { gate.add_permits(9) };
        let (a, b, ()) = tokio::join!(a, b, open);
        assert_eq!((a, b, count.load(Ordering::Relaxed)), (Some(0), Some(0), 1));
        assert_eq!(flights.join(&1, work).await, Some(1), "the next flight is another one");
        assert!(flights.lock().is_empty());
    }

    #[tokio::test]
    async fn work_that_panics_leaves_nobody_waiting() {
        let flights = Flights::<u8, u32>::default();
        let broken = || async { panic!("of the test") };
        assert_eq!(flights.join(&1, broken).await, None);
        assert!(flights.lock().is_empty());
    }
}
