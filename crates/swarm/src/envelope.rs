//! What may be put around a peer connection: nothing, or whatever the program brings (TLS between members of a cluster).
//!
//! The room knows neither certificates nor ciphers. It asks the envelope to open a fresh socket from its side, gets a stream of bytes
//! back, and says its own handshake inside it. The price of the abstraction is paid only where there is an envelope: a plain socket
//! is split without a lock.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// A stream inside an envelope.
pub trait Enveloped: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Enveloped for T {}

/// Puts peer connections into something that says who is at the other end, and keeps others from listening.
#[async_trait]
pub trait Envelope: fmt::Debug + Send + Sync + 'static {
    /// Opens a connection that a peer made to us.
    ///
    /// # Errors
    /// When the peer does not belong here, or the socket fails. The caller limits the time.
    async fn accept(&self, stream: TcpStream) -> io::Result<Box<dyn Enveloped>>;

    /// Opens a connection that we made to a peer at `addr`.
    ///
    /// # Errors
    /// As for [`Self::accept`].
    async fn connect(&self, stream: TcpStream, addr: SocketAddr) -> io::Result<Box<dyn Enveloped>>;
}

/// A connection to a peer, with or without an envelope.
pub(crate) enum Stream {
    Plain(TcpStream),
    Enveloped(Box<dyn Enveloped>),
}

/// The half of a connection that is read.
pub(crate) enum ReadHalf {
    Plain(OwnedReadHalf),
    Enveloped(tokio::io::ReadHalf<Box<dyn Enveloped>>),
}

/// The half of a connection that is written.
pub(crate) enum WriteHalf {
    Plain(OwnedWriteHalf),
    Enveloped(tokio::io::WriteHalf<Box<dyn Enveloped>>),
}

impl Stream {
    /// Both halves, for two tasks.
    pub(crate) fn into_split(self) -> (ReadHalf, WriteHalf) {
        match self {
            Self::Plain(stream) => {
                let (read, write) = stream.into_split();
                (ReadHalf::Plain(read), WriteHalf::Plain(write))
            }
            Self::Enveloped(stream) => {
                let (read, write) = tokio::io::split(stream);
                (ReadHalf::Enveloped(read), WriteHalf::Enveloped(write))
            }
        }
    }
}

impl WriteHalf {
    /// The socket, when nothing is around it: the kernel may then copy files into it.
    pub(crate) fn socket(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(half) => Some(half.as_ref()),
            Self::Enveloped(_) => None,
        }
    }
}

/// Passes a call on to whichever stream it is.
macro_rules! each {
    ($type:ident, $self:expr, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            $type::Plain($stream) => $call,
            $type::Enveloped($stream) => $call,
        }
    };
}

macro_rules! read_through {
    ($type:ident) => {
        impl AsyncRead for $type {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffer: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                each!($type, self, stream => Pin::new(stream).poll_read(cx, buffer))
            }
        }
    };
}

macro_rules! write_through {
    ($type:ident) => {
        impl AsyncWrite for $type {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                each!($type, self, stream => Pin::new(stream).poll_write(cx, bytes))
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                slices: &[io::IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                each!($type, self, stream => Pin::new(stream).poll_write_vectored(cx, slices))
            }

            fn is_write_vectored(&self) -> bool {
                match self {
                    $type::Plain(stream) => stream.is_write_vectored(),
                    $type::Enveloped(stream) => stream.is_write_vectored(),
                }
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                each!($type, self, stream => Pin::new(stream).poll_flush(cx))
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                each!($type, self, stream => Pin::new(stream).poll_shutdown(cx))
            }
        }
    };
}

read_through!(Stream);
read_through!(ReadHalf);
write_through!(Stream);
write_through!(WriteHalf);
