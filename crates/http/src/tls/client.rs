//! The TLS side of a client: whom it trusts, and the certificate it shows.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use super::anybody::Anybody;
use super::files::{self, Stamps};
use super::members::{Expected, Servers};
use super::{TlsError, VERSIONS, provider, roots, watch};
use crate::Shutdown;

/// Where a client's authorities and certificate are. All files are PEM. The default trusts the system's authorities and shows no
/// certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientTlsFiles {
    /// Authorities that sign the servers' certificates; `None` for those of the system.
    pub ca: Option<PathBuf>,
    /// The certificate that is shown to servers that ask for one.
    pub identity: Option<Identity>,
}

/// A client's certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, followed by the intermediate ones.
    pub certificate: PathBuf,
    /// The private key: PKCS #8, PKCS #1 or SEC 1, not encrypted.
    pub key: PathBuf,
}

/// Which names a server's certificate must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Names {
    /// The one that was dialled.
    Checked,
    /// What the certificate says about its holder decides.
    Cluster(Expected),
    /// Any certificate will do.
    Unchecked,
}

/// The TLS side of a client. Clones share the files and what was read from them.
#[derive(Clone, Debug)]
pub struct ClientTls(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    files: ClientTlsFiles,
    protocols: Vec<Vec<u8>>,
    names: Names,
    current: RwLock<Arc<ClientConfig>>,
    stamps: Stamps,
}

impl ClientTls {
    /// Reads the files, for an HTTP client.
    ///
    /// # Errors
    /// [`TlsError`], which names the file and what to do about it.
    pub fn new(files: ClientTlsFiles) -> Result<Self, TlsError> {
        Self::with_protocols(files, &[b"http/1.1"])
    }

    /// Reads the files, for a client of other protocols (ALPN, RFC 7301), best first.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_protocols(files: ClientTlsFiles, protocols: &[&[u8]]) -> Result<Self, TlsError> {
        Self::build(files, protocols, Names::Checked)
    }

    /// As [`Self::new`], for a client that takes whoever answers for whom it dialled: what is sent is encrypted, and anybody on the way can
    /// read and change it all the same.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn without_verification(files: ClientTlsFiles) -> Result<Self, TlsError> {
        Self::build(files, &[b"http/1.1"], Names::Unchecked)
    }

    /// As [`Self::with_protocols`], for a member of a cluster whose authority is `files.ca`.
    pub(super) fn of_member(
        files: ClientTlsFiles,
        protocols: &[&[u8]],
        expected: Expected,
    ) -> Result<Self, TlsError> {
        Self::build(files, protocols, Names::Cluster(expected))
    }

    fn build(files: ClientTlsFiles, protocols: &[&[u8]], names: Names) -> Result<Self, TlsError> {
        let identity = files.identity.iter().flat_map(|own| [own.certificate.clone(), own.key.clone()]);
        let stamps = Stamps::new(identity.chain(files.ca.clone()).collect());
        let protocols: Vec<_> = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let current = RwLock::new(Arc::new(load(&files, &protocols, names)?));
        Ok(Self(Arc::new(Inner { files, protocols, names, current, stamps })))
    }

    /// Reads the files again. Connections that begin from now on use what was read.
    ///
    /// # Errors
    /// As [`Self::new`]; what was in use before stays in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        let fresh = Arc::new(load(&self.0.files, &self.0.protocols, self.0.names)?);
        *self.0.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// Reads the files again whenever they change, until `shutdown`. What cannot be used is reported, and the old files stay.
    pub async fn watch(self, shutdown: Shutdown) {
        let identity = self.0.files.identity.as_ref().map(|own| &own.certificate);
        let subject = identity.or(self.0.files.ca.as_ref()).map(|path| path.display().to_string());
        watch::follow(&self.0.stamps, &shutdown, &subject.unwrap_or_default(), || self.reload()).await;
    }

    /// Makes connections with what is in use now. Ask again for every connection.
    pub fn connector(&self) -> TlsConnector {
        TlsConnector::from(Arc::clone(&self.0.current.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn load(files: &ClientTlsFiles, protocols: &[Vec<u8>], names: Names) -> Result<ClientConfig, TlsError> {
    let provider = provider();
    let roots = match &files.ca {
        Some(path) => files::authorities(path)?,
        None if names == Names::Unchecked => Arc::new(RootCertStore::empty()),
        None => roots::system()?,
    };
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(VERSIONS)
        .map_err(TlsError::Internal)?;
    let builder = match names {
        Names::Checked => builder.with_root_certificates(roots),
        Names::Cluster(expected) => {
            let verifier = Servers::new(roots, Arc::clone(&provider), expected)?;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        }
        Names::Unchecked => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(Arc::clone(&provider))))
        }
    };
    let mut config = match &files.identity {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let pair = files::pair(&own.certificate, &own.key, &provider)?;
            builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(pair)))
        }
    };
    config.alpn_protocols = protocols.to_vec();
    Ok(config)
}
