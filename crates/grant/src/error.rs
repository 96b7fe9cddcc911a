//! Why there is no grant, and why one does not hold.

use std::io;
use std::path::PathBuf;

/// Keys cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    /// A file cannot be read or written.
    #[error("cannot {doing} {}: {source}", path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file is no key.
    #[error("{} is not a key that can be used here: {why}", path.display())]
    Key {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The system gives no random numbers.
    #[error("a key cannot be made: the system gives no random numbers")]
    Random,
}

/// Why a grant does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is none.
    #[error("no grant")]
    None,
    /// It is none of ours.
    #[error("not a grant of a form that is known")]
    Form,
    /// Its key is not known, or no longer.
    #[error("signed with a key that is not known")]
    Key,
    /// It is not for this peer, blob or cluster, or it was made up.
    #[error("not signed for this peer and this blob")]
    Signature,
    /// Its time is over.
    #[error("expired")]
    Expired,
}
