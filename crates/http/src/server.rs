//! The accept loop: takes connections within limits, outlives accept errors, drains on shutdown.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use shoal_telemetry::HttpMetrics;
use shoal_telemetry::rooms::http::ListenerMetrics;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::closing;
use crate::connection::{self, Accepted};
use crate::open_connections::OpenConnections;
use crate::{Handler, Shutdown, Tls};

/// What a listener allows its clients.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open connections. When there are more, those without a request in service are closed, longest waiting first; when all are in
    /// service, more wait in the kernel's backlog.
    pub connections_max: usize,
    /// From the first byte of a request to the end of its header, and for a TLS handshake.
    pub header_timeout: Duration,
    /// Size of a request's header in bytes; more is answered with 431.
    pub header_len_max: usize,
    /// How long a connection may stay open without a request. Over HTTP/2 this includes the header of the next request.
    pub idle_timeout: Duration,
    /// How long a client may leave our answer unread before the connection is cut; over HTTP/2 the stream is reset, after at most
    /// twice as long.
    pub stall_timeout: Duration,
    /// How long requests under way may take after shutdown.
    pub drain_timeout: Duration,
    /// Bytes that one connection holds in memory in each direction, besides the chunk in hand. At least 8 KiB. An HTTP/2 client may
    /// send 2 MiB ahead of the handlers.
    pub buffer_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // containerd opens one connection per chunk and docker one per request; a node with 100 pulls stays far below.
            connections_max: 4096,
            // A header is one packet; ten seconds allow for two retransmissions on a bad link.
            header_timeout: Duration::from_secs(10),
            // Tokens of large identity providers reach 16 KiB; nginx and Go stop at 32 KiB and 1 MiB.
            header_len_max: 32 * 1024,
            // Clients keep connections for 60 to 90 seconds (Go: 90); ours closes last, which avoids the race on reuse.
            idle_timeout: Duration::from_secs(120),
            // containerd stops reading while it unpacks, and gives a pull up after five minutes itself.
            stall_timeout: Duration::from_secs(300),
            // Kubernetes and systemd kill after 30 and 90 seconds.
            drain_timeout: Duration::from_secs(25),
            // Enough to keep 10 Gbit/s busy on a LAN with 0.2 ms round trips.
            buffer_max: 256 * 1024,
        }
    }
}

/// Properties of the listening socket.
#[derive(Clone, Copy, Debug, Default)]
pub struct SocketOptions {
    /// `SO_SNDBUF` of every connection in bytes, `None` for the kernel's own tuning. A small one bounds what is written ahead of
    /// a client that reads a little of an open-ended range and hangs up (containerd's parallel fetch).
    pub send_buffer: Option<u32>,
}

/// A bound port.
#[derive(Debug)]
pub struct Listener {
    inner: TcpListener,
    local_addr: SocketAddr,
    metrics: ListenerMetrics,
    tls: Option<Tls>,
    /// Somebody else keeps the port open when we leave it.
    shared: bool,
}

/// How many connections may wait for us in the kernel. The usual `net.core.somaxconn` is 4096, which caps it anyway.
pub(crate) const BACKLOG: u32 = 4096;

/// First and longest pause after a failed accept. File descriptors come back when connections end, so we ask again soon.
const ACCEPT_PAUSE_MIN: Duration = Duration::from_millis(10);
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

impl Listener {
    /// Takes the port; port 0 takes a free one.
    ///
    /// # Errors
    /// What the system says, for example that the port is in use.
    pub async fn bind(addr: SocketAddr) -> io::Result<Self> {
        Self::bind_with(addr, SocketOptions::default()).await
    }

