//! TLS of listeners and clients: the only place of the house that knows rustls.
//!
//! Goals: certificates, keys and authorities come from files and follow them while the program runs; a broken new pair never
//! replaces a working one; errors name the file and the remedy. Every consumer (HTTP listeners, the HTTP client, peers of the
//! swarm) takes its configuration from here, so that versions, suites and checks are the same everywhere. Non-goals: obtaining
//! certificates (cert-manager and ACME clients write files), revocation lists. The price: a connection that is open keeps the
//! certificate it began with.

mod anybody;
mod client;
mod cluster;
mod error;
mod files;
mod members;
mod peer;
mod roots;
mod watch;

use std::path::PathBuf;
use std::sync::{Arc, RwLock};

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use tokio_rustls::TlsAcceptor;

pub use client::{ClientTls, ClientTlsFiles, Identity};
pub use cluster::{ClusterTls, ClusterTlsFiles, PeerSocket};
pub use error::TlsError;
pub use peer::PeerCertificate;

use crate::Shutdown;
use files::Stamps;
use members::Clients;

/// Where a server's certificate is, and whose clients it trusts. All files are PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, followed by the intermediate ones.
    pub certificate: PathBuf,
    /// The private key of the certificate: PKCS #8, PKCS #1 or SEC 1, not encrypted.
    pub key: PathBuf,
    /// Authorities whose client certificates are accepted; `None` asks for none.
    pub client_ca: Option<PathBuf>,
    /// Whether a client without a certificate is refused. Means nothing without `client_ca`.
    pub client_required: bool,
}

impl TlsFiles {
    fn paths(&self) -> Vec<PathBuf> {
        let own = [self.certificate.clone(), self.key.clone()];
        own.into_iter().chain(self.client_ca.clone()).collect()
    }
}

/// What HTTP listeners offer, best first.
const HTTP_PROTOCOLS: &[&[u8]] = &[b"h2", b"http/1.1"];

/// The TLS side of a server. Clones share the files and the certificate in use.
#[derive(Clone, Debug)]
pub struct Tls(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    files: TlsFiles,
    protocols: Vec<Vec<u8>>,
    /// Only members of the cluster are let in.
    members_only: bool,
    current: RwLock<Arc<ServerConfig>>,
    /// What the files looked like when `current` was read from them.
    stamps: Stamps,
}

impl Tls {
    /// Reads the files, for a server that speaks HTTP/2 and HTTP/1.1.
    ///
    /// # Errors
    /// [`TlsError`], which names the file and what to do about it.
    pub fn server(files: TlsFiles) -> Result<Self, TlsError> {
        Self::with_protocols(files, HTTP_PROTOCOLS)
    }

    /// Reads the files, for a server of other protocols (ALPN, RFC 7301). A client that offers protocols of which none is here is
    /// refused; one that offers none is not.
    ///
    /// # Errors
    /// As [`Self::server`].
    pub fn with_protocols(files: TlsFiles, protocols: &[&[u8]]) -> Result<Self, TlsError> {
        Self::build(files, protocols, false)
    }

    /// As [`Self::with_protocols`], for the ports on which members of the cluster whose authority is `files.client_ca` talk.
    fn of_member(files: TlsFiles, protocols: &[&[u8]]) -> Result<Self, TlsError> {
        Self::build(files, protocols, true)
    }

    fn build(files: TlsFiles, protocols: &[&[u8]], members_only: bool) -> Result<Self, TlsError> {
        let stamps = Stamps::new(files.paths());
        let protocols: Vec<_> = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let current = RwLock::new(Arc::new(load(&files, &protocols, members_only)?));
        Ok(Self(Arc::new(Inner { files, protocols, members_only, current, stamps })))
    }

    /// Reads the files again. Connections that begin from now on use what was read.
    ///
    /// # Errors
    /// As [`Self::server`]; what was in use before stays in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        let fresh = Arc::new(load(&self.0.files, &self.0.protocols, self.0.members_only)?);
        *self.0.current.write().unwrap_or_else(std::sync::PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// Reads the files again whenever they change, until `shutdown`. Files that do not belong together (one of them is still being
    /// written) are reported, and the pair in use stays.
    pub async fn watch(self, shutdown: Shutdown) {
        let subject = self.0.files.certificate.display().to_string();
        watch::follow(&self.0.stamps, &shutdown, &subject, || self.reload()).await;
    }

    /// Accepts connections with the certificate in use now. Ask again for every connection.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(
            &self.0.current.read().unwrap_or_else(std::sync::PoisonError::into_inner),
        ))
    }
}

fn load(files: &TlsFiles, protocols: &[Vec<u8>], members_only: bool) -> Result<ServerConfig, TlsError> {
    let provider = provider();
    let pair = files::pair(&files.certificate, &files.key, &provider)?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(VERSIONS)
        .map_err(TlsError::Internal)?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(files::authorities(path)?, provider);
            let verifier = if files.client_required { verifier } else { verifier.allow_unauthenticated() };
            let verifier = verifier
                .build()
                .map_err(|error| TlsError::Authorities { path: path.clone(), why: error.to_string() })?;
            builder.with_client_cert_verifier(if members_only {
                Arc::new(Clients(verifier))
            } else {
                verifier
            })
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(pair)));
    config.alpn_protocols = protocols.to_vec();
    // Sealed tickets instead of a table of sessions: a node that comes back skips the expensive half of the handshake, and ten
    // thousand nodes cost no memory. The sealing keys live as long as this configuration, so a new authority ends old sessions.
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(TlsError::Internal)?;
    Ok(config)
}

/// TLS 1.0 and 1.1 are forbidden (RFC 8996); no client that pulls images needs them.
const VERSIONS: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
