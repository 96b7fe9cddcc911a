//! What hyper reads from and writes to: a plain or encrypted connection, with the reports that [`Watch`] needs.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::refusal;
use super::watch::Watch;

/// What an HTTP/2 client says first (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The connection as hyper sees it.
pub(super) struct Stream<S> {
    inner: S,
    watch: Arc<Watch>,
    /// What was read to learn the version.
    prefix: BytesMut,
    /// Our answer in place of one that hyper wrote, while it is being written.
    refusal: Option<Bytes>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream<S> {
    pub(super) fn new(inner: S, watch: Arc<Watch>) -> Self {
        Self { inner, watch, prefix: BytesMut::new(), refusal: None }
    }

    /// Whether the client speaks HTTP/2 without having been asked ("prior knowledge"). Returns as soon as it is clear. Cancel-safe.
    pub(super) async fn speaks_http2(&mut self) -> io::Result<bool> {
        while PREFACE.starts_with(&self.prefix) && self.prefix.len() < PREFACE.len() {
            let mut bytes = [0; PREFACE.len()];
            let len = self.inner.read(&mut bytes[..PREFACE.len() - self.prefix.len()]).await?;
            if len == 0 {
                return Ok(false);
            }
            self.watch.received(len);
            self.prefix.extend_from_slice(&bytes[..len]);
        }
        Ok(self.prefix == PREFACE)
    }

    /// Whether [`Self::speaks_http2`] has seen anything.
    pub(super) fn is_untouched(&self) -> bool {
        self.prefix.is_empty()
    }

    /// Writes our answer for a refusal of hyper's; `None` when `head` is no such.
    fn poll_refuse(&mut self, cx: &mut Context<'_>, head: &[u8]) -> Option<Poll<io::Result<usize>>> {
        if self.refusal.is_none() {
            if self.watch.is_multiplexed() || self.watch.answer_due() || self.watch.in_use() {
                return None;
            }
            self.refusal = Some(refusal::of(head)?);
        }
        let rest = self.refusal.as_mut()?;
        while rest.has_remaining() {
            match Pin::new(&mut self.inner).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => return Some(Poll::Ready(Err(io::ErrorKind::WriteZero.into()))),
                Poll::Ready(Ok(len)) => rest.advance(len),
                other => return Some(other),
            }
        }
        self.refusal = None;
        Some(Poll::Ready(Ok(head.len())))
    }

    fn wrote(&self, outcome: &Poll<io::Result<usize>>) {
        if outcome.is_ready() && self.watch.answer_due() {
            self.watch.set_answer_due(false);
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.prefix.has_remaining() {
            let len = self.prefix.len().min(buffer.remaining());
            buffer.put_slice(&self.prefix.split_to(len));
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let outcome = ready!(Pin::new(&mut self.inner).poll_read(cx, buffer));
        self.watch.received(buffer.filled().len() - before);
        Poll::Ready(outcome)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(outcome) = self.poll_refuse(cx, bytes) {
            return outcome;
        }
        let outcome = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.wrote(&outcome);
        outcome
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [only] = slices
            && let Some(outcome) = self.poll_refuse(cx, only)
        {
            return outcome;
        }
        let outcome = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        self.wrote(&outcome);
        outcome
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
