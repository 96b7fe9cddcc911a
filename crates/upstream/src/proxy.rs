//! Proxies: which one leads to a host, and the tunnel through it.
//!
//! Everything goes through `CONNECT`, plain HTTP too, so a proxy sees names and never content. The proxy resolves the names; so behind
//! one the guard over addresses is the proxy's, and ours is over names alone.

use std::fmt;
use std::io;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Uri;
use shoal_config::Secret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The longest head of an answer to `CONNECT`.
const HEAD_LEN_MAX: usize = 16 * 1024;

/// An HTTP proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    host: String,
    port: u16,
    authorization: Option<Secret>,
}

/// The text is no proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a proxy is written as http://host:port or http://user:password@host:port")]
pub struct ParseProxyError;

/// Which way leads to an upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ProxyChoice {
    /// What `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` say.
    #[default]
    Environment,
    /// No proxy, whatever the environment says.
    Direct,
    /// This one.
    Fixed(Proxy),
}

impl FromStr for Proxy {
    type Err = ParseProxyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = match text.split_once("://") {
            Some(("http", rest)) => rest,
            Some(_) => return Err(ParseProxyError),
            None => text,
        };
        let (user, rest) = match rest.rsplit_once('@') {
            Some((user, rest)) => (Some(user), rest),
            None => (None, rest),
        };
        let authority: http::uri::Authority =
            rest.trim_end_matches('/').parse().map_err(|_| ParseProxyError)?;
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        if host.is_empty() {
            return Err(ParseProxyError);
        }
        let authorization = user.map(|user| {
            let (name, password) = user.split_once(':').unwrap_or((user, ""));
            let decode =
                |part: &str| shoal_http::query::decode_segment(part).unwrap_or_else(|| part.to_owned());
            Secret::new(format!(
                "Basic {}",
                STANDARD.encode(format!("{}:{}", decode(name), decode(password)))
            ))
        });
        // The port of squid, which is what `http://proxy` without one means to curl as well as 80 does to others; 3128 is the likelier.
        Ok(Self { host, port: authority.port_u16().unwrap_or(3128), authorization })
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}:{}", self.host, self.port)
    }
}

impl Proxy {
    /// A connection to `host:port` through this proxy.
    pub(crate) async fn tunnel(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let mut head = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n");
        if let Some(value) = &self.authorization {
            head += &format!("Proxy-Authorization: {}\r\n", value.reveal());
        }
        stream.write_all((head + "\r\n").as_bytes()).await?;
        let status = status(&mut stream).await?;
        match status {
            200..300 => Ok(stream),
            _ => {
                Err(io::Error::other(format!("the proxy {self} answered {status} to CONNECT {host}:{port}")))
            }
        }
    }
}

/// Reads the head of the answer, and not a byte more, because what follows belongs to the tunnel.
async fn status(stream: &mut TcpStream) -> io::Result<u16> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == HEAD_LEN_MAX {
            return Err(io::Error::other("the proxy's answer is too long"));
        }
        head.push(stream.read_u8().await?);
    }
    let text = String::from_utf8_lossy(&head);
    let mut words = text.split(' ');
    match (words.next(), words.next().and_then(|word| word.parse().ok())) {
        (Some(version), Some(status)) if version.starts_with("HTTP/1.") => Ok(status),
        _ => Err(io::Error::other("the proxy did not answer in HTTP")),
    }
}

/// What the environment says about proxies, read once at start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyEnvironment {
    https: Option<Proxy>,
    http: Option<Proxy>,
    exceptions: Vec<String>,
}

