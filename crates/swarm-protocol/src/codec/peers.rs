//! A list of peers as bytes: count, then for each a flag byte, its identity, its zone and its address.

use std::net::{IpAddr, SocketAddr};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use shoal_swarm_types::{PeerId, PeerInfo, Zone};

use super::CodecError;
use crate::message::PEERS_PER_MESSAGE_MAX;

/// Flag: the peer has every piece.
const COMPLETE: u8 = 1;

/// Flag: the address is one of IPv6.
const SIX: u8 = 2;

/// Flags, identity, zone and port.
const FIXED_LEN: usize = 1 + 20 + 4 + 2;

/// Channel and count.
const HEAD_LEN: usize = 4 + 1;

/// The shortest body: one peer with an address of IPv4.
pub(super) const BODY_LEN_MIN: usize = HEAD_LEN + FIXED_LEN + 4;

/// The longest body.
pub(super) const BODY_LEN_MAX: usize = HEAD_LEN + PEERS_PER_MESSAGE_MAX * (FIXED_LEN + 16);

/// Length of a body with `peers` behind its channel.
pub(super) fn body_len(peers: &[PeerInfo]) -> usize {
    HEAD_LEN + sent(peers).iter().map(|peer| FIXED_LEN + ip_len(peer.addr.is_ipv6())).sum::<usize>()
}

/// Appends count and peers.
pub(super) fn put(out: &mut BytesMut, peers: &[PeerInfo]) {
    let peers = sent(peers);
    out.put_u8(peers.len() as u8);
    for peer in peers {
        let six = peer.addr.is_ipv6();
        out.put_u8(if peer.complete { COMPLETE } else { 0 } | if six { SIX } else { 0 });
        out.put_slice(&peer.id.0);
        out.put_u32(peer.zone.0);
        match peer.addr.ip() {
            IpAddr::V4(ip) => out.put_slice(&ip.octets()),
            IpAddr::V6(ip) => out.put_slice(&ip.octets()),
        }
        out.put_u16(peer.addr.port());
    }
}

/// Reads count and peers, which must fill the body.
pub(super) fn read(mut body: Bytes, wrong: CodecError) -> Result<Vec<PeerInfo>, CodecError> {
    let count = usize::from(body.get_u8());
    if count == 0 || count > PEERS_PER_MESSAGE_MAX {
        return Err(CodecError::Field("number of peers"));
    }
    let mut peers = Vec::with_capacity(count);
    for _ in 0..count {
        peers.push(read_one(&mut body, wrong)?);
    }
    if body.has_remaining() {
        return Err(wrong);
    }
    Ok(peers)
}

fn read_one(body: &mut Bytes, wrong: CodecError) -> Result<PeerInfo, CodecError> {
    let flags = *body.first().ok_or(wrong)?;
    if flags & !(COMPLETE | SIX) != 0 {
        return Err(CodecError::Field("flags of a peer"));
    }
    let six = flags & SIX != 0;
    if body.len() < FIXED_LEN + ip_len(six) {
        return Err(wrong);
    }
    body.advance(1);
    let mut id = [0; 20];
    body.copy_to_slice(&mut id);
    let zone = Zone(body.get_u32());
    let ip = if six {
        IpAddr::from(body.get_u128().to_be_bytes())
    } else {
        IpAddr::from(body.get_u32().to_be_bytes())
    };
    let addr = SocketAddr::new(ip, body.get_u16());
    Ok(PeerInfo { id: PeerId(id), addr, complete: flags & COMPLETE != 0, owner: false, zone })
}

fn sent(peers: &[PeerInfo]) -> &[PeerInfo] {
    &peers[..peers.len().min(PEERS_PER_MESSAGE_MAX)]
}

const fn ip_len(six: bool) -> usize {
    if six { 16 } else { 4 }
}
