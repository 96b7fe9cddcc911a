//! Every number of the protocol, each with its reason.

/// The numbers that a deployment may change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections in all.
    pub connections_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections_max: 256 }
    }
}
