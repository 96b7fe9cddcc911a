//! When an upstream is left alone: because it asked for that, or because it does not answer at all.
//!
//! Manifests and blobs are paused apart: registries count the former (Docker Hub) and give the latter away, so an image whose manifest is
//! here can be completed while the quota is used up. A failure to reach it pauses both, only for seconds: what is here is then answered
//! without a wait for each.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use http::header::RETRY_AFTER;
use tokio::time::Instant;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Manifest,
    Blob,
}

/// A 429 without a number.
const PAUSE_DEFAULT: Duration = Duration::from_secs(60);
/// However long an upstream asks for: an hour later it may be asked once more.
const PAUSE_MAX: Duration = Duration::from_secs(3600);

/// Failures in a row after which nothing is asked for a while.
const FAILURES_MAX: u32 = 3;
/// The first such while; doubled with every further failure.
const AWAY_MIN: Duration = Duration::from_secs(5);
const AWAY_MAX: Duration = Duration::from_secs(60);

/// The pauses of one upstream.
#[derive(Debug, Default)]
pub(crate) struct Pauses(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    manifests: Option<Instant>,
    blobs: Option<Instant>,
    failures: u32,
    away: Option<Instant>,
}

/// Why nothing is asked now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paused {
    /// The upstream asked for it.
    Asked(Duration),
    /// It did not answer lately.
    Away(Duration),
}

impl Pauses {
    /// Whether a question may be asked now.
    pub(crate) fn check(&self, kind: Kind) -> Result<(), Paused> {
        let mut state = self.lock();
        let now = Instant::now();
        if let Some(left) = left(&mut state.away, now) {
            return Err(Paused::Away(left));
        }
        let until = match kind {
            Kind::Manifest => &mut state.manifests,
            Kind::Blob => &mut state.blobs,
        };
        left(until, now).map_or(Ok(()), |left| Err(Paused::Asked(left)))
    }

    /// The upstream asked for a pause; for how long.
    pub(crate) fn open(&self, kind: Kind, headers: &HeaderMap) -> Duration {
        let wait = retry_after(headers).unwrap_or(PAUSE_DEFAULT).min(PAUSE_MAX);
        let mut state = self.lock();
        let until = Some(Instant::now() + wait);
        match kind {
            Kind::Manifest => state.manifests = until,
            Kind::Blob => state.blobs = until,
        }
        wait
    }

    /// Whether it is left alone because it did not answer.
    pub(crate) fn is_away(&self) -> bool {
        left(&mut self.lock().away, Instant::now()).is_some()
    }

    /// There was an answer, whatever it said.
    pub(crate) fn answered(&self) {
        let mut state = self.lock();
        (state.failures, state.away) = (0, None);
    }

    /// There was none.
    pub(crate) fn failed(&self) {
        let mut state = self.lock();
        state.failures = state.failures.saturating_add(1);
        if let Some(more) = state.failures.checked_sub(FAILURES_MAX) {
            let wait = AWAY_MIN.saturating_mul(1 << more.min(8)).min(AWAY_MAX);
            state.away = Some(Instant::now() + wait);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn left(until: &mut Option<Instant>, now: Instant) -> Option<Duration> {
    let left = until.map(|until| until.saturating_duration_since(now)).filter(|left| !left.is_zero());
    if left.is_none() {
        *until = None;
    }
    left
}

/// Seconds. The other form, a date, is not used by registries; it counts as no number.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(value: &str) -> HeaderMap {
        [(RETRY_AFTER, value.parse().unwrap())].into_iter().collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_as_long_as_asked_for_and_concerns_one_kind() {
        let pauses = Pauses::default();
        assert_eq!(pauses.check(Kind::Manifest), Ok(()));
        assert_eq!(pauses.open(Kind::Manifest, &headers("7")), Duration::from_secs(7));
        assert_eq!(pauses.check(Kind::Manifest), Err(Paused::Asked(Duration::from_secs(7))));
        assert_eq!(pauses.check(Kind::Blob), Ok(()));
        tokio::time::advance(Duration::from_secs(7)).await;
        assert_eq!(pauses.check(Kind::Manifest), Ok(()));
        assert_eq!(pauses.open(Kind::Blob, &headers("Fri, 31 Dec 1999 23:59:59 GMT")), PAUSE_DEFAULT);
        assert_eq!(pauses.open(Kind::Blob, &headers("99999999999")), PAUSE_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_answer_is_asked_less_and_less() {
        let pauses = Pauses::default();
        (0..FAILURES_MAX - 1).for_each(|_| pauses.failed());
        assert_eq!(pauses.check(Kind::Blob), Ok(()));
        let mut waits = Vec::new();
        for _ in 0..6 {
            pauses.failed();
            let Err(Paused::Away(left)) = pauses.check(Kind::Blob) else { panic!() };
            waits.push(left.as_secs());
            tokio::time::advance(left).await;
            assert_eq!(pauses.check(Kind::Manifest), Ok(()));
        }
        assert_eq!(waits, [5, 10, 20, 40, 60, 60]);
        pauses.answered();
        pauses.failed();
        assert_eq!(pauses.check(Kind::Manifest), Ok(()));
    }
}
