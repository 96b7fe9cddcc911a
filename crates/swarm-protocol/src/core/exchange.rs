//! Peers that name each other, so that a swarm holds together while no tracker answers.

use std::net::{IpAddr, SocketAddr};

use shoal_swarm_types::PeerInfo;

use super::Core;
use super::receiving::Verdict;
use crate::io::ConnId;

impl Core {
    /// A peer named others. They are remembered with it: what one peer says takes a bounded place, and goes when it goes.
    pub(super) fn peers_named(&mut self, conn: ConnId, swarm: u32, peers: Vec<PeerInfo>) -> Verdict {
        let Some(digest) = self.channel(conn, swarm)? else { return Ok(()) };
        let Some(blob) = self.blobs.get_mut(&digest).filter(|blob| blob.is_downloading()) else {
            return Ok(());
        };
        if let Some(member) = blob.members.get_mut(&conn) {
            member.named = peers.into_iter().filter(|peer| is_dialable(&peer.addr)).collect();
            self.may_dial = true;
        }
        Ok(())
    }
}

/// Whether an address is that of one machine, with a port.
fn is_dialable(addr: &SocketAddr) -> bool {
    let ip = addr.ip().to_canonical();
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    addr.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !broadcast
}