    /// As [`Self::bind`], with socket options.
    ///
    /// # Errors
    /// What the system says.
    #[expect(
        clippy::unused_async,
        reason = "tokio's sockets need the runtime, and a later version may resolve names"
    )]
    pub async fn bind_with(addr: SocketAddr, options: SocketOptions) -> io::Result<Self> {
        let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A restarted program takes its port back although old connections linger.
        socket.set_reuseaddr(true)?;
        if let Some(bytes) = options.send_buffer {
            // Accepted sockets inherit it.
            socket.set_send_buffer_size(bytes)?;
        }
        socket.bind(addr)?;
        let inner = socket.listen(BACKLOG)?;
        let local_addr = inner.local_addr()?;
        Ok(Self {
            inner,
            local_addr,
            metrics: HttpMetrics::default().listener("detached"),
            tls: None,
            shared: false,
        })
    }

    /// A port that the service manager has bound and keeps: at the end of [`Self::serve`] it stays open, and who connects then waits for
    /// the next process.
    ///
    /// # Errors
    /// What the system says.
    pub fn shared(socket: std::net::TcpListener, options: SocketOptions) -> io::Result<Self> {
        if let Some(bytes) = options.send_buffer {
            // Accepted sockets inherit it.
            SockRef::from(&socket).set_send_buffer_size(bytes as usize)?;
        }
        socket.set_nonblocking(true)?;
        let inner = TcpListener::from_std(socket)?;
        let local_addr = inner.local_addr()?;
        let metrics = HttpMetrics::default().listener("detached");
        Ok(Self { inner, local_addr, metrics, tls: None, shared: true })
    }

    /// Counts connections in `metrics`.
    #[must_use]
    pub fn with_metrics(mut self, metrics: ListenerMetrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// Speaks TLS only.
    #[must_use]
    pub fn with_tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// The address that was bound, with the real port.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Serves until `shutdown`, then closes the port, lets requests under way finish for at most `limits.drain_timeout`, cuts the
    /// rest, and returns.
    pub async fn serve(self, handler: Arc<dyn Handler>, limits: Limits, shutdown: Shutdown) {
        let Self { inner, local_addr, metrics, tls, shared } = self;
        let open = OpenConnections::new(limits.connections_max, metrics.clone());
        let drain_timeout = limits.drain_timeout;
        let limits = Arc::new(limits);
        let accepted = |socket, peer, watch| Accepted {
            socket,
            peer,
            tls: tls.clone(),
            handler: Arc::clone(&handler),
            limits: Arc::clone(&limits),
            shutdown: shutdown.clone(),
            watch,
        };
        let mut tasks = JoinSet::new();
        while let Some((socket, peer)) = next(&inner, &open, &shutdown, &metrics).await {
            let Some(place) = open.enter(&shutdown).await else { break };
            while tasks.try_join_next().is_some() {}
            let accepted = accepted(socket, peer, place.watch());
            tasks.spawn(async move {
                connection::serve(accepted).await;
                drop(place);
            });
        }
        // Those who connected before the port closes may have sent their request already. A shared port stays open: the next process
        // answers them.
        let waiting = if shared { Vec::new() } else { closing::close(inner).await };
        for (socket, peer) in waiting {
            let watch = Arc::new(connection::Watch::new());
            tasks.spawn(connection::serve(accepted(socket, peer, watch)));
        }
        if tokio::time::timeout(drain_timeout, async { while tasks.join_next().await.is_some() {} })
            .await
            .is_err()
        {
            tracing::warn!(%local_addr, connections = tasks.len(), "requests did not finish in time; their connections are cut");
            tasks.shutdown().await;
        }
    }
}

/// The next connection; `None` on shutdown.
async fn next(
    listener: &TcpListener,
    open: &OpenConnections,
    shutdown: &Shutdown,
    metrics: &ListenerMetrics,
) -> Option<(TcpStream, SocketAddr)> {
    let mut pause = ACCEPT_PAUSE_MIN;
    loop {
        let accepted = tokio::select! {
            () = shutdown.wait() => return None,
            accepted = listener.accept() => accepted,
        };
        let error = match accepted {
            Ok(accepted) => return Some(accepted),
            Err(error) => error,
        };
        metrics.accept_errors.inc();
        if is_of_one_connection(&error) {
            continue;
        }
        // Most often the files that the process may have open are used up, and every connection is one.
        open.evict_longest_waiting();
        tracing::warn!(%error, "cannot take connections; trying again in {pause:?}");
        tokio::select! {
            () = shutdown.wait() => return None,
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(ACCEPT_PAUSE_MAX),
        }
    }
}

/// Whether the error concerns a connection that died in the backlog rather than the listener.
pub(crate) fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}
