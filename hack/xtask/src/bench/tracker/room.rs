//! A tracker with one owner and a few large blobs, for the bench.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use anyhow::{Context, Result};
use async_trait::async_trait;
use bytes::Bytes;
use shoal_api::EverybodyMay;
use shoal_http::{Limits, Listener, Shutdown};
use shoal_oci::Digest;
use shoal_ring::{Addresses, Member, MemberId, Ring, Weight};
use shoal_swarm_types::{Layout, Metainfo, PeerId, PieceDigest};
use shoal_telemetry::TrackerMetrics;
use shoal_tracker::{MetainfoSource, Owners, SourceError, Tracker, TrackerHandler, TrackerOptions};

use crate::terminal::say;

/// Blobs: the layers of one image.
pub(super) const BLOBS: u32 = 8;

/// Bytes of each: its metainfo takes 12 KiB.
const BLOB_SIZE: u64 = 1_500_000_000;

/// The owner of everything.
struct Image(BTreeMap<Digest, Metainfo>);

#[async_trait]
impl MetainfoSource for Image {
    async fn size(&self, digest: &Digest) -> Result<Option<u64>, SourceError> {
        Ok(self.0.get(digest).map(Metainfo::size))
    }

    async fn metainfo(&self, digest: &Digest) -> Result<Option<Metainfo>, SourceError> {
        Ok(self.0.get(digest).cloned())
    }

    async fn content(&self, _: &Digest, _: u64) -> Result<Option<Bytes>, SourceError> {
        Ok(None)
    }
}

/// Digest of blob `number`.
pub(super) fn digest(number: u32) -> Digest {
    Digest::sha256(&number.to_be_bytes())
}

/// A tracker that owners of [`BLOBS`] blobs stand behind.
pub(super) fn tracker(seed: u64) -> Result<Tracker> {
    let pieces = Layout::for_size(BLOB_SIZE).piece_count();
    let metainfo = |number| {
        let digests = (0..pieces).map(|piece| PieceDigest(*blake(piece)));
        Metainfo::new(digest(number), BLOB_SIZE, digests.collect()).context("as many digests as pieces")
    };
    let mut image = BTreeMap::new();
    for number in 0..BLOBS {
        image.insert(digest(number), metainfo(number)?);
    }
    let id: MemberId = "owner".parse().context("a member's name")?;
    let addresses = Addresses { peer: "10.255.0.1:15001".into(), origin: "10.255.0.1:15002".into() };
    let member = Member { id: id.clone(), weight: Weight::default(), addresses };
    let owners = Owners::new(Ring::new(vec![member], 1), BTreeMap::from([(id, PeerId([0xee; 20]))]), 1);
    let options = TrackerOptions::with_seed(seed);
    Ok(Tracker::new(
        owners,
        Arc::new(Image(image)),
        Arc::new(EverybodyMay),
        TrackerMetrics::default(),
        options,
    ))
}

/// Something that looks like a piece digest.
fn blake(piece: u32) -> Box<[u8; 32]> {
    let mut bytes = Box::new([0; 32]);
    fastrand::Rng::with_seed(piece.into()).fill(&mut *bytes);
    bytes
}

/// Serves on a free port, names it, and ends when standard input does.
pub(super) fn serve() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let tracker = Arc::new(tracker(1)?);
        let listener = Listener::bind(([127, 0, 0, 1], 0).into()).await?;
        say(format_args!("{}", listener.local_addr()));
        let shutdown = Shutdown::new();
        let handler = Arc::new(TrackerHandler::new(Arc::clone(&tracker)));
        let serving = tokio::spawn(listener.serve(handler, Limits::default(), shutdown.clone()));
        let housekeeping = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { tracker.run(shutdown).await }
        });
        // Ends with whoever started us.
        tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
        shutdown.trigger();
        tokio::try_join!(serving, housekeeping)?;
        Ok(())
    })
}
