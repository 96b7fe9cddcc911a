//! How agents reach this server: the addresses of the ring's only member.
//!
//! Without a configured host, a listener on an unspecified address is advertised as such, and each agent puts the host at which it
//! reached the tracker in its place (see `shoal_api::tracker`). One machine, one cluster network and several networks at once all
//! work without a word of configuration; an address translator or a name of its own needs `advertise.host`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result};
use shoal_ring::{Addresses as MemberAddresses, Member, MemberId, Ring, Weight};
use shoal_swarm_types::PeerId;
use shoal_tracker::Owners;

use crate::addresses::Addresses;

/// Name of the only member. Ownership of everything is its, whatever the name.
const MEMBER: &str = "server";

/// The ring of this server alone.
pub(crate) async fn owners(host: Option<&str>, addresses: &Addresses, peer_id: PeerId) -> Result<Owners> {
    let id: MemberId = MEMBER.parse().context("the member's name is valid")?;
    let addresses = match host {
        None => MemberAddresses { peer: addresses.peer.to_string(), origin: addresses.origin.to_string() },
        Some(host) => advertised(host, addresses).await?,
    };
    let member = Member { id: id.clone(), weight: Weight::default(), addresses };
    Ok(Owners::new(Ring::new(vec![member], 1), BTreeMap::from([(id, peer_id)]), 1))
}

/// Addresses under a name: the web seed keeps the name, the swarm needs its address now.
async fn advertised(host: &str, addresses: &Addresses) -> Result<MemberAddresses> {
    let ip = resolve(host, addresses).await?;
    let origin = match host.parse::<IpAddr>() {
        Ok(literal) => SocketAddr::new(literal, addresses.origin.port()).to_string(),
        Err(_) => format!("{host}:{}", addresses.origin.port()),
    };
    Ok(MemberAddresses { peer: SocketAddr::new(ip, addresses.peer.port()).to_string(), origin })
}

/// The address of `host`, of the family in which the swarm port listens when there is one.
async fn resolve(host: &str, addresses: &Addresses) -> Result<IpAddr> {
    if let Ok(literal) = host.parse() {
        return Ok(literal);
    }
    let found = tokio::net::lookup_host((host, addresses.peer.port()))
        .await
        .with_context(|| format!("advertise.host `{host}` cannot be resolved; write an address, or start the server after the name exists"))?;
    let found: Vec<_> = found.map(|addr| addr.ip()).collect();
    let same_family = found.iter().find(|ip| ip.is_ipv4() == addresses.peer.is_ipv4());
    same_family.or(found.first()).copied().with_context(|| format!("advertise.host `{host}` has no address"))
}

#[cfg(test)]
mod tests {
    use shoal_oci::Digest;

    use super::*;

    fn addresses(peer: &str) -> Addresses {
        let any = |port: u16| SocketAddr::from(([0, 0, 0, 0], port));
        Addresses {
            registry: any(1),
            peer: peer.parse().unwrap(),
            origin: any(15002),
            tracker: any(3),
            tags: any(4),
            admin: any(5),
        }
    }

    async fn advertise(host: Option<&str>, peer: &str) -> (String, String) {
        let digest = Digest::sha256(b"x");
        let owners = owners(host, &addresses(peer), PeerId([1; 20])).await.unwrap();
        let seed = owners.web_seeds(&digest, None)[0].replace(&digest.to_string(), "D");
        (owners.peers(&digest)[0].addr.to_string(), seed)
    }

    #[tokio::test]
    async fn without_a_host_the_listeners_themselves_are_advertised() {
        let want = ("0.0.0.0:15001".to_owned(), "http://0.0.0.0:15002/blobs/D".to_owned());
        assert_eq!(advertise(None, "0.0.0.0:15001").await, want);
        assert_eq!(advertise(None, "[::]:15001").await.0, "[::]:15001");
    }

    #[tokio::test]
    async fn a_host_is_an_address_or_a_name() {
        let want = ("10.1.2.3:15001".to_owned(), "http://10.1.2.3:15002/blobs/D".to_owned());
        assert_eq!(advertise(Some("10.1.2.3"), "0.0.0.0:15001").await, want);
        let want = ("[2001:db8::1]:15001".to_owned(), "http://[2001:db8::1]:15002/blobs/D".to_owned());
        assert_eq!(advertise(Some("2001:db8::1"), "[::]:15001").await, want);
        let want = ("127.0.0.1:15001".to_owned(), "http://localhost:15002/blobs/D".to_owned());
        assert_eq!(advertise(Some("localhost"), "0.0.0.0:15001").await, want);
    }
}
