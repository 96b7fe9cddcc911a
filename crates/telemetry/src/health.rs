//! Whether the program can do its work, as a set of named checks that the rooms keep up to date.
//!
//! Liveness is not here: a process that answers is alive. Readiness is: every expected check has passed and the program does not
//! stop. A room that works with less (an agent whose tracker is away still serves its cache) says *degraded*, which stays ready.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

/// The state of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "state", content = "why")]
pub enum Check {
    /// Nothing is known yet. Not ready.
    Pending,
    /// Works.
    Ok,
    /// Works with less; the sentence says what is missing. Ready.
    Degraded(String),
    /// Does not work; the sentence says why. Not ready.
    Failed(String),
}

/// The checks of one program. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<Checks>>);

#[derive(Debug, Default)]
struct Checks {
    by_name: BTreeMap<&'static str, Check>,
    stopping: bool,
}

impl Health {
    /// No checks: ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Announces a check that has not run yet; the program is not ready before it has.
    pub fn expect(&self, name: &'static str) {
        self.lock().by_name.entry(name).or_insert(Check::Pending);
    }

    /// Records the outcome of a check.
    pub fn set(&self, name: &'static str, outcome: Result<(), String>) {
        let check = outcome.map_or_else(Check::Failed, |()| Check::Ok);
        self.lock().by_name.insert(name, check);
    }

    /// Records that the program works without what `name` stands for.
    pub fn degraded(&self, name: &'static str, why: impl Into<String>) {
        self.lock().by_name.insert(name, Check::Degraded(why.into()));
    }

    /// From now on the program is not ready, whatever the checks say: it takes no new work.
    pub fn stopping(&self) {
        self.lock().stopping = true;
    }

    /// Whether the program can take work.
    pub fn is_ready(&self) -> bool {
        let checks = self.lock();
        !checks.stopping
            && checks.by_name.values().all(|check| matches!(check, Check::Ok | Check::Degraded(_)))
    }

    /// The state of one check.
    pub fn check(&self, name: &str) -> Option<Check> {
        self.lock().by_name.get(name).cloned()
    }

    /// Everything: `status` is `ok`, `degraded`, `unready` or `stopping`.
    pub fn report(&self) -> Report {
        let checks = self.lock();
        let any = |wanted: fn(&Check) -> bool| checks.by_name.values().any(wanted);
        let status = if checks.stopping {
            "stopping"
        } else if any(|check| matches!(check, Check::Pending | Check::Failed(_))) {
            "unready"
        } else if any(|check| matches!(check, Check::Degraded(_))) {
            "degraded"
        } else {
            "ok"
        };
        Report { status, checks: checks.by_name.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, Checks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The state of every check at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// One word for all.
    pub status: &'static str,
    /// Each check by name.
    pub checks: BTreeMap<&'static str, Check>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_every_expected_check_passed() {
        let health = Health::new();
        health.expect("store");
        health.expect("tracker");
        assert!(!health.is_ready());
        health.set("store", Ok(()));
        assert_eq!(health.report().status, "unready");
        health.degraded("tracker", "not reached since start");
        assert!(health.is_ready());
        assert_eq!(health.report().status, "degraded");
        health.set("tracker", Ok(()));
        assert_eq!(health.report().status, "ok");
        health.set("store", Err("disk full".into()));
        assert!(!health.is_ready());
    }

    #[test]
    fn a_late_expectation_does_not_undo_an_outcome() {
        let health = Health::new();
        health.set("store", Ok(()));
        health.expect("store");
        assert!(health.is_ready());
    }

    #[test]
    fn stopping_is_never_ready() {
        let health = Health::new();
        assert!(health.is_ready());
        health.stopping();
        assert!(!health.is_ready());
        assert_eq!(health.report().status, "stopping");
    }

    #[test]
    fn report_as_json() {
        let health = Health::new();
        health.set("a", Ok(()));
        health.degraded("b", "away");
        let json = serde_json::to_string(&health.report()).unwrap();
        assert_eq!(
            json,
            r#"{"status":"degraded","checks":{"a":{"state":"ok"},"b":{"state":"degraded","why":"away"}}}"#
        );
    }
}
