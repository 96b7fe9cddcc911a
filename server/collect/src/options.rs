//! How patient the collector is.

use std::time::Duration;

use crate::retention::Rule;

/// How patient the collector is.
#[derive(Clone, Debug)]
pub struct CollectOptions {
    /// The time between two runs; `None`: only when asked.
    pub every: Option<Duration>,
    /// What was pushed, linked, or told to a client within this time stays. It has to be longer than any client takes from the first
    /// answer about a blob to the manifest that needs it, apart from time in which an upload of the same repository goes on.
    pub grace: Duration,
    /// What retention keeps.
    pub rules: Vec<Rule>,
}

impl Default for CollectOptions {
    fn default() -> Self {
        Self {
            every: Some(Duration::from_secs(60 * 60)),
            // Clients give a push up after minutes; a pipeline that pushes layers first and manifests at its end takes an hour or two.
            grace: Duration::from_secs(6 * 60 * 60),
            rules: Vec::new(),
        }
    }
}
