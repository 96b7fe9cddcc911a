//! Why an upstream gave no answer that can be used.

use std::time::Duration;

use shoal_http::ClientError;

/// What a caller can do about an [`UpstreamError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamErrorKind {
    /// The upstream says that there is no such thing.
    NotFound,
    /// The upstream says that these credentials (or none) do not give it.
    Denied,
    /// Not now: what was had before may stand in.
    Unavailable,
    /// We do not do that, or the answer is not one that we take.
    Refused,
}

/// A question to an upstream that failed. Never holds a credential.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// 404.
    #[error("{0} has no such content")]
    NotFound(String),
    /// 401 or 403 after everything that we have was shown.
    #[error("{registry} does not give it ({status}): {why}; check the credentials of this upstream")]
    Denied {
        /// Which upstream.
        registry: String,
        /// Its status.
        status: u16,
        /// Its words, or ours.
        why: String,
    },
    /// 429, now or a moment ago.
    #[error("{registry} asks for a pause, {} s of which are left", .left.as_secs())]
    Paused {
        /// Which upstream.
        registry: String,
        /// How long nothing is asked.
        left: Duration,
    },
    /// It cannot be reached, fails, or takes too long.
    #[error("{registry} cannot be asked: {why}")]
    Unavailable {
        /// Which upstream.
        registry: String,
        /// What happened.
        why: String,
    },
    /// A rule of ours forbids it: an address, a redirect, a downgrade.
    #[error("{registry} is not asked: {why}")]
    Refused {
        /// Which upstream.
        registry: String,
        /// Which rule.
        why: String,
    },
    /// The answer is not what it should be.
    #[error("the answer of {registry} is not taken: {why}")]
    Invalid {
        /// Which upstream.
        registry: String,
        /// What is wrong with it.
        why: String,
    },
    /// Our own credentials cannot be read.
    #[error("the credentials for {registry} cannot be had: {why}")]
    Credentials {
        /// Which upstream.
        registry: String,
        /// What happened.
        why: String,
    },
}

impl UpstreamError {
    /// What a caller can do about it.
    pub const fn kind(&self) -> UpstreamErrorKind {
        match self {
            Self::NotFound(_) => UpstreamErrorKind::NotFound,
            Self::Denied { .. } => UpstreamErrorKind::Denied,
            Self::Paused { .. } | Self::Unavailable { .. } | Self::Credentials { .. } => {
                UpstreamErrorKind::Unavailable
            }
            Self::Refused { .. } | Self::Invalid { .. } => UpstreamErrorKind::Refused,
        }
    }

    pub(crate) fn unavailable(registry: &str, why: impl Into<String>) -> Self {
        Self::Unavailable { registry: registry.to_owned(), why: why.into() }
    }

    pub(crate) fn refused(registry: &str, why: impl Into<String>) -> Self {
        Self::Refused { registry: registry.to_owned(), why: why.into() }
    }

    pub(crate) fn invalid(registry: &str, why: impl Into<String>) -> Self {
        Self::Invalid { registry: registry.to_owned(), why: why.into() }
    }

    /// The client's error. URLs are left out: that of a blob after a redirect is a credential in itself.
    pub(crate) fn of_client(registry: &str, error: ClientError) -> Self {
        match error {
            ClientError::Refused { authority, why } => Self::refused(registry, format!("{authority}: {why}")),
            ClientError::Timeout { after, .. } => {
                Self::unavailable(registry, format!("no answer within {after:?}"))
            }
            ClientError::Connect { authority, why } => {
                Self::unavailable(registry, format!("cannot connect to {authority}: {why}"))
            }
            ClientError::Broken { authority, why } => {
                Self::unavailable(registry, format!("the connection to {authority} broke: {why}"))
            }
            ClientError::Body { source, .. } => Self::unavailable(registry, source.to_string()),
            ClientError::Status { status, .. } => {
                Self::unavailable(registry, format!("it answered {status}"))
            }
            ClientError::Invalid(error) => Self::invalid(registry, error.to_string()),
            ClientError::Json { source, .. } => Self::invalid(registry, source.to_string()),
        }
    }
}
