//! Connections inside an envelope: everything works as outside, and who has another one stays out.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use shoal_swarm::{Envelope, Enveloped, Role};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use crate::tracker::Tracker;
use crate::world::{Plan, content, within};

/// Flips every byte, after a knock that both sides must know. Holds written bytes back until it is flushed, as ciphers may.
#[derive(Debug)]
struct Mask(u8);

struct Masked {
    stream: TcpStream,
    mask: u8,
    held: Vec<u8>,
}

#[async_trait]
impl Envelope for Mask {
    async fn accept(&self, mut stream: TcpStream) -> io::Result<Box<dyn Enveloped>> {
        if stream.read_u8().await? != self.0 {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(Box::new(Masked { stream, mask: self.0, held: Vec::new() }))
    }

    async fn connect(&self, mut stream: TcpStream, _: SocketAddr) -> io::Result<Box<dyn Enveloped>> {
        stream.write_u8(self.0).await?;
        Ok(Box::new(Masked { stream, mask: self.0, held: Vec::new() }))
    }
}

impl AsyncRead for Masked {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let mask = self.mask;
        buffer.filled_mut()[before..].iter_mut().for_each(|byte| *byte ^= mask);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Masked {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.held.len() > 64 * 1024 {
            ready!(self.as_mut().poll_flush(cx))?;
        }
        let mask = self.mask;
        self.held.extend(bytes.iter().map(|byte| byte ^ mask));
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, held, .. } = &mut *self;
        while !held.is_empty() {
            let written = ready!(Pin::new(&mut *stream).poll_write(cx, held))?;
            held.drain(..written);
        }
        Pin::new(stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

fn plan(role: Role, mask: u8) -> Plan {
    let mut plan = Plan::new(role);
    plan.options.envelope = Some(Arc::new(Mask(mask)));
    plan
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_in_one_envelope_exchange_blobs() {
    let tracker = Arc::new(Tracker::default());
    let bytes = content(31, 3 * 1024 * 1024 + 17);
    let owner = plan(Role::Owner, 0x5a).start(&tracker).await;
    let digest = owner.publish(&tracker, &bytes);
    let (one, other) =
        (plan(Role::Agent, 0x5a).start(&tracker).await, plan(Role::Agent, 0x5a).start(&tracker).await);
    let (a, b) = within(async { tokio::join!(one.fetch(&digest), other.fetch(&digest)) }).await;
    assert!(a == bytes && b == bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_without_the_envelope_gets_nothing() {
    let tracker = Arc::new(Tracker::default());
    let bytes = content(32, 200_000);
    let owner = plan(Role::Owner, 0x5a).start(&tracker).await;
    let digest = owner.publish(&tracker, &bytes);
    for mut stranger in [Plan::new(Role::Agent), plan(Role::Agent, 0x33)] {
        stranger.options.times.open = std::time::Duration::from_secs(1);
        stranger.options.times.stall = std::time::Duration::from_secs(1);
        let stranger = stranger.start(&tracker).await;
        if let Ok(reader) = within(stranger.swarm.open(&digest)).await {
            within(reader.read_piece(shoal_swarm_types::PieceIndex(0))).await.unwrap_err();
        }
        assert_eq!(stranger.received_in_all(), 0);
    }
    assert_eq!(owner.sent(), 0);
}
