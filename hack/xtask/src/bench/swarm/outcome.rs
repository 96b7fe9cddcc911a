//! What one run found, and the numbers that are reported of it. In all of them, more is worse.

use super::super::noise::percentile;
use super::as_f64;
use super::case::{Case, Kind};
use super::fleet::Shape;

const GB: f64 = 1e9;
const KIB_PER_MIB: f64 = 1024.0;
const PER_CENT: f64 = 100.0;

/// One agent that was not killed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Agent {
    /// When it got its shot, in seconds after the first could.
    pub(super) started: f64,
    /// From its shot to its last byte.
    pub(super) seconds: f64,
    /// From its shot to its first byte, when that can be seen.
    pub(super) first_byte: Option<f64>,
    /// Whether it has the blob's very bytes.
    pub(super) is_right: bool,
}

/// One run.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) bound: Option<f64>,
    pub(super) own_bounds: Option<Vec<f64>>,
    /// None for those that were killed.
    pub(super) agents: Vec<Option<Agent>>,
    /// Bytes without headers that left the origin's node.
    pub(super) origin_payload: f64,
    /// The same that arrived anywhere.
    pub(super) received_payload: f64,
    /// The same that left each agent.
    pub(super) uploads: Vec<f64>,
    /// Packets that queues had no room for.
    pub(super) drops: f64,
    pub(super) retransmits: f64,
    pub(super) origin_cpu: f64,
    pub(super) agents_cpu: f64,
    /// Of the largest agent, before the shot.
    pub(super) rss_idle_kib: u64,
    /// Of the largest agent, at most since the shot.
    pub(super) rss_peak_kib: u64,
    pub(super) origin_rss_peak_kib: u64,
    pub(super) tracker_requests: f64,
    pub(super) duplicate_pieces: f64,
    /// 99th percentile of a sleeper's lateness.
    pub(super) lateness_ms: f64,
}

/// One number of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Value {
    pub(super) measure: &'static str,
    pub(super) value: f64,
    pub(super) unit: &'static str,
}

impl Outcome {
    /// Agents that were there to the end.
    pub(super) fn survivors(&self) -> impl Iterator<Item = &Agent> {
        self.agents.iter().flatten()
    }

    /// Those that do not have the right bytes.
    pub(super) fn wrong(&self) -> usize {
        self.survivors().filter(|agent| !agent.is_right).count()
    }

    /// Seconds since the beginning at which agents were done.
    pub(super) fn ends(&self) -> Vec<f64> {
        self.survivors().map(|agent| agent.started + agent.seconds).collect()
    }

    /// All numbers that make sense for a case.
    pub(super) fn values(&self, case: &Case) -> Vec<Value> {
        let mut all = Vec::new();
        let mut add = |measure, unit, value| all.push(Value { measure, value, unit });
        self.times(case, &mut add);
        if case.kind == Kind::Wire {
            return all;
        }
        if case.rate.is_some() {
            self.traffic(case, &mut add);
        }
        self.cost(case, &mut add);
        add("lateness_p99", "ms", self.lateness_ms);
        all
    }

    fn times(&self, case: &Case, add: &mut dyn FnMut(&'static str, &'static str, f64)) {
        let seconds: Vec<f64> = self.survivors().map(|agent| agent.seconds).collect();
        match (self.bound, &self.own_bounds) {
            (Some(bound), _) if case.shape == Shape::Alike => {
                for (measure, percent) in
                    [("completion_p50", 50), ("completion_p99", 99), ("completion_max", 100)]
                {
                    add(measure, "× bound", percentile(&seconds, percent) / bound);
                }
                add("straggler", "max / p50", percentile(&seconds, 100) / percentile(&seconds, 50));
                // An agent can only be done when every piece has left the origin.
                let first = self.ends().into_iter().fold(f64::INFINITY, f64::min);
                add("first_copy_out_by", "× bound", first / bound);
            }
            (_, Some(own)) => {
                let pairs = self.agents.iter().zip(own);
                let ratios: Vec<f64> =
                    pairs.filter_map(|(agent, own)| Some(agent.as_ref()?.seconds / own)).collect();
                add("own_bound_p50", "× own bound", percentile(&ratios, 50));
                add("own_bound_max", "× own bound", percentile(&ratios, 100));
            }
            _ => {
                let rate = as_f64(case.size) / percentile(&seconds, 100) / 1e6;
                add("seconds", "s", percentile(&seconds, 100));
                add("seconds_per_gb", "s/GB", 1e3 / rate);
            }
        }
        let first: Vec<f64> = self.survivors().filter_map(|agent| agent.first_byte).collect();
        if !first.is_empty() {
            let share =
                self.survivors().filter_map(|agent| Some(agent.first_byte? / agent.seconds * PER_CENT));
            add("first_byte_p50", "ms", percentile(&first, 50) * 1e3);
            add("first_byte_max", "ms", percentile(&first, 100) * 1e3);
            add("first_byte_share_max", "% of transfer", percentile(&share.collect::<Vec<_>>(), 100));
        }
    }

