//! Until when peers may have pieces: judged when they join, and again when the time that was given is over.
//!
//! A grant expires while a connection stands. Then the same is asked once more (whoever judges may be lenient while nobody can give new
//! grants), and a peer whose grant no longer holds gets no more pieces until it joins again with one that does, on the same channel.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use shoal_oci::Digest;
use shoal_swarm_protocol::{ConnId, Input, Message};
use shoal_swarm_types::PeerId;
use tokio::time::Instant;
use tracing::debug;

use super::Actor;

/// Grants with an end, by the channel on which they were shown: at most as many as peers may have channels.
#[derive(Default)]
pub(super) struct Passes(BTreeMap<(ConnId, u32), Pass>);

struct Pass {
    digest: Digest,
    peer: PeerId,
    grant: Bytes,
    until: Instant,
}

impl Actor {
    /// The channel of a Join whose grant does not hold.
    pub(super) fn refused(&mut self, conn: ConnId, message: &Message) -> Option<u32> {
        let Message::Join { swarm, digest, grant, .. } = message else { return None };
        let peer = self.core.peer_id(conn)?;
        if self
            .passes
            .0
            .get(&(conn, *swarm))
            .is_some_and(|pass| pass.digest == *digest && pass.grant == *grant)
        {
            return None;
        }
        self.passes.0.remove(&(conn, *swarm));
        let Some(time) = self.grants.may_have(digest, &peer, grant) else {
            debug!(%peer, %digest, "a peer joined without a grant that holds; it gets no pieces");
            return Some(*swarm);
        };
        // A copy: the message may be part of a larger buffer.
        let grant = Bytes::copy_from_slice(grant);
        self.pass(conn, *swarm, *digest, peer, grant, time);
        None
    }

    fn pass(&mut self, conn: ConnId, swarm: u32, digest: Digest, peer: PeerId, grant: Bytes, time: Duration) {
        // For ever is no moment.
        if let Some(until) = Instant::now().checked_add(time).filter(|_| time < Duration::MAX) {
            self.passes.0.insert((conn, swarm), Pass { digest, peer, grant, until });
        }
    }

    /// Takes pieces away from those whose time is over.
    pub(super) fn end_passes(&mut self) {
        let now = Instant::now();
        let conns = &self.conns;
        self.passes.0.retain(|(conn, _), _| conns.is_open(*conn));
        let over: Vec<_> =
            self.passes.0.iter().filter(|(_, pass)| pass.until <= now).map(|(key, _)| *key).collect();
        for (conn, swarm) in over {
            let Some(Pass { digest, peer, grant, .. }) = self.passes.0.remove(&(conn, swarm)) else {
                continue;
            };
            match self.grants.may_have(&digest, &peer, &grant) {
                Some(time) => self.pass(conn, swarm, digest, peer, grant, time),
                None => {
                    debug!(%peer, %digest, "the grant of a peer has expired; it gets no more pieces");
                    self.feed(Input::Ungranted { conn, swarm });
                }
            }
        }
    }
}
