//! Pieces for those who show a grant, for as long as it holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use shoal_oci::Digest;
use shoal_swarm::{GrantCheck, Role};
use shoal_swarm_protocol::{Message, Pieces};
use shoal_swarm_types::{PeerId, PieceIndex};

use crate::tracker::Tracker;
use crate::world::{Actor, Plan, Talk, content, within};

/// The grant "brief" holds for a moment, "fresh" for ever, and nothing else at all.
#[derive(Debug, Default)]
struct Clerk {
    over: AtomicBool,
}

impl GrantCheck for Clerk {
    fn may_have(&self, _: &Digest, _: &PeerId, grant: &[u8]) -> Option<Duration> {
        match grant {
            b"brief" if !self.over.swap(true, Ordering::Relaxed) => Some(Duration::from_millis(10)),
            b"fresh" => Some(Duration::MAX),
            _ => None,
        }
    }
}

/// Asks for the first piece until there is an answer; whether it came.
async fn gets(talk: &mut Talk) -> bool {
    talk.say(&Message::Request { swarm: 9, index: PieceIndex(0), urgent: false }).await;
    loop {
        match within(talk.hear()).await.expect("the connection stands") {
            Message::Piece { .. } => return true,
            Message::Reject { .. } => return false,
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_grant_that_expires_ends_the_pieces_until_a_new_one_is_shown_on_the_same_channel() {
    let tracker = Arc::new(Tracker::default());
    let mut plan = Plan::new(Role::Owner);
    plan.options.grants = Arc::new(Clerk::default());
    let owner = plan.start(&tracker).await;
    let digest = owner.publish(&tracker, &content(21, 100_000));
    let me = Actor::new().await;
    let mut talk = Talk::dial(owner.peer.addr, &me.peer).await;
    let join = |grant: &'static [u8]| {
        let grant = Bytes::from_static(grant);
        Message::Join { swarm: 9, digest, owner: false, grant, pieces: Pieces::Nothing }
    };
    talk.say(&join(b"stolen")).await;
    while !matches!(within(talk.hear()).await.unwrap(), Message::Join { .. }) {}
    assert!(!gets(&mut talk).await);
    talk.say(&join(b"brief")).await;
    assert!(gets(&mut talk).await);
    within(async { while gets(&mut talk).await {} }).await;
    talk.say(&join(b"brief")).await;
    assert!(!gets(&mut talk).await, "it is over");
    talk.say(&join(b"fresh")).await;
    assert!(gets(&mut talk).await);
}
