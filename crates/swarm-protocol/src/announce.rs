//! When to talk to the tracker about one blob.
//!
//! Beginnings and ends are told at once, the rest at the tracker's interval, failures with growing back-off. That a blob is complete now is
//! told with the next announce: peers have heard it from us, and a fleet's pull asks its trackers a third less. A download that is
//! alone does not wait so long: it looks again soon, less soon each time, and asks only if it is alone still. Seeds go on for as long as
//! they seed: a tracker that restarts, or forgets, learns of them again within one interval.

use fastrand::Rng;

use crate::io::{AnnounceEvent, Time};
use crate::limits::{
    ANNOUNCE_AGAIN_MS, ANNOUNCE_INTERVAL_BOUNDS_MS, ANNOUNCE_INTERVAL_MS, ANNOUNCE_LONELY_MS,
    ANNOUNCE_RETRY_MS, ANSWERS_PER_WHOLE, COMPLETED_HOLD_MS, TOGETHER_ONE_IN,
};

/// The announces of one blob.
#[derive(Clone, Debug)]
pub(crate) struct Announcer {
    /// What the tracker has not been told yet.
    news: Option<AnnounceEvent>,
    /// What it is being told now.
    sent: Option<AnnounceEvent>,
    /// When to announce.
    next: Time,
    /// When to announce if the download is alone then.
    look: Time,
    /// Answers in a row that left the download alone.
    alone: u32,
    /// The last interval, in microseconds.
    interval_micros: u64,
    answers: u32,
    failures: u32,
}

impl Announcer {
    /// Begins with `event`, at `at`.
    pub(crate) const fn new(event: AnnounceEvent, at: Time) -> Self {
        Self {
            news: Some(event),
            sent: None,
            next: at,
            look: Time::NEVER,
            alone: 0,
            interval_micros: 0,
            answers: 0,
            failures: 0,
        }
    }

    /// There is something to tell.
    pub(crate) fn tell(&mut self, event: AnnounceEvent, now: Time) {
        self.news = Some(event);
        let at = if event == AnnounceEvent::Completed { now.plus_millis(COMPLETED_HOLD_MS) } else { now };
        self.next = self.next.min(at);
    }

    /// When something is due; never while an answer is outstanding.
    pub(crate) fn due(&self) -> Time {
        if self.sent.is_some() { Time::NEVER } else { self.next.min(self.look) }
    }

    /// The announce that is due now, if one is; its answer is then waited for.
    pub(crate) fn take(&mut self, alone: bool, now: Time) -> Option<AnnounceEvent> {
        if now < self.due() {
            return None;
        }
        if now < self.next && !alone {
            // It was alone for a moment only.
            (self.look, self.alone) = (Time::NEVER, 0);
            return None;
        }
        self.alone = if alone { self.alone.saturating_add(1) } else { 0 };
        Some(self.send())
    }

    /// The announce that is due before long, when another one leaves now: it costs nothing to take it along.
    pub(crate) fn take_along(&mut self, now: Time) -> Option<AnnounceEvent> {
        let near = self.next.micros_since(now) <= self.interval_micros / TOGETHER_ONE_IN;
        (self.sent.is_none() && near && self.next < Time::NEVER).then(|| self.send())
    }

    fn send(&mut self) -> AnnounceEvent {
        let event = self.news.take().unwrap_or(AnnounceEvent::Periodic);
        // Until the answer says otherwise; a `tell` in between brings it forward.
        (self.next, self.look, self.sent) = (Time::NEVER, Time::NEVER, Some(event));
        event
    }

    /// Whether the tracker's whole answer is wanted, and not only what is new: at first, and now and then after that, because owners
    /// change and grants run out.
    pub(crate) const fn wants_all(&self) -> bool {
        self.answers.is_multiple_of(ANSWERS_PER_WHOLE)
    }

    /// The tracker answered.
    pub(crate) fn answered(&mut self, interval_ms: u64, now: Time, rng: &mut Rng) {
        self.sent = None;
        self.failures = 0;
        self.answers = self.answers.wrapping_add(1);
        let (least, most) = ANNOUNCE_INTERVAL_BOUNDS_MS;
        let told = if interval_ms == 0 { ANNOUNCE_INTERVAL_MS } else { interval_ms.clamp(least, most) };
        // The tracker has jittered it, the same for all blobs of a request, so that they come together again.
        let interval = told * 19 / 20 + rng.u64(0..=told / 10);
        self.interval_micros = interval * 1_000;
        self.next = self.next.min(now.plus_millis(interval));
        let look = now.plus_millis(jitter(ANNOUNCE_LONELY_MS << self.alone.min(10), rng));
        self.look = if look < self.next { look } else { Time::NEVER };
    }

