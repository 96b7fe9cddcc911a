//! The server as seen from its admin port.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;
use shoal_api::Base;
use shoal_http::Client;

/// How long one answer may take. Everything asked here is answered from memory or from a small database.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);

/// A server to ask.
pub(crate) struct Server {
    pub(crate) http: Client,
    admin: Base,
}

/// The part of `/status` that says where the other ports are.
#[derive(Debug, Deserialize)]
struct Status {
    addresses: Addresses,
}

/// Where the server listens.
#[derive(Debug, Deserialize)]
pub(crate) struct Addresses {
    pub(crate) registry: SocketAddr,
    pub(crate) origin: SocketAddr,
    pub(crate) tracker: SocketAddr,
}

impl Server {
    pub(crate) fn new(http: Client, admin: &str) -> Result<Self> {
        Ok(Self { http, admin: Base::parse(admin).context("--server")? })
    }

    /// The server's listeners.
    pub(crate) async fn addresses(&self) -> Result<Addresses> {
        let url = self.admin.url("/status");
        let status: Status = self.http.get_json(&url, TIMEOUT).await.with_context(|| {
            format!(
                "cannot ask the server at {}; --server is the URL of its admin port (usually 15005)",
                self.admin
            )
        })?;
        Ok(status.addresses)
    }

    /// The base URL of a listener: one that listens everywhere is reached where the admin port was.
    pub(crate) fn base(&self, addr: SocketAddr) -> Result<Base> {
        let authority = if addr.ip().is_unspecified() {
            format!("{}:{}", self.admin.host(), addr.port())
        } else {
            addr.to_string()
        };
        Ok(Base::parse(&format!("http://{authority}"))?)
    }
}
