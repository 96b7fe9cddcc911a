//! Who is at the other end of a socket: the bytes of the protocol's handshake, within a time limit.
//!
//! Goal: a stranger, a port scanner or a peer of another cluster is gone after one short read and hears nothing, at the price of the socket
//! and a few hundred bytes. A silent or slow one is gone after a time limit.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use shoal_swarm_protocol::handshake::MAGIC;
use shoal_swarm_protocol::{
    Accepting, Dialling, HANDSHAKE_LEN, HandshakeError, Identity, NONCE_LEN, PROOF_LEN,
};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::envelope::{Envelope, Stream};
use crate::limits::SOCKET_UNSENT_BYTES;

/// How we introduce ourselves to everybody.
#[derive(Clone)]
pub(crate) struct Introduction {
    /// What we say.
    pub(crate) ours: Identity,
    /// What members know and nobody else.
    pub(crate) cluster_key: [u8; 32],
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
) -> Result<(Stream, Identity), Refusal> {
    tune(&stream)?;
    let meeting = async {
        let mut stream = open(stream, us.envelope.as_deref(), dialled).await?;
        let theirs = match dialled {
            Some(_) => greet(&mut stream, us).await?,
            None => receive(&mut stream, us).await?,
        };
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

/// The dialler's side. The first messages may follow the proof without waiting.
async fn greet(stream: &mut Stream, us: &Introduction) -> Result<Identity, Refusal> {
    let (dialling, hello) = Dialling::begin(&us.cluster_key, &us.ours, nonce()?);
    stream.write_all(&hello).await?;
    stream.flush().await?;
    let (theirs, proof) = dialling.finish(&read_handshake(stream).await?)?;
    stream.write_all(&proof).await?;
    stream.flush().await?;
    Ok(theirs)
}

/// The acceptor's side: silent until the other end has shown that it belongs here.
async fn receive(stream: &mut Stream, us: &Introduction) -> Result<Identity, Refusal> {
    let hello = read_handshake(stream).await?;
    let (accepting, answer) = Accepting::answer(&us.cluster_key, &us.ours, nonce()?, &hello)?;
    stream.write_all(&answer).await?;
    stream.flush().await?;
    let mut proof = [0; PROOF_LEN];
    stream.read_exact(&mut proof).await?;
    Ok(accepting.finish(&proof)?)
}

async fn read_handshake(stream: &mut Stream) -> Result<[u8; HANDSHAKE_LEN], Refusal> {
    let mut bytes = [0; HANDSHAKE_LEN];
    let (name, rest) = bytes.split_at_mut(MAGIC.len());
    stream.read_exact(name).await?;
    // Whoever does not begin with the protocol's name need not go on.
    if name != MAGIC {
        return Err(HandshakeError::Magic.into());
    }
    stream.read_exact(rest).await?;
    Ok(bytes)
}

/// Unpredictable, and never the same twice.
fn nonce() -> io::Result<[u8; NONCE_LEN]> {
    let mut nonce = [0; NONCE_LEN];
    getrandom::fill(&mut nonce).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(nonce)
}
