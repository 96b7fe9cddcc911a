//! Who decides where a name leads: the seam for clients that must not connect just anywhere.

use std::fmt::Debug;
use std::io;

use async_trait::async_trait;
use http::Uri;
use tokio::net::TcpStream;

/// Makes the TCP connections of a client in place of the system's resolver. TLS is put on top by the client, with the name in the URI.
#[async_trait]
pub trait Dial: Debug + Send + Sync + 'static {
    /// A connection to the scheme, host and port of `uri`.
    ///
    /// # Errors
    /// [`DialError`].
    async fn dial(&self, uri: &Uri) -> Result<TcpStream, DialError>;
}

/// Why a dialer made no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// It is not to connect there, now or later.
    #[error("{0}")]
    Refused(String),
    /// It could not.
    #[error(transparent)]
    Failed(#[from] io::Error),
}
