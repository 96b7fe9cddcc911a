//! Why webhooks or the audit log could not be started.

use std::path::PathBuf;

/// A start that failed.
#[derive(Debug, thiserror::Error)]
pub enum EventsError {
    /// The audit log's file cannot be opened.
    #[error("cannot open the audit log {}: {source}; make its directory, and writable for the server", path.display())]
    AuditFile {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// No thread could be started.
    #[error("cannot start the audit log's thread: {0}")]
    Thread(#[source] std::io::Error),
    /// An endpoint's certificate authorities cannot be used.
    #[error("the endpoint {endpoint}: {source}")]
    Tls {
        /// Its name in the configuration.
        endpoint: String,
        /// Which file, and what to do about it.
        source: shoal_http::TlsError,
    },
    /// The queue cannot be read.
    #[error("cannot read the queue of events: {0}")]
    Queue(#[from] shoal_metadata::Error),
}
