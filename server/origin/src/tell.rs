//! What agents are told of a blob, piece digest by piece digest: at once of one that is here, and as it comes of one that is arriving.

use std::sync::Arc;

use bytes::BytesMut;
use shoal_api::arriving::{DIGESTS_MAX, HEARTBEAT, Told};
use shoal_http::{Body, BodySender, Closed};
use shoal_swarm_types::Metainfo;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use crate::intake::arrival::{Arrival, End};

/// Records that wait for an agent. It hears the rest of them together, when it listens again.
const RECORDS_AHEAD: usize = 1;

/// Everything about a blob that is here.
pub(crate) fn whole(metainfo: &Metainfo) -> Body {
    let mut told = BytesMut::from(Told::Size(metainfo.size()).encode());
    for digests in metainfo.known().chunks(DIGESTS_MAX) {
        told.extend_from_slice(&Told::Digests(digests.to_vec()).encode());
    }
    told.extend_from_slice(&Told::Whole.encode());
    Body::from(told.freeze())
}

/// Everything about a blob that is arriving, as it comes. `place` is given back when the agent has heard it or is gone.
pub(crate) fn growing(arrival: Arc<Arrival>, place: OwnedSemaphorePermit) -> Body {
    let (sender, body) = Body::channel(RECORDS_AHEAD);
    tokio::spawn(async move {
        // Whoever is gone needs no more.
        if tell(&arrival, &sender).await.is_ok() {
            let _ = sender.finish().await;
        }
        drop(place);
    });
    body
}

async fn tell(arrival: &Arrival, sender: &BodySender) -> Result<(), Closed> {
    let mut stage = arrival.stage();
    let (mut next, mut heard) = (0, 0);
    sender.send(Told::Size(arrival.size()).encode()).await?;
    loop {
        // Looked at first: what is known at the end was known before.
        let (_, end) = *stage.borrow_and_update();
        loop {
            let digests = arrival.metainfo().known_from(next, DIGESTS_MAX);
            if digests.is_empty() {
                break;
            }
            // At most DIGESTS_MAX.
            next += u32::try_from(digests.len()).unwrap_or(u32::MAX);
            sender.send(Told::Digests(digests).encode()).await?;
        }
        match end {
            Some(End::Whole) => return sender.send(Told::Whole.encode()).await,
            Some(End::Refuted) => return sender.send(Told::Refuted.encode()).await,
            Some(End::Gone) => return sender.send(Told::Gone.encode()).await,
            None => {}
        }
        let changed = tokio::select! {
            changed = timeout(HEARTBEAT, stage.changed()) => changed,
            () = sender.closed() => return Err(Closed),
        };
        if changed.is_err() {
            let bytes = arrival.bytes();
            let word = if bytes > heard { Told::Alive } else { Told::Waiting };
            heard = bytes;
            sender.send(word.encode()).await?;
        }
    }
}
