//! One certificate for everything that members of a cluster say to each other: their HTTP ports, their HTTP clients, their peers.
//!
//! Every connection shows the member's certificate and demands one of the same authority from the other side. HTTP clients talk to
//! servers only; peers of the swarm to every member. See `members` for who is what.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use rustls::pki_types::ServerName;
use tokio::io::BufReader;
use tokio::net::TcpStream;

use super::members::Expected;
use super::{ClientTls, ClientTlsFiles, Identity, Tls, TlsError, TlsFiles};
use crate::Shutdown;

/// What peers of the swarm speak inside TLS (ALPN), so that no HTTP client is ever taken for a peer.
const PEER_PROTOCOL: &[&[u8]] = &[b"shoal-peer"];

/// Bytes that are read from a peer's socket at once. The TLS library reads 4 KiB at a time, and a system call for each costs more than
/// deciphering it; two records of the largest size are worth one. Every connection between peers holds this much.
const PEER_READ_LEN: usize = 32 * 1024;

/// A socket to a peer, below its TLS.
pub type PeerSocket = BufReader<TcpStream>;

/// A member's files, PEM: what `shoalctl ca issue` writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterTlsFiles {
    /// The cluster's authority; several while it is rotated.
    pub ca: PathBuf,
    /// The member's certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// The TLS of a member, on all sides. Clones share it.
#[derive(Clone, Debug)]
pub struct ClusterTls {
    server: Tls,
    client: ClientTls,
    peer_server: Tls,
    peer_client: ClientTls,
}

impl ClusterTls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`], which names the file and what to do about it.
    pub fn new(files: &ClusterTlsFiles) -> Result<Self, TlsError> {
        let server = TlsFiles {
            certificate: files.certificate.clone(),
            key: files.key.clone(),
            client_ca: Some(files.ca.clone()),
            client_required: true,
        };
        let identity = Identity { certificate: files.certificate.clone(), key: files.key.clone() };
        let client = ClientTlsFiles { ca: Some(files.ca.clone()), identity: Some(identity) };
        Ok(Self {
            server: Tls::of_member(server.clone(), super::HTTP_PROTOCOLS)?,
            client: ClientTls::of_member(client.clone(), &[b"http/1.1"], Expected::Server)?,
            peer_server: Tls::of_member(server, PEER_PROTOCOL)?,
            peer_client: ClientTls::of_member(client, PEER_PROTOCOL, Expected::Member)?,
        })
    }

    /// For the member's HTTP ports that only members may use.
    pub const fn server(&self) -> &Tls {
        &self.server
    }

    /// For HTTP requests to other members.
    pub const fn client(&self) -> &ClientTls {
        &self.client
    }

    /// Takes a connection of a peer.
    ///
    /// # Errors
    /// When the other side is no member, or the connection fails.
    pub async fn accept_peer(
        &self,
        stream: TcpStream,
    ) -> io::Result<tokio_rustls::server::TlsStream<PeerSocket>> {
        self.peer_server.acceptor().accept(BufReader::with_capacity(PEER_READ_LEN, stream)).await
    }

    /// Makes a connection to a peer into one between members.
    ///
    /// # Errors
    /// When the other side is no member, or the connection fails.
    pub async fn connect_peer(
        &self,
        stream: TcpStream,
        addr: SocketAddr,
    ) -> io::Result<tokio_rustls::client::TlsStream<PeerSocket>> {
        let socket = BufReader::with_capacity(PEER_READ_LEN, stream);
        self.peer_client.connector().connect(ServerName::from(addr.ip()), socket).await
    }

    /// Reads the files again whenever they change, until `shutdown`.
    pub async fn watch(self, shutdown: Shutdown) {
        let Self { server, client, peer_server, peer_client } = self;
        let servers =
            async { tokio::join!(server.watch(shutdown.clone()), peer_server.watch(shutdown.clone())) };
        let clients =
            async { tokio::join!(client.watch(shutdown.clone()), peer_client.watch(shutdown.clone())) };
        tokio::join!(servers, clients);
    }
}
