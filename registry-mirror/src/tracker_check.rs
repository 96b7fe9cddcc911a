//! Whether a tracker can be reached: kept as a readiness check, and told in the log once for each change.
//!
//! A cluster without its tracker fails thousands of announces a minute. One line says that it is away and one that it is back; the
//! failures between them are the announcer's, at level `debug`. At the start nothing is said for a while, since an agent and its
//! server often start together; a tracker that does not answer by then is told like one that was lost.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shoal_api::tracker::Reach;
use shoal_telemetry::Health;

/// Name of the readiness check.
const CHECK: &str = "tracker";

/// After this long without an answer of any tracker the agent calls itself degraded instead of not ready: it can still serve what it
/// has, and a runtime that waits for it gains nothing.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// The check and what it said last.
pub(crate) struct TrackerCheck {
    health: Health,
    state: Mutex<State>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// Just started; the reason of the last failure, if there was one.
    Starting(Option<String>),
    Reached,
    Lost,
}

/// What is worth a line in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Change {
    Lost(String),
    Back,
}

impl TrackerCheck {
    /// A check that has not run: the agent is not ready.
    pub(crate) fn new(health: Health) -> Self {
        health.expect(CHECK);
        Self { health, state: Mutex::new(State::Starting(None)) }
    }

    /// Whether a tracker answered when last asked.
    pub(crate) fn is_reached(&self) -> bool {
        *self.lock() == State::Reached
    }

    /// Whether no tracker answers, and not only for the moment of a start.
    pub(crate) fn is_lost(&self) -> bool {
        *self.lock() == State::Lost
    }

    /// Takes note of what the last exchanges say.
    pub(crate) fn observe(&self, reach: Reach) {
        tell(self.note(reach));
    }

    /// The start is over: no answer so far means that there is no tracker.
    pub(crate) fn end_patience(&self) {
        tell(self.note_end_of_patience());
    }

    fn note(&self, reach: Reach) -> Option<Change> {
        let mut state = self.lock();
        match (reach, &*state) {
            (Reach::Unknown, _) | (Reach::Reached, State::Reached) => None,
            (Reach::Reached, before) => {
                let change = (*before == State::Lost).then_some(Change::Back);
                *state = State::Reached;
                self.health.set(CHECK, Ok(()));
                change
            }
            (Reach::Lost(why), State::Starting(_)) => {
                *state = State::Starting(Some(why));
                None
            }
            (Reach::Lost(why), _) => self.lose(&mut state, why),
        }
    }

    fn note_end_of_patience(&self) -> Option<Change> {
        let mut state = self.lock();
        let State::Starting(why) = &mut *state else { return None };
        let why = why.take().unwrap_or_else(|| "none has answered since the start".to_owned());
        self.lose(&mut state, why)
    }

    fn lose(&self, state: &mut State, why: String) -> Option<Change> {
        let sentence = format!("no tracker answers ({why}); only what is cached here can be served");
        self.health.degraded(CHECK, sentence);
        let before = std::mem::replace(state, State::Lost);
        (before != State::Lost).then_some(Change::Lost(why))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tell(change: Option<Change>) {
    match change {
        Some(Change::Lost(why)) => {
            tracing::warn!(why, "no tracker answers; only what is cached here can be served");
        }
        Some(Change::Back) => tracing::info!("a tracker answers again"),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use shoal_telemetry::Check;

    use super::*;

    fn lost(why: &str) -> Reach {
        Reach::Lost(why.to_owned())
    }

    fn sentence(health: &Health) -> String {
        match health.check(CHECK) {
            Some(Check::Degraded(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_change_is_told_once() {
        let health = Health::new();
        let check = TrackerCheck::new(health.clone());
        assert_eq!(check.note(Reach::Reached), None, "a good start is nothing special");
        assert!(check.is_reached() && health.check(CHECK) == Some(Check::Ok));
        assert_eq!(
            check.note(lost("http://t:1 is silent")),
            Some(Change::Lost("http://t:1 is silent".into()))
        );
        assert_eq!(check.note(lost("http://t:1 refuses")), None);
        assert!(sentence(&health).contains("http://t:1 refuses"), "the check has the newest reason");
        assert_eq!(check.note(Reach::Reached), Some(Change::Back));
        assert_eq!(check.note(Reach::Reached), None);
        assert_eq!(health.check(CHECK), Some(Check::Ok));
    }

    #[test]
    fn a_start_without_a_tracker_is_told_when_patience_ends() {
        let health = Health::new();
        let check = TrackerCheck::new(health.clone());
        assert_eq!(check.note(lost("no such name")), None);
        assert_eq!(health.check(CHECK), Some(Check::Pending));
        assert_eq!(check.note_end_of_patience(), Some(Change::Lost("no such name".into())));
        assert_eq!(check.note(lost("no such name")), None);
        assert!(sentence(&health).contains("no such name"));
        assert_eq!(check.note(Reach::Reached), Some(Change::Back));
    }

    #[test]
    fn a_tracker_that_says_nothing_at_all_is_told_as_well() {
        let check = TrackerCheck::new(Health::new());
        assert_eq!(check.note(Reach::Unknown), None);
        assert!(matches!(check.note_end_of_patience(), Some(Change::Lost(_))));
        let check = TrackerCheck::new(Health::new());
        check.note(Reach::Reached);
        assert_eq!(check.note_end_of_patience(), None);
    }
}