    fn traffic(&self, case: &Case, add: &mut dyn FnMut(&'static str, &'static str, f64)) {
        let size = as_f64(case.size);
        add("origin_copies", "copies", self.origin_payload / size);
        // Those that were killed took an unknown part.
        if case.shape != Shape::Dying {
            let useful = size * as_f64(self.agents.len() as u64);
            add("overhead", "% dup.+control", (self.received_payload / useful - 1.0) * PER_CENT);
            let mean = self.uploads.iter().sum::<f64>() / as_f64(self.uploads.len() as u64);
            if self.uploads.len() > 1 {
                add("worst_upload", "× mean", percentile(&self.uploads, 100) / mean);
            }
        }
        add("duplicate_pieces", "pieces", self.duplicate_pieces);
        add("tbf_drops", "packets", self.drops);
        add("retransmits", "segments", self.retransmits);
        add("tracker_requests", "per agent", self.tracker_requests / as_f64(self.agents.len() as u64));
    }

    fn cost(&self, case: &Case, add: &mut dyn FnMut(&'static str, &'static str, f64)) {
        let delivered = as_f64(case.size) * as_f64(self.survivors().count() as u64) / GB;
        add("cpu_per_gb", "CPU-s/GB", (self.origin_cpu + self.agents_cpu) / delivered);
        add("cpu_per_gb_origin", "CPU-s/GB", self.origin_cpu / delivered);
        add("rss_idle", "MiB", as_f64(self.rss_idle_kib) / KIB_PER_MIB);
        add("rss_peak", "MiB", as_f64(self.rss_peak_kib) / KIB_PER_MIB);
        add("rss_peak_origin", "MiB", as_f64(self.origin_rss_peak_kib) / KIB_PER_MIB);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::case::Name;
    use super::*;

    /// A run in which every agent took `seconds`, and a bound of 10 s.
    pub(in crate::bench::swarm) fn outcome(seconds: &[f64], lateness_ms: f64) -> Outcome {
        let agent = |seconds: &f64| {
            Some(Agent { started: 0.0, seconds: *seconds, first_byte: Some(0.5), is_right: true })
        };
        Outcome {
            bound: Some(10.0),
            own_bounds: Some(vec![10.0; seconds.len()]),
            agents: seconds.iter().map(agent).collect(),
            origin_payload: 1.1 * f64::from(32 << 20),
            received_payload: 1.03 * f64::from(32 << 20) * seconds.len() as f64,
            uploads: vec![1.0; seconds.len()],
            drops: 0.0,
            retransmits: 0.0,
            origin_cpu: 1.0,
            agents_cpu: 2.0,
            rss_idle_kib: 10_240,
            rss_peak_kib: 20_480,
            origin_rss_peak_kib: 1024,
            tracker_requests: 4.0,
            duplicate_pieces: 0.0,
            lateness_ms,
        }
    }

    fn value(values: &[Value], measure: &str) -> f64 {
        values.iter().find(|value| value.measure == measure).unwrap().value
    }

    #[test]
    fn numbers_are_relative_to_the_bound_and_the_blob() {
        let values = outcome(&[11.0, 12.0, 15.0, 11.0], 1.0).values(&Name::H1.case());
        let near = |measure: &str, wanted: f64| {
            let found = value(&values, measure);
            assert!((found - wanted).abs() < 1e-6, "{measure} is {found} and not {wanted}");
        };
        near("completion_p50", 1.1);
        near("completion_max", 1.5);
        near("first_copy_out_by", 1.1);
        near("origin_copies", 1.1);
        near("overhead", 3.0);
        near("worst_upload", 1.0);
        near("rss_peak", 20.0);
        near("tracker_requests", 1.0);
    }

    #[test]
    fn those_that_were_killed_are_left_out() {
        let mut run = outcome(&[11.0, 99.0, 12.0], 1.0);
        run.agents[1] = None;
        let values = run.values(&Name::Churn.case());
        assert!((value(&values, "own_bound_max") - 1.2).abs() < 1e-9);
        assert!(!values.iter().any(|value| value.measure == "overhead"));
        assert_eq!((run.wrong(), run.ends()), (0, vec![11.0, 12.0]));
    }
}
