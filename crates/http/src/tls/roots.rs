//! The certificate authorities of the system.

use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;

use super::{TlsError, files};

/// Where distributions keep all authorities in one file: Debian, Ubuntu, Alpine, Arch; Fedora, RHEL; openSUSE; Alpine's OpenSSL.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The authorities of the first bundle that exists. Certificates in it that rustls cannot use are left out, as others do.
pub(super) fn system() -> Result<Arc<RootCertStore>, TlsError> {
    for path in BUNDLES.map(Path::new) {
        if !path.exists() {
            continue;
        }
        let mut store = RootCertStore::empty();
        let (added, _unusable) = store.add_parsable_certificates(files::certificates(path)?);
        if added > 0 {
            return Ok(Arc::new(store));
        }
    }
    Err(TlsError::NoRoots { looked: BUNDLES.join(", ") })
}
