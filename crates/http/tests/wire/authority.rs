//! Certificates for tests, written to a directory.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use shoal_http::{ClientTls, ClientTlsFiles, Identity, TlsFiles};
use tempfile::TempDir;

/// A certificate authority with a directory for what it issues.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: TempDir,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test authority");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// Issues `params` into `<name>.pem` and `<name>.key`.
    pub(crate) fn issue(&self, name: &str, params: &CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let own = Identity {
            certificate: self.path(&format!("{name}.pem")),
            key: self.path(&format!("{name}.key")),
        };
        replace(&own.key, &key.serialize_pem());
        replace(&own.certificate, &certificate.pem());
        own
    }

    /// A certificate for 127.0.0.1 and localhost, with `name` as its common name.
    pub(crate) fn server(&self, name: &str) -> TlsFiles {
        let mut params =
            CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let own = self.issue(name, &params);
        TlsFiles { certificate: own.certificate, key: own.key, client_ca: None, client_required: false }
    }

    /// A client's certificate with names of every kind.
    pub(crate) fn client(&self, name: &str) -> Identity {
        let mut params = CertificateParams::new(vec![format!("{name}.example")]).unwrap();
        params.subject_alt_names.push(SanType::URI(format!("spiffe://example/{name}").try_into().unwrap()));
        params.subject_alt_names.push(SanType::Rfc822Name(format!("{name}@example.org").try_into().unwrap()));
        params.distinguished_name.push(DnType::CommonName, name);
        self.issue(name, &params)
    }

    /// A client that trusts this authority and shows `identity`.
    pub(crate) fn trusted_by(&self, identity: Option<Identity>) -> ClientTls {
        ClientTls::new(ClientTlsFiles { ca: Some(self.ca()), identity }).unwrap()
    }
}

/// Puts a new file in the place of `path`, as tools that renew certificates do.
pub(crate) fn replace(path: &Path, text: &str) {
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, text).unwrap();
    std::fs::rename(&fresh, path).unwrap();
}
