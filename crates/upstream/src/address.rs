//! Which addresses may be connected to for the sake of somebody else's word.
//!
//! A host that the configuration names may be anywhere but where no registry ever is. A host that came from a client, a redirect or a
//! token realm must be on the public Internet: else whoever can make us ask would reach what only we can reach.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How a host came to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The configuration names it.
    Named,
    /// Somebody else named it.
    Stranger,
}

/// Whether a host that resolves to `address` may be connected to there.
pub(crate) fn may_connect(address: IpAddr, standing: Standing) -> bool {
    match standing {
        Standing::Named => !is_nowhere(address),
        Standing::Stranger => is_public(address),
    }
}

/// Where no registry is, whatever a name says: metadata services of clouds, links, groups, nothing.
fn is_nowhere(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_unspecified() || v4.is_broadcast() || v4.is_multicast() || v4.is_link_local(),
        IpAddr::V6(v6) => {
            v6.is_unspecified() || v6.is_multicast() || v6.is_unicast_link_local() || v6 == AWS_METADATA_V6
        }
    }
}

/// The metadata service of EC2 over IPv6, which has a unique local address.
const AWS_METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

/// Networks of the IANA special-purpose registry, none of which is globally reachable.
const SPECIAL_V4: [(Ipv4Addr, u32); 15] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

fn is_public_v4(address: Ipv4Addr) -> bool {
    !SPECIAL_V4.iter().any(|(network, len)| {
        let mask = u32::MAX << (32 - len);
        address.to_bits() & mask == network.to_bits() & mask
    })
}

/// Global unicast, less what only wraps or documents something. An IPv4 address that is wrapped for translation counts as itself.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    if segments[..6] == [0x64, 0xff9b, 0, 0, 0, 0] {
        let [.., high, low] = segments;
        return is_public_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    }
    let is_global = segments[0] & 0xe000 == 0x2000;
    // 2001::/23 (Teredo, benchmarks, ORCHID), 2001:db8::/32 and 3fff::/20 (documentation), 2002::/16 (6to4).
    let is_special = (segments[0] == 0x2001 && (segments[1] < 0x200 || segments[1] == 0xdb8))
        || segments[0] == 0x2002
        || (segments[0] == 0x3fff && segments[1] < 0x1000);
    is_global && !is_special
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSIDE: &[&str] = &[
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "100.100.100.200",
        "127.0.0.1",
        "127.9.9.9",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.192",
        "192.0.2.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.19.255.255",
        "203.0.113.9",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::127.0.0.1",
        "64:ff9b::a00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:a00:1::",
        "3fff::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ];
    const OUTSIDE: &[&str] = &[
        "1.1.1.1",
        "8.8.8.8",
        "100.128.0.1",
        "172.32.0.1",
        "192.0.1.1",
        "2600::1",
        "2a00:1450::1",
        "64:ff9b::808:808",
    ];

    #[test]
    fn strangers_are_on_the_public_internet() {
        for text in INSIDE {
            assert!(!may_connect(text.parse().unwrap(), Standing::Stranger), "{text}");
        }
        for text in OUTSIDE {
            assert!(may_connect(text.parse().unwrap(), Standing::Stranger), "{text}");
        }
    }

    #[test]
    fn who_is_configured_may_be_inside_but_never_a_metadata_service() {
        for text in ["127.0.0.1", "10.0.0.1", "192.168.1.1", "::1", "fc00::1", "8.8.8.8"] {
            assert!(may_connect(text.parse().unwrap(), Standing::Named), "{text}");
        }
        for text in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "fd00:ec2::254",
            "fe80::1",
            "0.0.0.0",
            "::",
            "224.0.0.1",
        ] {
            assert!(!may_connect(text.parse().unwrap(), Standing::Named), "{text}");
        }
    }
}
