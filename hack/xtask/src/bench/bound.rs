//! The time that no way of distributing a blob can beat.

/// The links of a cluster: one origin, N receivers that are alike. Rates in bytes per second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Links {
    pub(super) receivers: u32,
    pub(super) origin_up: f64,
    pub(super) receiver_up: f64,
    pub(super) receiver_down: f64,
}

impl Links {
    /// Seconds that the last receiver needs at least for `size` bytes: the fluid bound of Kumar and Ross, "Peer-Assisted File
    /// Distribution: The Minimum Distribution Time" (HotWeb 2006). The origin must send everything once; the slowest receiver
    /// must take everything in; and all uplinks together must carry N copies.
    ///
    /// Headers are not subtracted from the links: at an MTU of 1500 no TCP stream can do better than 1.046 times this.
    pub(super) fn fluid_bound(&self, size: f64) -> f64 {
        let receivers = f64::from(self.receivers);
        let all_uplinks = self.origin_up + receivers * self.receiver_up;
        (size / self.origin_up).max(size / self.receiver_down).max(receivers * size / all_uplinks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_the_three_limits_can_decide() {
        let links = Links { receivers: 4, origin_up: 10.0, receiver_up: 10.0, receiver_down: 10.0 };
        assert!((links.fluid_bound(100.0) - 10.0).abs() < 1e-9);
        let slow_down = Links { receiver_down: 2.0, ..links };
        assert!((slow_down.fluid_bound(100.0) - 50.0).abs() < 1e-9);
        let slow_up = Links { origin_up: 20.0, receiver_up: 0.0, receiver_down: 100.0, ..links };
        assert!(
            (slow_up.fluid_bound(100.0) - 20.0).abs() < 1e-9,
            "client and server: N copies through one uplink"
        );
    }
}
