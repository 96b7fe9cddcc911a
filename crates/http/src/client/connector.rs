//! Connects for the client: TCP, by the system's resolver or by a dialer of the caller's, with TLS on top for `https`.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tower_service::Service;

use super::dial::Dial;
use crate::{ClientTls, ClientTlsFiles};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Makes the connections of a client. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    tcp: HttpConnector,
    /// Connects in place of `tcp`.
    dial: Option<Arc<dyn Dial>>,
    tls: Arc<OnceLock<ClientTls>>,
    handshake_timeout: Duration,
}

impl Connector {
    pub(super) fn new(
        connect_timeout: Duration,
        tls: Option<ClientTls>,
        dial: Option<Arc<dyn Dial>>,
    ) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.set_connect_timeout(Some(connect_timeout));
        tcp.set_nodelay(true);
        // It is ours to see that `https` is encrypted.
        tcp.enforce_http(false);
        let tls = tls.map_or_else(OnceLock::new, OnceLock::from);
        Self { tcp, dial, tls: Arc::new(tls), handshake_timeout: connect_timeout }
    }

    /// What was given, or the system's authorities, which are read when they are first needed.
    async fn tls(&self) -> Result<ClientTls, Failure> {
        if let Some(tls) = self.tls.get() {
            return Ok(tls.clone());
        }
        let tls = tokio::task::spawn_blocking(|| ClientTls::new(ClientTlsFiles::default())).await??;
        Ok(self.tls.get_or_init(|| tls).clone())
    }

    async fn connect(mut self, uri: Uri) -> Result<TokioIo<ClientStream>, Failure> {
        // An unknown scheme would be sent in the clear otherwise.
        let secure = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err("the URL must begin with http:// or https://".into()),
        };
        // IPv6 addresses are in brackets.
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let tcp = match &self.dial {
            Some(dial) => dial.dial(&uri).await?,
            None => self.tcp.call(uri).await?.into_inner(),
        };
        if !secure {
            return Ok(TokioIo::new(ClientStream::Plain(tcp)));
        }
        let name = ServerName::try_from(host)?;
        let handshake = self.tls().await?.connector().connect(name, tcp);
        let stream = tokio::time::timeout(self.handshake_timeout, handshake)
            .await
            .map_err(|_elapsed| "the TLS handshake took too long")??;
        Ok(TokioIo::new(ClientStream::Secure(Box::new(stream))))
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<ClientStream>;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Failure>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.tcp.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

/// A connection of the client.
pub(super) enum ClientStream {
    Plain(TcpStream),
    Secure(Box<TlsStream<TcpStream>>),
}

impl Connection for ClientStream {
    fn connected(&self) -> Connected {
        match self {
            Self::Plain(tcp) => tcp.connected(),
            Self::Secure(stream) => stream.get_ref().0.connected(),
        }
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Secure(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Secure(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Secure(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Secure(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Secure(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Secure(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
