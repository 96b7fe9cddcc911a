//! The times that no way of distributing a blob can beat: for a fleet of equals, and for each agent where they differ.

/// One node's access link, in bytes per second, and while it is there, in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// Uplink.
    pub up: f64,
    /// Downlink.
    pub down: f64,
    /// When it comes.
    pub from: f64,
    /// When it goes; infinite for one that stays.
    pub until: f64,
}

impl Link {
    /// A link with the same rate both ways that is there from the start and stays.
    pub const fn new(rate: f64) -> Self {
        Self { up: rate, down: rate, from: 0.0, until: f64::INFINITY }
    }

    /// Bytes that it can have sent by `time`.
    fn supply(&self, time: f64) -> f64 {
        self.up * (time.min(self.until) - self.from).max(0.0)
    }
}

/// Seconds that the last of `agents` needs at least for `size` bytes, if all are there from the start: Kumar and Ross,
/// "Peer-Assisted File Distribution: The Minimum Distribution Time" (HotWeb 2006). The owners must send everything once, the slowest
/// must take it in, and all uplinks together must carry a copy for each.
pub fn fluid_bound(size: f64, owners: &[Link], agents: &[Link]) -> f64 {
    let up = |links: &[Link]| links.iter().map(|link| link.up).sum::<f64>();
    let slowest = agents.iter().map(|link| link.down).fold(f64::INFINITY, f64::min);
    let all = up(owners) + up(agents);
    (size / up(owners)).max(size / slowest).max(agents.len() as f64 * size / all)
}

/// Seconds that each of `agents` needs at least, from when it comes; infinite for one that does not stay.
///
/// An agent must take everything in; the owners must have sent everything once; and all uplinks together must have carried a copy for
/// it and for everyone who is to be served no later: those who came no later and whose downlinks are no slower. (An agent could be
/// served before those, at their expense; so this is the bound of a fair distribution, as is that of Kumar and Ross.)
pub fn own_bounds(size: f64, owners: &[Link], agents: &[Link]) -> Vec<f64> {
    let stays = |link: &&Link| link.until.is_infinite();
    let before = |of: &Link| {
        let ahead = |link: &&Link| link.from <= of.from && link.down >= of.down;
        agents.iter().filter(stays).filter(ahead).count() as f64
    };
    let supply = |links: &[Link], time: f64| links.iter().map(|link| link.supply(time)).sum::<f64>();
    let mut known: Vec<([u64; 2], f64)> = Vec::new();
    let mut bound = |of: &Link| {
        if of.until.is_finite() {
            return f64::INFINITY;
        }
        let key = [of.from.to_bits(), of.down.to_bits()];
        if let Some((_, bound)) = known.iter().find(|(other, _)| *other == key) {
            return *bound;
        }
        let copies = before(of);
        let enough = |time: f64| {
            supply(owners, time) >= size && supply(owners, time) + supply(agents, time) >= copies * size
        };
        let bound = (size / of.down).max(first(enough) - of.from);
        known.push((key, bound));
        bound
    };
    agents.iter().map(&mut bound).collect()
}

/// The first moment at which a condition holds that holds from then on; infinite if it never does.
fn first(holds: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    while !holds(high) {
        if high > 1e9 {
            return f64::INFINITY;
        }
        high *= 2.0;
    }
    // To a millionth of the result.
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if holds(middle) { high = middle } else { low = middle }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(one: f64, other: f64) -> bool {
        (one / other - 1.0).abs() < 1e-6
    }

    #[test]
    fn each_of_the_three_limits_can_decide() {
        let agents = [Link::new(10.0); 4];
        assert!(near(fluid_bound(100.0, &[Link::new(10.0)], &agents), 10.0));
        let slow = [Link { down: 2.0, ..Link::new(10.0) }, Link::new(10.0)];
        assert!(near(fluid_bound(100.0, &[Link::new(10.0)], &slow), 50.0));
        let takers = [Link { up: 0.0, down: 100.0, ..Link::new(0.0) }; 4];
        assert!(near(fluid_bound(100.0, &[Link::new(20.0)], &takers), 20.0));
    }

    #[test]
    fn equals_have_the_bound_of_the_fleet() {
        let (owners, agents) = ([Link::new(10.0)], [Link::new(10.0); 7]);
        let fleet = fluid_bound(100.0, &owners, &agents);
        assert!(own_bounds(100.0, &owners, &agents).iter().all(|own| near(*own, fleet)));
    }

    #[test]
    fn a_slow_agent_does_not_slow_down_the_bound_of_a_fast_one() {
        let agents = [Link::new(40.0), Link::new(10.0)];
        let own = own_bounds(400.0, &[Link::new(40.0)], &agents);
        assert!(near(own[0], 10.0) && near(own[1], 40.0), "{own:?}");
    }

    #[test]
    fn who_comes_late_finds_a_copy_and_who_came_first_waits_for_the_owner() {
        let late = Link { from: 9.0, down: 100.0, ..Link::new(10.0) };
        let own = own_bounds(100.0, &[Link::new(10.0)], &[Link { down: 100.0, ..Link::new(10.0) }, late]);
        // All uplinks together have sent 200 bytes after (200 + 90) / 30 seconds, and the owner 100 after 10.
        assert!(near(own[0], 10.0) && near(own[1], 1.0), "{own:?}");
    }

    #[test]
    fn who_is_killed_supplies_until_then_and_needs_nothing() {
        let killed = Link { until: 5.0, ..Link::new(10.0) };
        let agents =
            [Link { down: 100.0, ..Link::new(10.0) }, Link { down: 100.0, ..Link::new(10.0) }, killed];
        let own = own_bounds(100.0, &[Link::new(20.0)], &agents);
        // 20 t + 20 t + 50 = 200.
        assert!(own[2].is_infinite() && near(own[0], 5.0), "{own:?}");
    }
}
