//! Certificates: of the registry for its clients, and of this member for the others of its cluster.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use shoal_http::{ClusterTlsFiles, TlsFiles};

/// TLS on the registry's port. Files are PEM and are read again when they change.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryTls {
    /// The certificate, followed by the intermediate ones.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Authorities whose client certificates are accepted. Unset: clients are not asked for one.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
    /// Whether clients without a certificate are turned away.
    #[serde(default)]
    pub client_required: bool,
}

/// What this server shows the agents, and whom it takes for one: `shoalctl ca issue DIR NAME --as server` makes the files. With it, every
/// port but the registry's and the admin's speaks TLS and takes members of the cluster only.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterTls {
    /// The cluster's authority; several while it is rotated.
    pub ca: PathBuf,
    /// This server's certificate.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl RegistryTls {
    /// As the listener takes it.
    pub fn files(&self) -> TlsFiles {
        TlsFiles {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            client_ca: self.client_ca.clone(),
            client_required: self.client_required,
        }
    }
}

impl ClusterTls {
    /// As the listeners and the swarm take it.
    pub fn files(&self) -> ClusterTlsFiles {
        ClusterTlsFiles { ca: self.ca.clone(), certificate: self.certificate.clone(), key: self.key.clone() }
    }
}
