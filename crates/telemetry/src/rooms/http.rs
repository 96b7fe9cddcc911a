//! Metrics of HTTP listeners.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;

use crate::metrics::Metrics;
use crate::rooms::{detached, registered};
use crate::{Counter, Gauge, names};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListenerName {
    listener: &'static str,
}

/// Metrics of all listeners of a program.
#[derive(Clone, Debug)]
pub struct HttpMetrics {
    connections: Family<ListenerName, Gauge>,
    accept_errors: Family<ListenerName, Counter>,
}

/// Metrics of one listener.
#[derive(Clone, Debug)]
pub struct ListenerMetrics {
    /// Open connections.
    pub connections: Gauge,
    /// Failures to take a connection.
    pub accept_errors: Counter,
}

impl HttpMetrics {
    /// Metrics that `metrics` shows.
    pub fn register(metrics: &Metrics) -> Self {
        Self {
            connections: registered(metrics, &names::HTTP_CONNECTIONS),
            accept_errors: registered(metrics, &names::HTTP_ACCEPT_ERRORS),
        }
    }

    /// The metrics of the listener called `listener`.
    pub fn listener(&self, listener: &'static str) -> ListenerMetrics {
        let name = ListenerName { listener };
        ListenerMetrics {
            connections: self.connections.get_or_create_owned(&name),
            accept_errors: self.accept_errors.get_or_create_owned(&name),
        }
    }
}

impl Default for HttpMetrics {
    fn default() -> Self {
        Self::register(&detached())
    }
}
