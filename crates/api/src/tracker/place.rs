//! Puts the tracker's own address where an answer says "the host at which you reached me".

use std::net::{IpAddr, SocketAddr};

use http::Uri;
use http::uri::Authority;

use super::AnnounceReply;

/// Whether an answer needs [`place`] at all.
pub(super) fn is_unplaced(reply: &AnnounceReply) -> bool {
    reply.peers.iter().any(|peer| peer.addr.ip().is_unspecified())
        || reply.web_seeds.iter().any(|url| unspecified_port(url).is_some())
}

/// Replaces every unspecified address in the answer by `host`.
pub(super) fn place(reply: &mut AnnounceReply, host: IpAddr) {
    for peer in &mut reply.peers {
        if peer.addr.ip().is_unspecified() {
            peer.addr.set_ip(host);
        }
    }
    for url in &mut reply.web_seeds {
        if let Some(placed) = placed_url(url, host) {
            *url = placed;
        }
    }
}

/// Forgets what cannot be reached because nobody knows the tracker's address.
pub(super) fn drop_unplaced(reply: &mut AnnounceReply) {
    reply.peers.retain(|peer| !peer.addr.ip().is_unspecified());
    reply.web_seeds.retain(|url| unspecified_port(url).is_none());
}

fn placed_url(url: &str, host: IpAddr) -> Option<String> {
    let port = unspecified_port(url)?;
    let uri: Uri = url.parse().ok()?;
    let mut parts = uri.into_parts();
    // SocketAddr prints an IPv6 address in brackets, as an authority wants it.
    parts.authority = Authority::try_from(SocketAddr::new(host, port).to_string()).ok();
    Some(Uri::from_parts(parts).ok()?.to_string())
}

/// The port of a URL whose host is an unspecified address.
fn unspecified_port(url: &str) -> Option<u16> {
    let uri: Uri = url.parse().ok()?;
    let ip = literal_ip(uri.host()?)?;
    ip.is_unspecified()
        .then(|| uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 }))
}

/// The address in a URL's host, when it is one; `http` leaves the brackets around IPv6.
pub(super) fn literal_ip(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

#[cfg(test)]
mod tests {
    use shoal_swarm_types::{PeerId, PeerInfo, Zone};

    use super::*;

    fn reply() -> AnnounceReply {
        let peer = |addr: &str| PeerInfo {
            id: PeerId([1; 20]),
            addr: addr.parse().unwrap(),
            complete: true,
            owner: true,
            zone: Zone::UNKNOWN,
        };
        AnnounceReply {
            peers: vec![peer("0.0.0.0:15001"), peer("[::]:15001"), peer("10.0.0.7:16001")],
            web_seeds: vec![
                "http://0.0.0.0:15002/blobs/sha256:aa".into(),
                "http://[::]:15002/blobs/sha256:aa?repository=a/b".into(),
                "http://origin:15002/blobs/sha256:aa".into(),
            ],
            ..AnnounceReply::default()
        }
    }

    #[test]
    fn unspecified_hosts_become_the_tracker() {
        let mut reply = reply();
        assert!(is_unplaced(&reply));
        place(&mut reply, "192.0.2.1".parse().unwrap());
        let addrs: Vec<_> = reply.peers.iter().map(|peer| peer.addr.to_string()).collect();
        assert_eq!(addrs, ["192.0.2.1:15001", "192.0.2.1:15001", "10.0.0.7:16001"]);
        assert_eq!(reply.web_seeds[0], "http://192.0.2.1:15002/blobs/sha256:aa");
        assert_eq!(reply.web_seeds[1], "http://192.0.2.1:15002/blobs/sha256:aa?repository=a/b");
        assert_eq!(reply.web_seeds[2], "http://origin:15002/blobs/sha256:aa");
        assert!(!is_unplaced(&reply));
    }

    #[test]
    fn an_ipv6_tracker_is_written_in_brackets() {
        let mut reply = reply();
        place(&mut reply, "2001:db8::1".parse().unwrap());
        assert_eq!(reply.peers[0].addr.to_string(), "[2001:db8::1]:15001");
        assert_eq!(reply.web_seeds[0], "http://[2001:db8::1]:15002/blobs/sha256:aa");
    }

    #[test]
    fn without_an_address_only_reachable_peers_stay() {
        let mut reply = reply();
        drop_unplaced(&mut reply);
        assert_eq!(reply.peers.len(), 1);
        assert_eq!(reply.web_seeds, ["http://origin:15002/blobs/sha256:aa"]);
    }
}
