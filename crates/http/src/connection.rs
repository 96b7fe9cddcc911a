//! One client connection: TLS and hyper drive the protocols, this room decides how long everything may take.
//!
//! Around hyper, from the outside in: [`guard`](watch::Watch::guard) cuts what takes too long, [`stream`] sits between hyper and the
//! connection, [`wire`] between the connection and the socket, [`answer`] between the handlers and hyper. All report to one
//! [`Watch`].

mod answer;
mod refusal;
mod region;
mod stream;
mod streams;
mod watch;
mod wire;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::header::{CONNECTION, HOST};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::{Body, Connection, Handler, Limits, PeerCertificate, Shutdown, Tls};
use answer::{Answer, Carriage};
use stream::Stream;
use streams::Streams;
use watch::Busy;
pub(crate) use watch::{Phase, Watch};
use wire::Wire;

/// A connection that was just taken.
pub(crate) struct Accepted {
    pub(crate) socket: TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) tls: Option<Tls>,
    pub(crate) handler: Arc<dyn Handler>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) shutdown: Shutdown,
    pub(crate) watch: Arc<Watch>,
}

/// How long a connection without a request in service may take to end after it was asked to. An HTTP/2 client has one round trip
/// for requests that it sent before it heard of it, and a header that has begun this long to arrive.
const LEAVE_PATIENCE: Duration = Duration::from_secs(1);

/// How long an HTTP/1.1 connection without a request in service is kept when the program stops. Clients at work send their next
/// request within a round trip and some thinking; those who come later find the port closed and go elsewhere.
const LAST_REQUEST_WITHIN: Duration = Duration::from_millis(500);

/// Requests that an HTTP/2 client may have open at once, as in nginx; clients that want more open another connection. containerd
/// and docker stay below ten.
const STREAMS_MAX: u32 = 128;

/// How much of one upload may be under way: 80 Gbit/s at 0.1 ms, 160 Mbit/s at 50 ms.
const STREAM_WINDOW: u32 = 1024 * 1024;

/// How much of an HTTP/2 answer waits in memory for its client: a chunk of a file, while the next is read. A client that opens all its
/// streams and takes nothing holds this for each.
const STREAM_SEND_BUFFER: usize = 64 * 1024;

/// How much of all uploads of one connection may be under way, and so held in memory when their handlers pause.
const CONNECTION_WINDOW: u32 = 2 * 1024 * 1024;

/// The largest frame that we take. Large frames cost fewer headers, and each must arrive whole before any of it counts.
const FRAME_LEN_MAX: u32 = 64 * 1024;

/// How many streams that we reset because of the client's errors are remembered; one more ends the connection. Honest clients
/// cause none.
const LOCAL_RESETS_MAX: usize = 256;

/// How many streams may be opened and cancelled before we even look at them (CVE-2023-44487); one more ends the connection.
const PENDING_RESETS_MAX: usize = 20;

/// How often the client of a silent HTTP/2 connection is asked whether it is still there: a host that lost its power keeps no
/// request alive for ever.
const PING_INTERVAL: Duration = Duration::from_secs(60);

/// Serves requests until the client, a limit or the shutdown ends the connection.
pub(crate) async fn serve(accepted: Accepted) {
    let Accepted { socket, peer, tls, handler, limits, shutdown, watch } = accepted;
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, %peer, "TCP_NODELAY refused");
    }
    let guarded = Arc::clone(&watch);
    let conversation = Conversation { peer, handler, limits: Arc::clone(&limits), shutdown, watch };
    tokio::select! {
        ended = conversation.hold(socket, tls) => {
            if let Err(error) = ended {
                tracing::debug!(%peer, error = %Chain(&*error), "connection ended");
            }
        }
        cut = guarded.guard(&limits) => tracing::debug!(%peer, ?cut, "connection took too long"),
    }
}

type Ended = Result<(), Box<dyn std::error::Error + Send + Sync>>;

