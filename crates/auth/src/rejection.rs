//! Why somebody is not let in, and why the room cannot be set up.

use std::path::PathBuf;
use std::time::Duration;

/// Why credentials do not name anybody. The texts go to clients: none says whether it was the name or the password that was wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Credentials are needed and there are none.
    #[error("authentication is needed")]
    Missing,
    /// A wrong name or password.
    #[error("the name or the password is wrong")]
    Password,
    /// A token that is not, no longer or not yet good.
    #[error("the token is not accepted: {0}")]
    Token(&'static str),
    /// Credentials or a request for a token that cannot be read.
    #[error("{0}")]
    Malformed(&'static str),
    /// Too many failures lately, or too many attempts at once.
    #[error("too many failed or simultaneous attempts to log in; try again later")]
    TooMany {
        /// When to come back.
        retry_after: Duration,
    },
    /// Nothing is wrong with the credentials, but they cannot be checked now.
    #[error("the credentials cannot be checked now: {0}")]
    Unavailable(&'static str),
}

impl Rejection {
    /// The word for logs, audit records and the `error` of a challenge (RFC 6750 §3.1 where it has one).
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Missing => "missing_credentials",
            Self::Password => "wrong_password",
            Self::Token(_) => "invalid_token",
            Self::Malformed(_) => "invalid_request",
            Self::TooMany { .. } => "too_many_attempts",
            Self::Unavailable(_) => "unavailable",
        }
    }
}

/// Why the room cannot be set up, or its files cannot be read again.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// A file that cannot be read.
    #[error("{} cannot be read: {source}; check the path and its permissions", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file that cannot be written.
    #[error("{} cannot be written: {source}; the directory must exist and be writable", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A line of a password file that is not taken.
    #[error("{}: line {line}: {why}", path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from one.
        line: usize,
        /// What is wrong; never the line itself.
        why: String,
    },
    /// A key that is not one.
    #[error("{}: {why}", path.display())]
    Key {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Settings that contradict each other.
    #[error("{0}")]
    Settings(String),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Random,
}
