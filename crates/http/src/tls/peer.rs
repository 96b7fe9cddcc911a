//! What a client's certificate says about the client.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use super::TlsError;

/// The names in a certificate that was verified during the handshake. Names are as the authority wrote them; compare them exactly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerCertificate {
    /// The last common name of the subject.
    pub common_name: Option<String>,
    /// DNS names of the subject's alternative names.
    pub dns: Vec<String>,
    /// URIs of the subject's alternative names, for example SPIFFE IDs.
    pub uris: Vec<String>,
    /// Mail addresses of the subject's alternative names.
    pub emails: Vec<String>,
    /// SHA-256 of the certificate (DER), 64 lower-case hexadecimal digits.
    pub fingerprint: String,
}

impl PeerCertificate {
    /// The names of `certificate`; `None` when it is not X.509, which the handshake has ruled out.
    pub(crate) fn read(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let mut found = Self {
            common_name: parsed
                .subject()
                .iter_common_name()
                .last()
                .and_then(|name| name.as_str().ok())
                .map(str::to_owned),
            fingerprint: hex::encode(Sha256::digest(certificate)),
            ..Self::default()
        };
        let names = parsed.subject_alternative_name().ok().flatten();
        for name in names.iter().flat_map(|names| &names.value.general_names) {
            match name {
                GeneralName::DNSName(name) => found.dns.push((*name).to_owned()),
                GeneralName::URI(name) => found.uris.push((*name).to_owned()),
                GeneralName::RFC822Name(name) => found.emails.push((*name).to_owned()),
                _ => {}
            }
        }
        Some(found)
    }
}

/// Warns of a certificate that clients will refuse because of its dates. It is used nevertheless: the clock may be wrong, and a
/// server that starts can be repaired by a new file.
pub(super) fn warn_of_dates(path: &Path, certificate: &CertificateDer<'_>) -> Result<(), TlsError> {
    let unusable = |why: String| TlsError::Certificate { path: path.to_owned(), why };
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| unusable(error.to_string()))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let validity = parsed.validity();
    if now > validity.not_after.timestamp() {
        tracing::warn!(path = %path.display(), expired = %validity.not_after, "the certificate has expired; clients will refuse it until it is replaced");
    } else if now < validity.not_before.timestamp() {
        tracing::warn!(path = %path.display(), begins = %validity.not_before, "the certificate is not valid yet; check the clock");
    }
    Ok(())
}
