//! One client connection: hyper drives the protocol, this file decides how long it may take.
//!
//! hyper has a single timer for "a header that does not arrive" and "no next request", which want very different limits. So the
//! socket is wrapped, and the connection is always in one [`Phase`]; each phase has its own limit.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::{Body, BodyError, Handler, Limits, Shutdown};

/// A connection that was just taken.
pub(crate) struct Accepted {
    pub(crate) stream: TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) handler: Arc<dyn Handler>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) shutdown: Shutdown,
}

/// Serves requests until the client, a limit or the shutdown ends the connection.
pub(crate) async fn serve(accepted: Accepted) {
    let Accepted { stream, peer, handler, limits, shutdown } = accepted;
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, %peer, "TCP_NODELAY refused");
    }
    let watch = Arc::new(Watch::default());
    let io = TokioIo::new(WatchedStream { stream, watch: Arc::clone(&watch) });
    let service = service_fn(|request: http::Request<Incoming>| {
        let busy = Busy::new(Arc::clone(&watch));
        let handler = Arc::clone(&handler);
        async move {
            let response = handler.handle(request.map(Body::from), peer).await;
            Ok::<_, Infallible>(response.map(|body| BusyBody { body, busy, cut: None }))
        }
    });
    let mut builder = http1::Builder::new();
    builder.header_read_timeout(None).max_header_size(limits.header_len_max).max_buf_size(limits.buffer_max);
    let mut protocol = std::pin::pin!(builder.serve_connection(io, service));
    let mut draining = false;
    loop {
        let (phase, progress) = watch.now();
        tokio::select! {
            ended = protocol.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%peer, error = %Chain(&error), "connection ended");
                }
                return;
            }
            () = watch.changed.notified() => {}
            () = tokio::time::sleep(phase.limit(&limits)) => {
                if !phase.forgives(progress, watch.now().1) {
                    tracing::debug!(%peer, ?phase, "connection took too long");
                    return;
                }
            }
            () = shutdown.wait(), if !draining => {
                draining = true;
                protocol.as_mut().graceful_shutdown();
            }
        }
    }
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// For the first byte of a request.
    Idle,
    /// For the rest of a request's header.
    Header,
    /// For the handler, for the request's body, or for the client to take the answer.
    Busy,
}

impl Phase {
    fn limit(self, limits: &Limits) -> Duration {
        match self {
            Self::Idle => limits.idle_timeout,
            Self::Header => limits.header_timeout,
            Self::Busy => limits.stall_timeout,
        }
    }

    /// Whether the connection may go on after its limit, given the bytes moved before and after. Bytes are no excuse for a header:
    /// one byte every nine seconds is the attack. A busy connection only stalls when the client does not take what we write.
    fn forgives(self, before: Progress, after: Progress) -> bool {
        match self {
            Self::Header => false,
            Self::Idle => before.moved != after.moved,
            Self::Busy => before.moved != after.moved || !after.write_blocked,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Progress {
    moved: u64,
    write_blocked: bool,
}

/// What the wrapped socket and the service tell the timer.
#[derive(Debug, Default)]
struct Watch {
    phase: AtomicU8,
    /// Bytes in both directions.
    moved: AtomicU64,
    /// 1 while the kernel takes no more bytes for the client.
    write_blocked: AtomicU8,
    changed: Notify,
}

impl Watch {
    const PHASES: [Phase; 3] = [Phase::Idle, Phase::Header, Phase::Busy];

    fn phase(&self) -> Phase {
        Self::PHASES[usize::from(self.phase.load(Ordering::Relaxed))]
    }

    fn now(&self) -> (Phase, Progress) {
        let moved = self.moved.load(Ordering::Relaxed);
        let write_blocked = self.write_blocked.load(Ordering::Relaxed) == 1;
        (self.phase(), Progress { moved, write_blocked })
    }

    /// All callers run on the connection's own task, so there is no race between load and store.
    fn enter(&self, phase: Phase) {
        if self.phase() != phase {
            self.phase.store(phase as u8, Ordering::Relaxed);
            self.changed.notify_one();
        }
    }

    fn received(&self, len: usize) {
        self.moved.fetch_add(len as u64, Ordering::Relaxed);
        if len > 0 && self.phase() == Phase::Idle {
            self.enter(Phase::Header);
        }
    }

    fn written(&self, outcome: &Poll<io::Result<usize>>) {
        self.write_blocked.store(u8::from(outcome.is_pending()), Ordering::Relaxed);
        if let Poll::Ready(Ok(len)) = outcome {
            self.moved.fetch_add(*len as u64, Ordering::Relaxed);
        }
    }
}

/// Keeps the connection in [`Phase::Busy`] from the header of a request to the last byte of its answer.
struct Busy(Arc<Watch>);

impl Busy {
    fn new(watch: Arc<Watch>) -> Self {
        watch.enter(Phase::Busy);
        Self(watch)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.enter(Phase::Idle);
    }
}

/// An answer's body that marks the end of the busy phase when hyper drops it.
///
/// hyper throws away what it has not written yet when a body fails. So a failure is held back until the bytes before it are with the
/// kernel: the client gets all that was sent, and a resumed transfer starts there.
struct BusyBody {
    body: Body,
    busy: Busy,
    /// The failure that is held back.
    cut: Option<BodyError>,
}

impl HttpBody for BusyBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.cut.is_some() {
            // A blocked socket wakes the connection when it can go on, which polls the body again.
            let blocked = self.busy.0.now().1.write_blocked;
            return if blocked { Poll::Pending } else { Poll::Ready(self.cut.take().map(Err)) };
        }
        match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Err(error)) => {
                self.cut = Some(error);
                // hyper flushes when a body pauses.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            frame => Poll::Ready(frame),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.cut.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The socket, watched.
struct WatchedStream {
    stream: TcpStream,
    watch: Arc<Watch>,
}

impl AsyncRead for WatchedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let outcome = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        self.watch.received(buffer.filled().len() - before);
        Poll::Ready(outcome)
    }
}

impl AsyncWrite for WatchedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch.written(&outcome);
        outcome
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.watch.written(&outcome);
        outcome
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// An error with its causes, for one log line.
struct Chain<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
