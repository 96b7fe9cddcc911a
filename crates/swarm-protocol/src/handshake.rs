//! The first bytes on a connection, the same size both ways, so that a stranger is recognised after one read of known length.

use shoal_swarm_types::{PeerId, Zone};

/// Length of a handshake in bytes.
pub const HANDSHAKE_LEN: usize = MAGIC.len() + 20 + 2 + 4 + 32;

/// Protocol name and version. A peer with another version is not understood, so the version is part of the name.
const MAGIC: [u8; 8] = *b"shoal/1\n";

/// Who we are, and the proof that we belong here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// The sender's identity.
    pub peer_id: PeerId,
    /// The port where the sender takes connections; 0 if it takes none.
    pub port: u16,
    /// Where the sender stands.
    pub zone: Zone,
    /// Hash of the cluster's key: peers of different clusters do not talk.
    pub cluster: [u8; 32],
}

/// Why bytes are not a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// Not our protocol, or another version of it.
    #[error("the peer does not speak this version of the swarm protocol")]
    Magic,
}

impl Handshake {
    /// The wire form.
    pub fn encode(&self) -> [u8; HANDSHAKE_LEN] {
        let mut bytes = [0; HANDSHAKE_LEN];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..28].copy_from_slice(&self.peer_id.0);
        bytes[28..30].copy_from_slice(&self.port.to_be_bytes());
        bytes[30..34].copy_from_slice(&self.zone.0.to_be_bytes());
        bytes[34..].copy_from_slice(&self.cluster);
        bytes
    }

    /// Reads the wire form. Whether `cluster` is ours is for the caller to compare.
    pub fn decode(bytes: &[u8; HANDSHAKE_LEN]) -> Result<Self, HandshakeError> {
        if bytes[..8] != MAGIC {
            return Err(HandshakeError::Magic);
        }
        let mut peer_id = [0; 20];
        peer_id.copy_from_slice(&bytes[8..28]);
        let mut cluster = [0; 32];
        cluster.copy_from_slice(&bytes[34..]);
        let port = u16::from_be_bytes([bytes[28], bytes[29]]);
        let zone = Zone(u32::from_be_bytes([bytes[30], bytes[31], bytes[32], bytes[33]]));
        Ok(Self { peer_id: PeerId(peer_id), port, zone, cluster })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_refuses_strangers() {
        let handshake =
            Handshake { peer_id: PeerId([7; 20]), port: 16_001, zone: Zone(77), cluster: [9; 32] };
        let mut bytes = handshake.encode();
        assert_eq!(Handshake::decode(&bytes), Ok(handshake));
        bytes[6] = b'2';
        assert_eq!(Handshake::decode(&bytes), Err(HandshakeError::Magic));
    }
}
