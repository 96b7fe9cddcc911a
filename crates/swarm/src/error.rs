//! What a caller can be told when a blob or a piece of it cannot be had.

/// Why a blob could not be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The tracker answered, and no owner has the blob.
    #[error("no owner has this blob; check the digest, or push it first")]
    NotFound,
    /// Nobody who could know or serve the blob answered in time.
    #[error(
        "neither tracker nor peers nor owners could be reached in time; check the tracker's address and its logs"
    )]
    Unavailable,
    /// The disk or the store's capacity is used up.
    #[error("no space left for this blob; enlarge the cache or free space on its disk")]
    NoSpace,
    /// A fault on our side.
    #[error("the blob could not be opened: {0}")]
    Internal(String),
}

/// Why a piece could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No source delivered anything within the stall limit.
    #[error("the download stalled: no source delivered anything in time")]
    Stalled,
    /// Nobody has the blob any more, or this process is shutting down.
    #[error("no source for this blob is reachable any more")]
    Unavailable,
    /// The disk returned wrong bytes again and again, also right after they had been fetched anew.
    #[error("the disk keeps returning wrong bytes for this blob; check it and its file system")]
    Corrupt,
    /// The cluster has fetched all of the blob and found it to be another one; nothing of it is kept.
    #[error("the blob's source has other content than its digest says; ask another source")]
    Refuted,
    /// The disk failed.
    #[error("the disk failed: {0}")]
    Io(String),
}
