//! Connections share the uplink: while one of them sends a piece that a reader waits for, the others hold back.
//!
//! Otherwise such a piece would get one share among many of the link, and take as many times as long. It costs the others nothing in sum,
//! since the link is as busy as before. Each holds back for a moment only before each part of a piece, so a reader with a slow link, or
//! many readers, do not stop the background.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;
use tokio::time::timeout;

use crate::limits::GIVE_WAY_MAX;

/// Pieces that readers wait for and that are being sent, over all connections.
#[derive(Debug, Default)]
pub(crate) struct Precedence {
    under_way: AtomicUsize,
    over: Notify,
}

/// While it lives, others hold back.
pub(super) struct First<'a>(&'a Precedence);

impl Precedence {
    /// A piece that a reader waits for begins to leave.
    pub(super) fn first(&self) -> First<'_> {
        self.under_way.fetch_add(1, Ordering::AcqRel);
        First(self)
    }

    /// Waits for a moment, or until no such piece is being sent.
    pub(super) async fn give_way(&self) {
        if self.under_way.load(Ordering::Acquire) == 0 {
            return;
        }
        let all_over = async {
            loop {
                let over = self.over.notified();
                tokio::pin!(over);
                // Registered before the look, so that the last one's word is not missed.
                over.as_mut().enable();
                if self.under_way.load(Ordering::Acquire) == 0 {
                    return;
                }
                over.await;
            }
        };
        // Whichever comes first.
        let _ = timeout(GIVE_WAY_MAX, all_over).await;
    }
}

impl Drop for First<'_> {
    fn drop(&mut self) {
        if self.0.under_way.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.over.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn others_hold_back_until_the_last_is_over_but_not_for_long() {
        let precedence = Arc::new(Precedence::default());
        let began = Instant::now();
        precedence.give_way().await;
        assert_eq!(began.elapsed(), std::time::Duration::ZERO);
        let (one, other) = (precedence.first(), precedence.first());
        let waiting = tokio::spawn({
            let precedence = Arc::clone(&precedence);
            async move {
                precedence.give_way().await;
                Instant::now()
            }
        });
        tokio::task::yield_now().await;
        drop(one);
        tokio::time::advance(GIVE_WAY_MAX / 2).await;
        assert!(!waiting.is_finished(), "there is another one");
        drop(other);
        assert_eq!(waiting.await.unwrap() - began, GIVE_WAY_MAX / 2);
        let _slow = precedence.first();
        let began = Instant::now();
        precedence.give_way().await;
        assert!(began.elapsed() >= GIVE_WAY_MAX);
    }
}
