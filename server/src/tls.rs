//! The server's certificates, and the envelope that they make for peers of the swarm.

use std::io;
use std::net::SocketAddr;

use anyhow::{Context, Result};
use async_trait::async_trait;
use shoal_http::{ClusterTls, Listener, Shutdown, Tls};
use shoal_swarm::{Envelope, Enveloped};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::config::Config;

/// The certificates in use.
#[derive(Clone)]
pub(crate) struct Certificates {
    registry: Option<Tls>,
    cluster: Option<ClusterTls>,
}

impl Certificates {
    /// Reads the files that the configuration names.
    pub(crate) fn load(config: &Config) -> Result<Self> {
        let registry = config.registry.tls.as_ref().map(|tls| Tls::server(tls.files()));
        let cluster = config.cluster_tls.as_ref().map(|tls| ClusterTls::new(&tls.files()));
        Ok(Self {
            registry: registry.transpose().context("registry.tls")?,
            cluster: cluster.transpose().context("cluster_tls")?,
        })
    }

    /// The registry's port as its clients see it.
    pub(crate) fn of_registry(&self, listener: Listener) -> Listener {
        match &self.registry {
            Some(tls) => listener.with_tls(tls.clone()),
            None => listener,
        }
    }

    /// A port that is for members of the cluster.
    pub(crate) fn of_members(&self, listener: Listener) -> Listener {
        match &self.cluster {
            Some(tls) => listener.with_tls(tls.server().clone()),
            None => listener,
        }
    }

    /// What connections of the swarm are put into.
    pub(crate) fn envelope(&self) -> Option<std::sync::Arc<dyn Envelope>> {
        let tls = self.cluster.clone()?;
        Some(std::sync::Arc::new(Members(tls)))
    }

    /// Whether the ports of members speak TLS.
    pub(crate) const fn is_cluster_secure(&self) -> bool {
        self.cluster.is_some()
    }

    /// Follows the files until `shutdown`.
    pub(crate) fn watch(&self, tasks: &mut JoinSet<()>, shutdown: &Shutdown) {
        if let Some(tls) = self.registry.clone() {
            tasks.spawn(tls.watch(shutdown.clone()));
        }
        if let Some(tls) = self.cluster.clone() {
            tasks.spawn(tls.watch(shutdown.clone()));
        }
    }
}

/// TLS between members.
#[derive(Debug)]
struct Members(ClusterTls);

#[async_trait]
impl Envelope for Members {
    async fn accept(&self, stream: TcpStream) -> io::Result<Box<dyn Enveloped>> {
        Ok(Box::new(self.0.accept_peer(stream).await?))
    }

    async fn connect(&self, stream: TcpStream, addr: SocketAddr) -> io::Result<Box<dyn Enveloped>> {
        Ok(Box::new(self.0.connect_peer(stream, addr).await?))
    }
}
