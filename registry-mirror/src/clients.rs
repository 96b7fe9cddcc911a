//! How the agent reaches the server: as a client of its registry, and as a member of its cluster.
//!
//! Two clients, because they trust different authorities and show different things: a password never goes to a tracker, and the word
//! of the cluster never to a registry that stands elsewhere.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use shoal_config::Secret;
use shoal_http::{
    Client, ClientOptions, ClientTls, ClientTlsFiles, ClusterTls, ClusterTlsFiles, Identity, Shutdown,
};
use shoal_swarm::{Envelope, Enveloped};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::config::{self, Config};

/// The agent's clients and what they trust.
pub(crate) struct Clients {
    /// For the registry.
    pub(crate) registry: Client,
    /// For trackers and origins.
    pub(crate) cluster: Client,
    /// What connections of the swarm are put into.
    pub(crate) envelope: Option<Arc<dyn Envelope>>,
    registry_tls: ClientTls,
    cluster_tls: Option<ClusterTls>,
}

impl Clients {
    /// Reads the certificates that the configuration names.
    pub(crate) fn new(config: &Config) -> Result<Self> {
        let files = config.cluster_tls.as_ref().map(config::ClusterTls::files);
        let cluster_tls = files.as_ref().map(ClusterTls::new).transpose().context("cluster_tls")?;
        let registry_tls = ClientTls::new(ClientTlsFiles {
            ca: config.server.ca.clone().or_else(|| files.as_ref().map(|files| files.ca.clone())),
            identity: files
                .as_ref()
                .map(|files| Identity { certificate: files.certificate.clone(), key: files.key.clone() }),
        });
        let registry_tls = registry_tls.context("server.ca")?;
        let secret = config.cluster_key.as_ref().map(Secret::reveal);
        let envelope = cluster_tls.clone().map(|tls| Arc::new(Members(tls)) as Arc<dyn Envelope>);
        Ok(Self {
            registry: Client::new(&ClientOptions {
                tls: Some(registry_tls.clone()),
                authorization: basic(&config.server)?,
                ..ClientOptions::default()
            }),
            cluster: Client::new(&ClientOptions {
                tls: cluster_tls.as_ref().map(|tls| tls.client().clone()),
                authorization: shoal_api::cluster_authorization(secret),
                ..ClientOptions::default()
            }),
            envelope,
            registry_tls,
            cluster_tls,
        })
    }

    /// Follows the files until `shutdown`.
    pub(crate) fn watch(&self, shutdown: &Shutdown) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        tasks.spawn(self.registry_tls.clone().watch(shutdown.clone()));
        if let Some(tls) = self.cluster_tls.clone() {
            tasks.spawn(tls.watch(shutdown.clone()));
        }
        tasks
    }
}

/// Name and password as a header (RFC 7617).
fn basic(server: &config::Server) -> Result<Option<HeaderValue>> {
    let (Some(name), Some(password)) = (&server.username, &server.password) else { return Ok(None) };
    let encoded = STANDARD.encode(format!("{name}:{}", password.reveal()));
    HeaderValue::try_from(format!("Basic {encoded}")).map(Some).context("server.username")
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

impl config::ClusterTls {
    fn files(&self) -> ClusterTlsFiles {
        ClusterTlsFiles { ca: self.ca.clone(), certificate: self.certificate.clone(), key: self.key.clone() }
    }
}
