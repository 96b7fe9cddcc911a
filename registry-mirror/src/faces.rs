//! The agent's three ports, bound before anything else is built: by this process, or by the service manager before it.
//!
//! A socket that the manager keeps open (systemd's socket activation, `LISTEN_FDS`) refuses nobody while the agent is restarted: who
//! connects waits until the next process takes the connection. Which socket is for which port is told by its address.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use serde::Serialize;
use shoal_http::Listener;
use shoal_http::server::SocketOptions;
use shoal_telemetry::{HttpMetrics, Metrics};
use tokio::net::TcpListener;

use crate::config::Config;

/// Kernel buffer of a connection to the mirror in bytes (Linux takes twice as much). containerd's parallel fetch asks for everything
/// from an offset, reads its share and hangs up, so what waits in the socket was sent for nothing; the clients are on this machine,
/// where a small buffer still carries gigabytes a second.
const SEND_BUFFER: u32 = 64 * 1024;

/// The addresses on which the agent listens, with the real ports.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Addresses {
    /// The mirror.
    pub registry: SocketAddr,
    /// The swarm.
    pub peer: SocketAddr,
    /// Health, metrics, status.
    pub admin: SocketAddr,
}

/// Sockets that listen already.
#[derive(Debug, Default)]
pub struct Inherited(Vec<std::net::TcpListener>);

impl Inherited {
    /// None: everything is bound here.
    pub fn none() -> Self {
        Self::default()
    }

    /// Those that the service manager handed over to this process.
    pub fn from_environment() -> Self {
        let mut passed = listenfd::ListenFd::from_env();
        let each = (0..passed.len()).filter_map(|index| passed.take_tcp_listener(index).ok().flatten());
        Self(each.collect())
    }

    /// The one for `addr`.
    fn take(&mut self, addr: SocketAddr) -> Option<std::net::TcpListener> {
        let same = |socket: &std::net::TcpListener| socket.local_addr().is_ok_and(|bound| bound == addr);
        self.0.iter().position(same).map(|index| self.0.swap_remove(index))
    }

    /// Says which sockets were handed over for nothing: who connects to them would wait for ever.
    fn check_empty(&self) -> Result<()> {
        let left: Vec<_> = self.0.iter().filter_map(|socket| socket.local_addr().ok()).collect();
        anyhow::ensure!(
            left.is_empty(),
            "the service manager handed over sockets on {left:?}, where this agent is not configured to listen; \
             make ListenStream= agree with registry.listen, peer.listen and admin.listen"
        );
        Ok(())
    }
}

/// The bound ports.
pub(crate) struct Faces {
    pub(crate) addresses: Addresses,
    pub(crate) registry: Listener,
    pub(crate) admin: Listener,
    pub(crate) peer: TcpListener,
}

impl Faces {
    /// Takes every port.
    pub(crate) async fn bind(config: &Config, mut inherited: Inherited, metrics: &Metrics) -> Result<Self> {
        let listeners = HttpMetrics::register(metrics);
        let blob_socket = SocketOptions { send_buffer: Some(SEND_BUFFER) };
        let registry = bind(config.registry.listen, "registry.listen", blob_socket, &mut inherited).await?;
        let plain = SocketOptions::default();
        let admin = bind(config.admin.listen, "admin.listen", plain, &mut inherited).await?;
        let peer = bind_peer(config.peer.listen, &mut inherited).await;
        let peer = peer.with_context(|| cannot_listen("peer.listen", config.peer.listen))?;
        inherited.check_empty()?;
        let addresses = Addresses {
            registry: registry.local_addr(),
            peer: peer.local_addr()?,
            admin: admin.local_addr(),
        };
        Ok(Self {
            addresses,
            registry: registry.with_metrics(listeners.listener("registry")),
            admin: admin.with_metrics(listeners.listener("admin")),
            peer,
        })
    }
}

async fn bind(
    addr: SocketAddr,
    key: &str,
    options: SocketOptions,
    inherited: &mut Inherited,
) -> Result<Listener> {
    let bound = match inherited.take(addr) {
        Some(socket) => Listener::shared(socket, options),
        None => Listener::bind_with(addr, options).await,
    };
    bound.with_context(|| cannot_listen(key, addr))
}

async fn bind_peer(addr: SocketAddr, inherited: &mut Inherited) -> std::io::Result<TcpListener> {
    match inherited.take(addr) {
        Some(socket) => {
            socket.set_nonblocking(true)?;
            TcpListener::from_std(socket)
        }
        None => TcpListener::bind(addr).await,
    }
}

fn cannot_listen(key: &str, addr: SocketAddr) -> String {
    format!("cannot listen on {addr} ({key}); another process has it, or the address is not of this machine")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listening() -> (std::net::TcpListener, SocketAddr) {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = socket.local_addr().unwrap();
        (socket, addr)
    }

    #[tokio::test]
    async fn sockets_are_told_apart_by_their_addresses() {
        let ((mirror, mirror_addr), (admin, admin_addr), (peer, peer_addr)) =
            (listening(), listening(), listening());
        let mut config = Config::default();
        (config.registry.listen, config.admin.listen) = (mirror_addr, admin_addr);
        config.peer.listen = peer_addr;
        let inherited = Inherited(vec![peer, admin, mirror]);
        let faces = Faces::bind(&config, inherited, &Metrics::new("test", "0")).await.unwrap();
        let Addresses { registry, peer, admin } = faces.addresses;
        assert_eq!((registry, admin, peer), (mirror_addr, admin_addr, peer_addr));
    }

    #[tokio::test]
    async fn a_socket_that_is_for_nothing_is_an_error() {
        let any = "127.0.0.1:0".parse().unwrap();
        let mut config = Config::default();
        (config.registry.listen, config.admin.listen, config.peer.listen) = (any, any, any);
        let inherited = Inherited(vec![listening().0]);
        let error = Faces::bind(&config, inherited, &Metrics::new("test", "0")).await.err().unwrap();
        assert!(error.to_string().contains("ListenStream="), "{error}");
    }
}
