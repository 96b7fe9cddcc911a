//! Why files do not make a TLS configuration. Every sentence names the file and the remedy: these errors are read by whoever has
//! just installed a certificate.

use std::io;
use std::path::PathBuf;

/// What is wrong with certificates, keys or authorities.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read.
    #[error(
        "cannot read {path}: {source}; the file must exist and be readable by the user that runs the program"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file holds something else, or nothing.
    #[error(
        "{path} holds no {wanted} in PEM form ({why}); it must contain a section \"-----BEGIN {section}-----\""
    )]
    NotPem {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        wanted: &'static str,
        /// The name of the PEM section.
        section: &'static str,
        /// What was found instead.
        why: String,
    },
    /// The key is of a kind or size that is not supported, or damaged.
    #[error(
        "the private key in {path} cannot be used: {why}; use an RSA (2048 bits or more), ECDSA (P-256, P-384, P-521) or Ed25519 key"
    )]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The certificate is damaged.
    #[error("the certificate in {path} cannot be used: {why}; issue it again as an X.509 v3 certificate")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Certificate and key do not belong together.
    #[error(
        "the key in {key} does not belong to the certificate in {certificate}; install the pair that was issued together"
    )]
    Mismatch {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
    },
    /// No usable authority.
    #[error(
        "the authorities in {path} cannot be used: {why}; the file must hold CA certificates in PEM form"
    )]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong with them.
        why: String,
    },
    /// The system has no authorities, and none were named.
    #[error(
        "no certificate authorities were found in {looked}; install the package ca-certificates, or name a ca file"
    )]
    NoRoots {
        /// The files that were looked for.
        looked: String,
    },
    /// The library refuses. Not caused by a file.
    #[error("TLS cannot be set up: {0}")]
    Internal(#[source] rustls::Error),
}
