//! Who is at the other end of a socket: both sides send the same fixed bytes at once, and neither waits for the other to begin.
//!
//! Goal: a stranger, a port scanner or a peer of another cluster is gone after one short read, at the price of the socket and a few
//! hundred bytes. A silent one is gone after a time limit.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use shoal_swarm_protocol::{HANDSHAKE_LEN, Handshake, HandshakeError};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::envelope::{Envelope, Stream};
use crate::limits::SOCKET_UNSENT_BYTES;

/// Bytes of the protocol's name, with which a handshake begins.
const NAME_LEN: usize = 8;

/// How we introduce ourselves to everybody.
#[derive(Clone)]
pub(crate) struct Introduction {
    /// What we say.
    pub(crate) ours: Handshake,
    /// What we say it in.
    pub(crate) envelope: Option<Arc<dyn Envelope>>,
}

/// Why a connection did not come about.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// The other end did not complete its handshake in time.
    #[error("no handshake in time")]
    Silent,
    /// The other end speaks something else.
    #[error(transparent)]
    Stranger(#[from] HandshakeError),
    /// The other end belongs to another cluster.
    #[error("the peer belongs to another cluster; check the cluster key on both sides")]
    Cluster,
    /// The socket failed.
    #[error("the socket failed: {0}")]
    Io(#[from] io::Error),
}

/// Opens an accepted (`dialled` is `None`) or dialled socket and exchanges handshakes, both within `limit`. Returns what the other end said, once it is known to belong to our cluster.
///
/// An incoming connection hears nothing of us before it has shown that it belongs here.
pub(crate) async fn shake(
    stream: TcpStream,
    us: &Introduction,
    dialled: Option<SocketAddr>,
    limit: Duration,
) -> Result<(Stream, Handshake), Refusal> {
    tune(&stream)?;
    let meeting = async {
        let mut stream = open(stream, us.envelope.as_deref(), dialled).await?;
        let theirs = exchange(&mut stream, &us.ours, dialled.is_some()).await?;
        Ok((stream, theirs))
    };
    timeout(limit, meeting).await.unwrap_or(Err(Refusal::Silent))
}

/// Puts the socket into the envelope, if there is one.
async fn open(
    stream: TcpStream,
    envelope: Option<&dyn Envelope>,
    dialled: Option<SocketAddr>,
) -> io::Result<Stream> {
    match (envelope, dialled) {
        (None, _) => Ok(Stream::Plain(stream)),
        (Some(envelope), None) => envelope.accept(stream).await.map(Stream::Enveloped),
        (Some(envelope), Some(addr)) => envelope.connect(stream, addr).await.map(Stream::Enveloped),
    }
}

fn tune(stream: &TcpStream) -> io::Result<()> {
    // Requests and haves are small and somebody waits for each of them.
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_notsent_lowat(SOCKET_UNSENT_BYTES)
}

async fn exchange(stream: &mut Stream, ours: &Handshake, outbound: bool) -> Result<Handshake, Refusal> {
    if outbound {
        stream.write_all(&ours.encode()).await?;
        stream.flush().await?;
    }
    let mut bytes = [0; HANDSHAKE_LEN];
    stream.read_exact(&mut bytes[..NAME_LEN]).await?;
    // Whoever does not begin with the protocol's name need not go on.
    Handshake::decode(&bytes)?;
    stream.read_exact(&mut bytes[NAME_LEN..]).await?;
    let theirs = Handshake::decode(&bytes)?;
    if theirs.cluster != ours.cluster {
        return Err(Refusal::Cluster);
    }
    if !outbound {
        stream.write_all(&ours.encode()).await?;
        stream.flush().await?;
    }
    Ok(theirs)
}
