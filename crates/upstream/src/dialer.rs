//! Connects to an upstream and to whom it sends us: resolves the name, checks the addresses, connects to exactly those.
//!
//! A pool asks a dialer for every new connection, so a name that begins to lead elsewhere later (DNS rebinding) is checked then.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::Uri;
use shoal_http::{Dial, DialError};
use tokio::net::TcpStream;

use crate::address::{Standing, may_connect};
use crate::proxy::{Proxy, ProxyChoice, ProxyEnvironment};

/// For one TCP connection to come about. A SYN is repeated after one second and again after three.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// For a name to be resolved: what resolvers take for two attempts.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Addresses of one name that are tried, one after the other.
const ADDRESSES_MAX: usize = 4;

/// Where one upstream's connections lead.
#[derive(Clone, Debug)]
pub(crate) struct Dialer {
    /// Hosts that the configuration names, in lower case, and the port under which they are meant. A registry that is inside must not lead
    /// us to its neighbours, nor to other services of its own machine.
    pub(crate) named: Arc<BTreeSet<(String, u16)>>,
    pub(crate) proxy: ProxyChoice,
    pub(crate) environment: Arc<ProxyEnvironment>,
}

impl Dialer {
    /// How the host of `uri` came to be asked.
    pub(crate) fn standing(&self, uri: &Uri) -> Standing {
        if self.named.contains(&host_and_port(uri)) { Standing::Named } else { Standing::Stranger }
    }

    fn proxy_of(&self, uri: &Uri) -> Option<&Proxy> {
        match &self.proxy {
            ProxyChoice::Environment => self.environment.of(uri),
            ProxyChoice::Direct => None,
            ProxyChoice::Fixed(proxy) => Some(proxy),
        }
    }

    /// What can be told without resolving anything.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub(crate) fn check(&self, uri: &Uri) -> Result<(), String> {
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        if host.is_empty() {
            return Err("there is no host in the URL".to_owned());
        }
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err("a URL with a name and password in it".to_owned());
        }
        if self.standing(uri) == Standing::Named {
            return Ok(());
        }
        let why = if host.parse::<IpAddr>().is_ok() {
            "an address that the configuration does not name"
        } else if uri.scheme_str() != Some("https") || uri.port_u16().is_some_and(|port| port != 443) {
            "a host that the configuration does not name is asked over HTTPS on port 443 only"
        } else if !host.contains('.') || is_inside(host) {
            "a name of the inner network that the configuration does not have in `hosts`"
        } else {
            return Ok(());
        };
        Err(why.to_owned())
    }

    async fn addresses(&self, uri: &Uri) -> Result<Vec<SocketAddr>, DialError> {
        let (host, port) = host_and_port(uri);
        if let Ok(address) = host.parse::<IpAddr>() {
            // Only hosts that are named come here as addresses, and what is written out is meant.
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let resolved = tokio::time::timeout(RESOLVE_TIMEOUT, tokio::net::lookup_host((host.as_str(), port)))
            .await
            .map_err(|_elapsed| std::io::Error::other("its name is not resolved in time"))??;
        let found: Vec<SocketAddr> = resolved.collect();
        let standing = self.standing(uri);
        let allowed: Vec<SocketAddr> = found
            .iter()
            .copied()
            .filter(|addr| may_connect(addr.ip(), standing))
            .take(ADDRESSES_MAX)
            .collect();
        match (allowed.is_empty(), found.first()) {
            (true, Some(inside)) => Err(DialError::Refused(format!(
                "it leads to {}, which is not on the public Internet; name the host in the configuration if that is meant",
                inside.ip()
            ))),
            (true, None) => Err(std::io::Error::other("its name has no address").into()),
            (false, _) => Ok(allowed),
        }
    }
}

/// Host in lower case and without brackets, and the port that is meant.
pub(crate) fn host_and_port(uri: &Uri) -> (String, u16) {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_ascii_lowercase();
    (host, uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 }))
}

/// Names that mean machines of the own network by convention (RFC 6761, RFC 6762, RFC 8375, ICANN's `internal`).
fn is_inside(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    [".localhost", ".local", ".internal", ".home.arpa", ".lan"].iter().any(|suffix| host.ends_with(suffix))
}