struct Conversation {
    peer: SocketAddr,
    handler: Arc<dyn Handler>,
    limits: Arc<Limits>,
    shutdown: Shutdown,
    watch: Arc<Watch>,
}

impl Conversation {
    async fn hold(self, socket: TcpStream, tls: Option<Tls>) -> Ended {
        let wire = Wire::new(socket, Arc::clone(&self.watch));
        let Some(tls) = tls else {
            let stream = Stream::new(wire, Arc::clone(&self.watch));
            return self.plain(stream).await;
        };
        self.watch.handshake(true);
        let stream = tokio::select! {
            stream = tls.acceptor().accept(wire) => stream?,
            () = self.close() => return Ok(()),
        };
        self.watch.handshake(false);
        let (_, session) = stream.get_ref();
        let http2 = session.alpn_protocol() == Some(b"h2");
        let certificate = session.peer_certificates().and_then(|chain| chain.first());
        let certificate = certificate.and_then(PeerCertificate::read).map(Arc::new);
        let connection = Connection { secure: true, certificate };
        let stream = Stream::new(stream, Arc::clone(&self.watch));
        if http2 { self.http2(stream, connection).await } else { self.http1(stream, connection).await }
    }

    async fn plain(self, mut stream: Stream<Wire>) -> Ended {
        let http2 = tokio::select! {
            http2 = stream.speaks_http2() => http2?,
            () = self.close() => {
                if stream.is_untouched() {
                    return Ok(());
                }
                // The end is noticed again, where a request that has begun may finish.
                self.watch.dismiss();
                false
            }
        };
        let connection = Connection::default();
        if http2 { self.http2(stream, connection).await } else { self.http1(stream, connection).await }
    }

    async fn http1<S: Io>(self, stream: Stream<S>, connection: Connection) -> Ended {
        let carriage = if connection.secure { Carriage::Encrypted } else { Carriage::Plain };
        let service = self.service(connection, move || carriage.clone());
        let mut builder = http1::Builder::new();
        builder
            .header_read_timeout(None)
            // Bodies are queued and never copied; see `region`.
            .writev(true)
            .max_header_size(self.limits.header_len_max)
            .max_buf_size(self.limits.buffer_max);
        self.drive(builder.serve_connection(TokioIo::new(stream), service)).await
    }

    async fn http2<S: Io>(self, stream: Stream<S>, connection: Connection) -> Ended {
        self.watch.multiplex();
        let streams = Streams::new(self.limits.stall_timeout);
        let _owned = Owned(streams.clone());
        let watches = streams.clone();
        let service = self.service(connection, move || Carriage::Stream(watches.watch_next()));
        let mut builder = http2::Builder::new(streams.clone());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(u32::try_from(self.limits.header_len_max).unwrap_or(u32::MAX))
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(FRAME_LEN_MAX)
            .max_send_buf_size(self.limits.buffer_max.min(STREAM_SEND_BUFFER))
            .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
            .max_local_error_reset_streams(LOCAL_RESETS_MAX)
            .keep_alive_interval(PING_INTERVAL)
            // A client that does not read does not answer a ping either, and may pause as long as over HTTP/1.1.
            .keep_alive_timeout(self.limits.stall_timeout);
        let protocol = builder.serve_connection(TokioIo::new(stream), service);
        tokio::select! {
            ended = self.drive(protocol) => ended,
            () = streams.flooded() => Err("the client cancels most of its requests".into()),
        }
    }

