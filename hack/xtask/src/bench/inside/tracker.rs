//! A torrent tracker as small as the bench can do with: HTTP announces, compact IPv4 peers, one torrent (BEP 3 and 23).
//!
//! Written so that requests are counted the same way for every program. It is no part of Shoal. It answers `count` on its standard
//! input with the number of announces and of peers that have everything.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, SocketAddrV4};

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::terminal::say;

/// The longest head of a request that is read.
const HEAD_LEN_MAX: usize = 8 * 1024;
/// Peers in one answer: what clients ask for by default.
const PEERS_MAX: usize = 50;
/// Seconds until a client may come again; the tuned clients come every two seconds while they want peers.
const INTERVAL_S: u32 = 2;

/// What is known.
#[derive(Debug, Default)]
struct Swarm {
    requests: u64,
    /// Whether each peer has everything.
    peers: BTreeMap<SocketAddrV4, bool>,
}

/// Serves until its standard input ends.
pub(super) async fn run(listen: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(listen).await?;
    let mut lines = lines();
    let mut swarm = Swarm::default();
    say("ready");
    loop {
        tokio::select! {
            line = lines.recv() => match line {
                Some(_) => {
                    let seeds = swarm.peers.values().filter(|has_everything| **has_everything).count();
                    say(format_args!("count {} {seeds}", swarm.requests));
                }
                None => return Ok(()),
            },
            accepted = listener.accept() => {
                let (stream, peer) = accepted?;
                // One that breaks off is its own loss.
                let _ = swarm.serve(stream, peer.ip()).await;
            }
        }
    }
}

/// The lines of the standard input, read by a thread: they are few, and reading them blocks.
fn lines() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

impl Swarm {
    async fn serve(&mut self, mut stream: TcpStream, ip: IpAddr) -> Result<()> {
        let mut head = Vec::new();
        while !head.windows(4).any(|window| window == b"\r\n\r\n") && head.len() < HEAD_LEN_MAX {
            if stream.read_buf(&mut head).await? == 0 {
                break;
            }
        }
        let text = String::from_utf8_lossy(&head).into_owned();
        let body = self.answer(text.lines().next().unwrap_or_default(), ip);
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), &body].concat()).await?;
        Ok(stream.shutdown().await?)
    }

    /// The answer to a request line, in bencoding.
    fn answer(&mut self, line: &str, ip: IpAddr) -> Vec<u8> {
        let value = |name: &str| {
            let (_, query) = line.split(' ').nth(1)?.split_once('?')?;
            query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
        };
        let (IpAddr::V4(ip), Some(port)) = (ip, value("port").and_then(|port| port.parse().ok())) else {
            return b"d14:failure reason15:no port or no v4e".to_vec();
        };
        self.requests += 1;
        let own = SocketAddrV4::new(ip, port);
        if value("event") == Some("stopped") {
            self.peers.remove(&own);
        } else {
            self.peers.insert(own, value("left") == Some("0"));
        }
        let mut others: Vec<&SocketAddrV4> = self.peers.keys().filter(|peer| **peer != own).collect();
        fastrand::shuffle(&mut others);
        others.truncate(PEERS_MAX);
        let mut body = format!("d8:intervali{INTERVAL_S}e5:peers{}:", 6 * others.len()).into_bytes();
        for peer in others {
            body.extend_from_slice(&peer.ip().octets());
            body.extend_from_slice(&peer.port().to_be_bytes());
        }
        body.push(b'e');
        body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_introduced_and_counted() {
        let mut swarm = Swarm::default();
        let ip = |last| IpAddr::from([10, 0, 0, last]);
        let line = "GET /announce?info_hash=%01&port=258&left=0 HTTP/1.1";
        assert_eq!(swarm.answer(line, ip(1)), b"d8:intervali2e5:peers0:e");
        let second = swarm.answer("GET /announce?port=6881&left=7&compact=1 HTTP/1.1", ip(2));
        assert_eq!(second, b"d8:intervali2e5:peers6:\x0a\x00\x00\x01\x01\x02e");
        assert_eq!(swarm.peers.values().filter(|all| **all).count(), 1);
        swarm.answer("GET /announce?port=258&event=stopped HTTP/1.1", ip(1));
        assert_eq!((swarm.requests, swarm.peers.len()), (3, 1));
        assert!(swarm.answer("GET / HTTP/1.1", ip(3)).starts_with(b"d14:failure"));
    }
}
