//! A socket address in 18 bytes: half of what the standard one takes, in a room that holds millions of them.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Host part: IPv4 as mapped into IPv6, so that every host has one form.
pub(crate) type Host = [u8; 16];

/// The compact form of `ip`.
pub(crate) fn host(ip: IpAddr) -> Host {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// The usual form of a compact address.
pub(crate) fn socket(host: Host, port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv6Addr::from(host)).to_canonical(), port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_come_back() {
        for text in ["10.1.2.3:16001", "[2001:db8::1]:7", "127.0.0.1:1"] {
            let addr: SocketAddr = text.parse().unwrap();
            assert_eq!(socket(host(addr.ip()), addr.port()), addr);
        }
    }
}