    fn service(
        &self,
        connection: Connection,
        carriage: impl Fn() -> Carriage,
    ) -> impl HttpService<
        Incoming,
        ResBody = Answer,
        Error = Infallible,
        Future = impl Future<Output = Result<http::Response<Answer>, Infallible>> + Send + 'static,
    > {
        let (watch, handler, peer) = (Arc::clone(&self.watch), Arc::clone(&self.handler), self.peer);
        let shutdown = self.shutdown.clone();
        service_fn(move |mut request: http::Request<Incoming>| {
            request.extensions_mut().insert(connection.clone());
            to_origin_form(&mut request);
            let busy = Busy::request(Arc::clone(&watch));
            let carriage = carriage();
            let (handler, shutdown) = (Arc::clone(&handler), shutdown.clone());
            async move {
                let mut response = handler.handle(request.map(Body::from), peer).await;
                if shutdown.is_triggered() && !busy.watch().is_multiplexed() {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                match &carriage {
                    Carriage::Stream(stream) => stream.answered(),
                    Carriage::Plain | Carriage::Encrypted => busy.watch().set_answer_due(true),
                }
                Ok::<_, Infallible>(response.map(|body| Answer::new(body, busy, carriage)))
            }
        })
    }

    /// Drives a protocol to its end. When the connection is to end before, no new request begins, and those in service finish.
    async fn drive(&self, protocol: impl Protocol) -> Ended {
        let mut protocol = std::pin::pin!(protocol);
        tokio::select! {
            ended = protocol.as_mut() => return Ok(ended?),
            () = self.close() => protocol.as_mut().finish(),
        }
        let mut patience = std::pin::pin!(tokio::time::sleep(LEAVE_PATIENCE));
        loop {
            tokio::select! {
                ended = protocol.as_mut() => return Ok(ended?),
                () = patience.as_mut() => {
                    if self.watch.phase() != Phase::Busy && self.watch.waited() >= LEAVE_PATIENCE {
                        return Ok(());
                    }
                    patience.as_mut().reset(tokio::time::Instant::now() + LEAVE_PATIENCE);
                }
            }
        }
    }

    /// Returns when no more requests are waited for: soon after [`Self::end`]. When the program stops, a client may just be sending one
    /// over HTTP/1.1, and could not tell whether it was read if the connection closed now; the answer to it says that the connection
    /// ends, see [`Self::service`]. HTTP/2 has a frame for that.
    async fn close(&self) {
        self.end().await;
        if self.shutdown.is_triggered() && !self.watch.is_leaving() && !self.watch.is_multiplexed() {
            tokio::time::sleep(LAST_REQUEST_WITHIN).await;
        }
    }

    /// Returns when the connection is to end: the program stops, or somebody else needs its place.
    async fn end(&self) {
        tokio::select! {
            () = self.shutdown.wait() => {}
            () = self.watch.dismissed() => {}
        }
    }
}

/// HTTP/2 and requests in absolute form (RFC 9112, 3.2.2) name the host in the target, which then counts. Handlers find it in `Host`
/// in any case, and the path alone in the target.
fn to_origin_form<B>(request: &mut http::Request<B>) {
    let Some(authority) = request.uri().authority() else { return };
    if request.method() == http::Method::CONNECT {
        return;
    }
    // Without the user and password that some put before it.
    let host = authority.as_str().rsplit('@').next().unwrap_or_default();
    if let Ok(host) = HeaderValue::from_str(host) {
        request.headers_mut().insert(HOST, host);
    }
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    if let Ok(target) = target.parse() {
        *request.uri_mut() = target;
    }
}

/// What hyper runs over.
trait Io: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Io for S {}

/// A connection of hyper's.
trait Protocol: Future<Output = hyper::Result<()>> {
    /// Begins no new requests, finishes those in service, then ends.
    fn finish(self: Pin<&mut Self>);
}

impl<S, T> Protocol for http1::Connection<TokioIo<Stream<S>>, T>
where
    S: Io,
    T: HttpService<Incoming, ResBody = Answer, Error = Infallible>,
{
    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<S, T> Protocol for http2::Connection<TokioIo<Stream<S>>, T, Streams>
where
    S: Io,
    T: HttpService<Incoming, ResBody = Answer, Error = Infallible>,
    T::Future: Send + 'static,
{
    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// Ends the requests of an HTTP/2 connection with it.
struct Owned(Streams);

impl Drop for Owned {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An error with its causes, for one log line.
struct Chain<'a>(&'a (dyn std::error::Error + 'static));

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
