//! Switches for measurements: each takes away, or turns, one of the mechanisms that make a swarm fast, so that a bench can show what it
//! is worth. Not for production: nothing here makes anything faster, and the names may change with the mechanisms.

use serde::{Deserialize, Serialize};
use shoal_swarm_protocol::Limits;

/// What a measurement changes; every default leaves things as they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Experiment {
    /// Whether owners choose distinct pieces for those who ask; false: agents choose for themselves, as elsewhere.
    pub distinct: bool,
    /// Whether neighbours are asked by their load; false: at random.
    pub least_loaded: bool,
    /// Bytes in flight that a new neighbour is given. Unset: the protocol's choice.
    pub window_start_bytes: Option<u64>,
    /// Most bytes in flight per neighbour. Unset: the protocol's choice.
    pub window_max_bytes: Option<u64>,
    /// Pieces on their way out at once. Unset: the protocol's choice.
    pub uploads_max: Option<u32>,
    /// Neighbours that a download looks for. Unset: the protocol's choice.
    pub neighbours_wanted: Option<u32>,
}

impl Default for Experiment {
    fn default() -> Self {
        Self {
            distinct: true,
            least_loaded: true,
            window_start_bytes: None,
            window_max_bytes: None,
            uploads_max: None,
            neighbours_wanted: None,
        }
    }
}

impl Experiment {
    /// Applies the changes.
    pub fn apply(&self, limits: &mut Limits) {
        limits.distinct &= self.distinct;
        limits.least_loaded &= self.least_loaded;
        limits.window_start_bytes = self.window_start_bytes.unwrap_or(limits.window_start_bytes);
        limits.window_max_bytes = self.window_max_bytes.unwrap_or(limits.window_max_bytes);
        limits.uploads_max = self.uploads_max.unwrap_or(limits.uploads_max);
        limits.neighbours_wanted = self.neighbours_wanted.unwrap_or(limits.neighbours_wanted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_changes_unless_told() {
        let mut limits = Limits::default();
        Experiment::default().apply(&mut limits);
        assert_eq!(limits, Limits::default());
        let experiment = Experiment { distinct: false, window_max_bytes: Some(5), ..Experiment::default() };
        experiment.apply(&mut limits);
        assert!(!limits.distinct && limits.least_loaded && limits.window_max_bytes == 5);
    }
}
