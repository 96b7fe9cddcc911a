//! What can keep an origin from answering about a blob.

use shoal_oci::Digest;

/// Why a blob that is here could not be read.
#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    /// The store failed; a blob that is not there is a value, not this error.
    #[error(transparent)]
    Store(#[from] shoal_store::Error),
    /// The bytes on the disk are not those that were stored.
    #[error("blob {0} is damaged on this origin's disk")]
    Damaged(Digest),
    /// Too many bodies are being sent.
    #[error("too many reads are under way; ask again")]
    Busy,
    /// The blob, or these bytes of it, are still to come.
    #[error("blob {0} is arriving at this origin; ask again")]
    Arriving(Digest),
    /// A task of ours ended early.
    #[error("a task ended early: {0}")]
    Task(#[from] tokio::task::JoinError),
}
