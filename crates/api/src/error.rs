//! Why one of our processes could not talk to another.

/// A failed conversation. Errors that are answers (a blob that is not there) are values of the answer, not of this type.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// A URL in the configuration is not one.
    #[error("`{url}` is not a usable address ({why}); write it as http://host:port")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The other side could not be reached, was too slow, or answered with an error status.
    #[error("cannot {what}: {source}")]
    Http {
        /// What was asked of whom.
        what: String,
        /// How it failed.
        source: shoal_http::ClientError,
    },
    /// The other side answered in words that we do not know: a different version, or not our process.
    #[error(
        "cannot {what}: the answer is not understood: {why}; is it the address of a shoal process of this version?"
    )]
    Answer {
        /// What was asked of whom.
        what: String,
        /// What is wrong with the answer.
        why: String,
    },
}

impl ApiError {
    /// Whether the same question may get an answer later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Url { .. } | Self::Answer { .. } => false,
            Self::Http { source, .. } => source.is_retryable(),
        }
    }
}
