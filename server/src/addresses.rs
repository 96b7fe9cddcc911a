//! The listeners of one server, bound before anything else is built.
//!
//! A port that is taken is found in the first milliseconds and not after a minute of recovery, and a supervisor that restarts the
//! server too early never finds half of it running.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use serde::Serialize;
use shoal_http::Listener;
use shoal_telemetry::HttpMetrics;
use tokio::net::TcpListener;

use crate::config::Config;

/// Where each listener really listens; port 0 has become a port. This is also the content of the ready file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Addresses {
    /// Push and pull.
    pub registry: SocketAddr,
    /// The swarm port of the origin.
    pub peer: SocketAddr,
    /// The HTTP port of the origin.
    pub origin: SocketAddr,
    /// The tracker.
    pub tracker: SocketAddr,
    /// Tag look-ups.
    pub tags: SocketAddr,
    /// Probes, metrics and status.
    pub admin: SocketAddr,
}

/// The bound ports.
pub(crate) struct Listeners {
    pub(crate) registry: Listener,
    pub(crate) peer: TcpListener,
    pub(crate) origin: Listener,
    pub(crate) tracker: Listener,
    pub(crate) tags: Listener,
    pub(crate) admin: Listener,
}

impl Listeners {
    /// Takes every port that the configuration names.
    pub(crate) async fn bind(config: &Config, metrics: &HttpMetrics) -> Result<Self> {
        let http = async |key: &'static str, name: &'static str, addr| {
            let listener = Listener::bind(addr).await.with_context(|| cannot_listen(key, addr))?;
            anyhow::Ok(listener.with_metrics(metrics.listener(name)))
        };
        let peer_addr = config.origin.peer_listen;
        Ok(Self {
            registry: http("registry.listen", "registry", config.registry.listen).await?,
            peer: TcpListener::bind(peer_addr)
                .await
                .with_context(|| cannot_listen("origin.peer_listen", peer_addr))?,
            origin: http("origin.listen", "origin", config.origin.listen).await?,
            tracker: http("tracker.listen", "tracker", config.tracker.listen).await?,
            tags: http("tags.listen", "tags", config.tags.listen).await?,
            admin: http("admin.listen", "admin", config.admin.listen).await?,
        })
    }

    pub(crate) fn addresses(&self) -> Result<Addresses> {
        Ok(Addresses {
            registry: self.registry.local_addr(),
            peer: self.peer.local_addr().context("the swarm port has no address")?,
            origin: self.origin.local_addr(),
            tracker: self.tracker.local_addr(),
            tags: self.tags.local_addr(),
            admin: self.admin.local_addr(),
        })
    }
}

fn cannot_listen(key: &str, addr: SocketAddr) -> String {
    format!("cannot listen on {addr} ({key}); another process has it, or the address is not of this machine")
}
