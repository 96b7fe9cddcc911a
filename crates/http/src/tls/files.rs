//! From PEM files to certificates and keys, and the stamps that tell when a file has changed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::TlsError;

/// The longest PEM file that is read. The authorities of a whole system are 220 KB.
const FILE_LEN_MAX: u64 = 8 * 1024 * 1024;

/// A certificate with its chain and its key.
pub(super) fn pair(
    certificate: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let chain = certificates(certificate)?;
    if let Some(first) = chain.first() {
        super::peer::warn_of_dates(certificate, first)?;
    }
    let der = private_key(key)?;
    let signer = provider
        .key_provider
        .load_private_key(der)
        .map_err(|error| TlsError::Key { path: key.to_owned(), why: error.to_string() })?;
    let pair = CertifiedKey::new(chain, signer);
    match pair.keys_match() {
        // A key that does not tell its public half cannot be compared; the handshake will.
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(pair),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(TlsError::Mismatch { certificate: certificate.to_owned(), key: key.to_owned() })
        }
        Err(error) => Err(TlsError::Certificate { path: certificate.to_owned(), why: error.to_string() }),
    }
}

/// The certificate authorities of a file.
pub(super) fn authorities(path: &Path) -> Result<Arc<RootCertStore>, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(path)? {
        store
            .add(certificate)
            .map_err(|error| TlsError::Authorities { path: path.to_owned(), why: error.to_string() })?;
    }
    Ok(Arc::new(store))
}

/// All certificates of a file, at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path)?;
    let not_pem = |why: String| TlsError::NotPem {
        path: path.to_owned(),
        wanted: "certificate",
        section: "CERTIFICATE",
        why,
    };
    let found: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if found.is_empty() => Err(not_pem(described(&text).to_owned())),
        Ok(found) => Ok(found),
        Err(error) => Err(not_pem(error.to_string())),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = read(path)?;
    let not_pem = |why: String| TlsError::NotPem {
        path: path.to_owned(),
        wanted: "private key",
        section: "PRIVATE KEY",
        why,
    };
    if text.windows(ENCRYPTED.len()).any(|window| window == ENCRYPTED) {
        return Err(not_pem("the key is encrypted; decrypt it with \"openssl pkey\"".to_owned()));
    }
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        pem::Error::NoItemsFound => not_pem(described(&text).to_owned()),
        error => not_pem(error.to_string()),
    })
}

const ENCRYPTED: &[u8] = b"ENCRYPTED PRIVATE KEY";

/// What a file without the section holds, without showing any of it.
fn described(text: &[u8]) -> &'static str {
    if text.is_empty() {
        "the file is empty"
    } else if text.first() == Some(&0x30) {
        "the file looks like DER; convert it with openssl"
    } else if text.windows(10).any(|window| window == b"-----BEGIN") {
        "the file holds other sections only"
    } else {
        "the file is not PEM"
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |source| TlsError::Read { path: path.to_owned(), source };
    let len = fs::metadata(path).map_err(failed)?.len();
    if len > FILE_LEN_MAX {
        let why = format!("{len} bytes are no certificate file; at most {FILE_LEN_MAX} are read");
        return Err(failed(std::io::Error::other(why)));
    }
    fs::read(path).map_err(failed)
}

/// What files looked like when they were last read.
#[derive(Debug)]
pub(super) struct Stamps {
    paths: Vec<PathBuf>,
    seen: Mutex<Vec<Stamp>>,
}

/// Device, inode, size and time of change to the nanosecond; `None` for a file that is not there.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

impl Stamps {
    /// Looks at the files. Call before they are read, so that a change in between is noticed.
    pub(super) fn new(paths: Vec<PathBuf>) -> Self {
        let seen = Mutex::new(look(&paths));
        Self { paths, seen }
    }

    /// Whether the files changed since the last time that this was true.
    pub(super) fn changed(&self) -> bool {
        let now = look(&self.paths);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = *seen != now;
        *seen = now;
        changed
    }
}

fn look(paths: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |path: &PathBuf| {
        let found = fs::metadata(path).ok()?;
        Some((found.dev(), found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
    };
    paths.iter().map(stamp).collect()
}