    /// The tracker's answer lacks what we need: ask again, the first time at once.
    pub(crate) fn answered_badly(&mut self, now: Time, rng: &mut Rng) {
        if self.failures == 0 {
            (self.sent, self.failures) = (None, 1);
            self.next = self.next.min(now.plus_millis(jitter(ANNOUNCE_AGAIN_MS, rng)));
        } else {
            self.failed(now, rng);
        }
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
    fn tells_news_and_then_goes_on_forever() {
        let mut rng = Rng::with_seed(1);
        let mut announcer = Announcer::new(AnnounceEvent::Started, Time(0));
        assert_eq!(announcer.take(false, Time(0)), Some(AnnounceEvent::Started));
        assert_eq!(announcer.due(), Time::NEVER);
        announcer.answered(10_000, Time(0), &mut rng);
        announcer.tell(AnnounceEvent::Completed, Time(5));
        let mut event = AnnounceEvent::Completed;
        let mut now = Time(0);
        for _ in 0..100 {
            while announcer.look < announcer.next {
                assert_eq!(announcer.take(false, announcer.due()), None, "it is not alone");
            }
            let wait = announcer.due().micros_since(now);
            assert!((9_500_000..=10_500_000).contains(&wait), "{wait}");
            now = announcer.due();
            assert_eq!(
                announcer.take(false, now),
                Some(std::mem::replace(&mut event, AnnounceEvent::Periodic))
            );
            announcer.answered(10_000, now, &mut rng);
        }
    }

    #[test]
    fn a_new_seed_is_told_of_within_a_minute_however_long_the_interval() {
        let mut rng = Rng::with_seed(1);
        let mut announcer = Announcer::new(AnnounceEvent::Started, Time(0));
        announcer.take(false, Time(0));
        announcer.answered(3_000_000, Time(0), &mut rng);
        announcer.tell(AnnounceEvent::Completed, Time(9));
        assert_eq!(announcer.next, Time(9).plus_millis(COMPLETED_HOLD_MS));
    }

    #[test]
    fn failures_back_off_and_news_is_not_lost() {
        let mut rng = Rng::with_seed(1);
        let mut announcer = Announcer::new(AnnounceEvent::Completed, Time(0));
        let mut waits = Vec::new();
        let mut now = Time(0);
        for _ in 0..20 {
            assert_eq!(announcer.take(false, now), Some(AnnounceEvent::Completed));
            announcer.failed(now, &mut rng);
            waits.push(announcer.due().micros_since(now));
            now = announcer.due();
        }
        assert!(waits[0] <= 625_000 && waits[5] > waits[0], "{waits:?}");
        assert!(waits[19] <= 37_500_000, "{waits:?}");
    }

    #[test]
    fn a_lonely_download_asks_soon_again_and_then_less_soon() {
        let mut rng = Rng::with_seed(1);
        let mut announcer = Announcer::new(AnnounceEvent::Started, Time(0));
        announcer.take(true, Time(0));
        let (mut now, mut waits) = (Time(0), Vec::new());
        for _ in 0..8 {
            announcer.answered(60_000, now, &mut rng);
            waits.push(announcer.due().micros_since(now));
            now = announcer.due();
            assert!(announcer.take(true, now).is_some());
        }
        assert!(waits[0] <= 5_000_000, "{waits:?}");
        assert!(waits[7] >= 57_000_000, "a tracker is not stormed by those it cannot help: {waits:?}");
    }

    #[test]
    fn what_is_due_before_long_goes_along() {
        let mut rng = Rng::with_seed(1);
        let mut announcer = Announcer::new(AnnounceEvent::Started, Time(0));
        assert_eq!(announcer.take_along(Time(0)), Some(AnnounceEvent::Started));
        assert_eq!(announcer.take_along(Time(0)), None, "an answer is waited for");
        announcer.answered(100_000, Time(0), &mut rng);
        assert_eq!(announcer.take_along(Time::from_millis(50_000)), None);
        assert_eq!(announcer.take_along(Time::from_millis(85_000)), Some(AnnounceEvent::Periodic));
    }
}