impl ProxyEnvironment {
    /// What `variable` gives for `HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY` and the same in lower case, which wins. What cannot be read counts
    /// as not set, with a line in the log.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let either = |name: &str| {
            let value = variable(&name.to_ascii_lowercase()).or_else(|| variable(name));
            value.filter(|value| !value.is_empty())
        };
        let proxy = |name: &str| {
            let text = either(name)?;
            text.parse().inspect_err(|error| tracing::warn!(name, %error, "not used")).ok()
        };
        let exceptions = either("NO_PROXY").unwrap_or_default();
        let exceptions = exceptions.split(',').map(|item| item.trim().to_ascii_lowercase());
        Self {
            https: proxy("HTTPS_PROXY"),
            http: proxy("HTTP_PROXY"),
            exceptions: exceptions.filter(|item| !item.is_empty()).collect(),
        }
    }

    /// The proxy that leads to `uri`.
    pub(crate) fn of(&self, uri: &Uri) -> Option<&Proxy> {
        let proxy = if uri.scheme_str() == Some("http") { &self.http } else { &self.https };
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_ascii_lowercase();
        proxy.as_ref().filter(|_| !self.is_exception(&host, uri.port_u16()))
    }

    /// The rules of curl and Go: `*`, a host, a domain with or without a leading dot (both mean what is below it too), `host:port`, an
    /// address, a network.
    fn is_exception(&self, host: &str, port: Option<u16>) -> bool {
        self.exceptions.iter().any(|item| {
            if item == "*" {
                return true;
            }
            if let Some(inside) = in_network(item, host) {
                return inside;
            }
            let (item, wanted) = match item.rsplit_once(':') {
                Some((name, text)) if !name.contains(':') => (name, text.parse::<u16>().ok()),
                _ => (item.as_str(), None),
            };
            let domain = item.trim_start_matches("*.").trim_start_matches('.');
            let named = host == domain || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
            named && (wanted.is_none() || wanted == port)
        })
    }
}

/// Whether the address `host` is in the network `item`; `None` when the item is no network.
fn in_network(item: &str, host: &str) -> Option<bool> {
    let (base, len) = item.split_once('/')?;
    let (base, len): (std::net::IpAddr, u32) = (base.parse().ok()?, len.parse().ok()?);
    let Ok(host) = host.parse::<std::net::IpAddr>() else { return Some(false) };
    Some(match (base, host) {
        (std::net::IpAddr::V4(base), std::net::IpAddr::V4(host)) if len <= 32 => {
            let mask = u32::MAX.checked_shl(32 - len).unwrap_or(0);
            base.to_bits() & mask == host.to_bits() & mask
        }
        (std::net::IpAddr::V6(base), std::net::IpAddr::V6(host)) if len <= 128 => {
            let mask = u128::MAX.checked_shl(128 - len).unwrap_or(0);
            base.to_bits() & mask == host.to_bits() & mask
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> ProxyEnvironment {
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        ProxyEnvironment::read(|name| pairs.iter().find(|pair| pair.0 == name).map(|pair| pair.1.clone()))
    }

    #[test]
    fn proxies_are_read_and_their_passwords_not_shown() {
        let proxy: Proxy = "http://me:p%40ss@proxy.corp:8080/".parse().unwrap();
        assert_eq!(proxy.to_string(), "http://proxy.corp:8080");
        assert_eq!(
            proxy.authorization.as_ref().unwrap().reveal(),
            format!("Basic {}", STANDARD.encode("me:p@ss"))
        );
        assert!(!format!("{proxy:?}").contains("p@ss"));
        assert_eq!("proxy.corp".parse::<Proxy>().unwrap().port, 3128);
        for bad in ["", "https://p:1", "socks5://p:1", "http://", "http://a b:1"] {
            assert_eq!(bad.parse::<Proxy>(), Err(ParseProxyError), "{bad}");
        }
    }

    #[test]
    fn the_environment_has_exceptions() {
        let found = environment(&[
            ("HTTPS_PROXY", "http://upper:1"),
            ("https_proxy", "http://lower:1"),
            ("NO_PROXY", ".corp, exact.io:5000,10.0.0.0/8, LocalHost"),
        ]);
        let of = |text: &str| found.of(&text.parse().unwrap()).map(ToString::to_string);
        assert_eq!(of("https://ghcr.io/v2/").as_deref(), Some("http://lower:1"));
        assert_eq!(of("http://ghcr.io/v2/"), None);
        for direct in [
            "https://a.corp",
            "https://corp",
            "https://exact.io:5000",
            "https://10.1.2.3",
            "https://localhost:1",
        ] {
            assert_eq!(of(direct), None, "{direct}");
        }
        for proxied in ["https://acorp", "https://exact.io", "https://11.0.0.1", "https://[fd00::1]/"] {
            assert!(of(proxied).is_some(), "{proxied}");
        }
        assert_eq!(
            environment(&[("HTTPS_PROXY", "http://p:1"), ("NO_PROXY", "*")])
                .of(&"https://a.b".parse().unwrap()),
            None
        );
    }
}
