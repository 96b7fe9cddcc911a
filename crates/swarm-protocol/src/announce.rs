//! When to talk to the tracker about one blob.
//!
//! Beginnings and ends are told at once, the rest at the tracker's interval with jitter, failures with growing back-off. Seeds go on for
//! as long as they seed: a tracker that restarts, or forgets, learns of them again within one interval.

use fastrand::Rng;

use crate::io::{AnnounceEvent, Time};
use crate::limits::{
    ANNOUNCE_INTERVAL_BOUNDS_MS, ANNOUNCE_INTERVAL_MS, ANNOUNCE_LONELY_MS, ANNOUNCE_RETRY_MS,
};

/// The announces of one blob.
#[derive(Clone, Debug)]
pub(crate) struct Announcer {
    /// What the tracker has not been told yet.
    news: Option<AnnounceEvent>,
    /// What it is being told now.
    sent: Option<AnnounceEvent>,
    next: Time,
    failures: u32,
}

impl Announcer {
    /// Begins with `event`, at `at`.
    pub(crate) const fn new(event: AnnounceEvent, at: Time) -> Self {
        Self { news: Some(event), sent: None, next: at, failures: 0 }
    }

    /// There is something to tell at once.
    pub(crate) fn tell(&mut self, event: AnnounceEvent, now: Time) {
        self.news = Some(event);
        self.next = now;
    }

    /// When the next announce is due; never while an answer is outstanding.
    pub(crate) const fn due(&self) -> Time {
        if self.sent.is_some() { Time::NEVER } else { self.next }
    }

    /// The announce that is due now, if one is; its answer is then waited for.
    pub(crate) fn take(&mut self, now: Time) -> Option<AnnounceEvent> {
        if now < self.due() {
            return None;
        }
        // Until the answer says otherwise; a `tell` in between brings it forward.
        self.next = Time::NEVER;
        self.sent = Some(self.news.take().unwrap_or(AnnounceEvent::Periodic));
        self.sent
    }

    /// The tracker answered. A lonely download asks again soon.
    pub(crate) fn answered(&mut self, interval_ms: u64, lonely: bool, now: Time, rng: &mut Rng) {
        self.sent = None;
        self.failures = 0;
        let (least, most) = ANNOUNCE_INTERVAL_BOUNDS_MS;
        let told = if interval_ms == 0 { ANNOUNCE_INTERVAL_MS } else { interval_ms.clamp(least, most) };
        let interval = if lonely { told.min(ANNOUNCE_LONELY_MS) } else { told };
        self.next = self.next.min(now.plus_millis(jitter(interval, rng)));
    }

    /// The announce failed: tell the same again, later.
    pub(crate) fn failed(&mut self, now: Time, rng: &mut Rng) {
        self.news = self.news.or(self.sent.take());
        self.sent = None;
        let (first, most) = ANNOUNCE_RETRY_MS;
        let backoff = first.saturating_mul(1 << self.failures.min(10)).min(most);
        self.failures += 1;
        self.next = self.next.min(now.plus_millis(jitter(backoff, rng)));
    }
}

/// Three quarters to five quarters of `ms`, so that a fleet that starts together does not stay in step.
pub(crate) fn jitter(ms: u64, rng: &mut Rng) -> u64 {
    ms * 3 / 4 + rng.u64(0..=ms / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_news_at_once_and_then_goes_on_forever() {
        let mut rng = Rng::with_seed(1);
        let mut announcer = Announcer::new(AnnounceEvent::Started, Time(0));
        assert_eq!(announcer.take(Time(0)), Some(AnnounceEvent::Started));
        assert_eq!(announcer.due(), Time::NEVER);
        announcer.tell(AnnounceEvent::Completed, Time(5));
        announcer.answered(10_000, false, Time(9), &mut rng);
        assert_eq!(announcer.take(Time(9)), Some(AnnounceEvent::Completed));
        let mut now = Time(9);
        for _ in 0..100 {
            announcer.answered(10_000, false, now, &mut rng);
            let wait = announcer.due().micros_since(now);
            assert!((7_500_000..=12_500_000).contains(&wait), "{wait}");
            now = announcer.due();
            assert_eq!(announcer.take(now), Some(AnnounceEvent::Periodic));
        }
    }

    #[test]
    fn failures_back_off_and_news_is_not_lost() {
        let mut rng = Rng::with_seed(1);
        let mut announcer = Announcer::new(AnnounceEvent::Completed, Time(0));
        let mut waits = Vec::new();
        let mut now = Time(0);
        for _ in 0..20 {
            assert_eq!(announcer.take(now), Some(AnnounceEvent::Completed));
            announcer.failed(now, &mut rng);
            waits.push(announcer.due().micros_since(now));
            now = announcer.due();
        }
        assert!(waits[0] <= 625_000 && waits[5] > waits[0], "{waits:?}");
        assert!(waits[19] <= 37_500_000, "{waits:?}");
    }

    #[test]
    fn a_lonely_download_asks_soon_again() {
        let mut rng = Rng::with_seed(1);
        let mut announcer = Announcer::new(AnnounceEvent::Started, Time(0));
        announcer.take(Time(0));
        announcer.answered(0, true, Time(0), &mut rng);
        assert!(announcer.due() <= Time::from_millis(2_500));
    }
}