#[async_trait]
impl Dial for Dialer {
    async fn dial(&self, uri: &Uri) -> Result<TcpStream, DialError> {
        self.check(uri).map_err(DialError::Refused)?;
        if let Some(proxy) = self.proxy_of(uri) {
            let (host, port) = host_and_port(uri);
            let tunnel = tokio::time::timeout(CONNECT_TIMEOUT, proxy.tunnel(&host, port)).await;
            return Ok(tunnel
                .map_err(|_elapsed| std::io::Error::other(format!("the proxy {proxy} takes too long")))??);
        }
        let mut last = None;
        for addr in self.addresses(uri).await? {
            match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(addr)).await {
                Ok(Ok(stream)) => {
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                Ok(Err(error)) => last = Some(error),
                Err(_elapsed) => last = Some(std::io::Error::other(format!("{addr} does not answer"))),
            }
        }
        Err(last.unwrap_or_else(|| std::io::Error::other("there is no address")).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialer(named: &[(&str, u16)]) -> Dialer {
        Dialer {
            named: Arc::new(named.iter().map(|(host, port)| (host.to_string(), *port)).collect()),
            proxy: ProxyChoice::Direct,
            environment: Arc::default(),
        }
    }

    async fn refusal(dialer: &Dialer, url: &str) -> Option<String> {
        match dialer.dial(&url.parse().unwrap()).await {
            Err(DialError::Refused(why)) => Some(why),
            _ => None,
        }
    }

    #[tokio::test]
    async fn what_a_stranger_names_never_leads_inside() {
        let dialer = dialer(&[("registry.corp", 443), ("127.0.0.1", 5000)]);
        for url in [
            "https://127.0.0.1/",
            "http://127.0.0.1:6379/",
            "https://registry.corp:8443/",
            "https://169.254.169.254/latest/meta-data",
            "https://10.0.0.1/",
            "https://[::1]/",
            "https://[::ffff:169.254.169.254]/",
            "https://localhost/",
            "https://x.localhost/",
            "https://metadata.google.internal/",
            "https://printer.local/",
            "https://intranet/",
            "http://example.com/",
            "https://example.com:22/",
            "https://user:pw@example.com/",
            "https://2130706433/",
            "https://0x7f000001/",
        ] {
            assert!(refusal(&dialer, url).await.is_some(), "{url}");
        }
    }

    #[tokio::test]
    async fn a_name_that_resolves_to_loopback_is_refused_unless_it_is_configured() {
        // Every system resolves `localhost` to loopback; here it stands for a public name whose owner points it inside.
        let stranger = dialer(&[]);
        let url: Uri = "https://localhost".parse().unwrap();
        let found = stranger.addresses(&url).await;
        assert!(
            matches!(&found, Err(DialError::Refused(why)) if why.contains("public Internet")),
            "{found:?}"
        );
        let named = dialer(&[("localhost", 443)]);
        assert!(named.addresses(&url).await.unwrap().iter().all(|addr| addr.ip().is_loopback()));
    }

    #[tokio::test]
    async fn the_connection_is_made_to_the_address_that_was_checked() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let url = format!("http://localhost:{}/", addr.port()).parse().unwrap();
        let stream = dialer(&[("localhost", addr.port())]).dial(&url).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), addr);
    }

    #[tokio::test]
    async fn a_tunnel_shows_the_proxy_its_password_and_nobody_else() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let served = tokio::spawn(async move {
            use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = vec![0; 1024];
            let len = stream.read(&mut head).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\nhello").await.unwrap();
            String::from_utf8_lossy(&head[..len]).into_owned()
        });
        let proxy = ProxyChoice::Fixed(format!("http://me:pw@{addr}").parse().unwrap());
        let dialer = Dialer { proxy, ..dialer(&[]) };
        let mut stream = dialer.dial(&"https://registry.example.com/v2/".parse().unwrap()).await.unwrap();
        let mut first = [0; 5];
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut first).await.unwrap();
        assert_eq!(&first, b"hello");
        let head = served.await.unwrap();
        assert!(head.starts_with("CONNECT registry.example.com:443 HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("Proxy-Authorization: Basic bWU6cHc="), "{head}");
        assert!(refusal(&dialer, "https://169.254.169.254/").await.is_some(), "no proxy leads there either");
    }
}
