//! A blob past the disk: straight from an owner to the client, for when the cache can take nothing.
//!
//! Some runtimes never leave a mirror that gave them a manifest. So a full or broken disk must not end their pull while an owner still
//! has the bytes. The price is that nothing stays here and nobody else gets pieces from us. Each piece is compared with its digest
//! before a byte of it is given, as everywhere; one piece is in memory.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use shoal_api::origin::OriginClient;
use shoal_api::tracker::{AnnounceEvent, AnnounceItem, TrackerClient};
use shoal_oci::{Digest, Repository};
use shoal_swarm_types::{Metainfo, PieceIndex};

/// For one piece from one owner: 4 MiB at 5 Mbit/s.
const PIECE_TIMEOUT: Duration = Duration::from_secs(7);

/// Where owners are learnt of and asked. Clones share everything.
#[derive(Clone)]
pub(crate) struct Owners {
    tracker: TrackerClient,
    origin: OriginClient,
}

impl Owners {
    pub(crate) const fn new(tracker: TrackerClient, origin: OriginClient) -> Self {
        Self { tracker, origin }
    }

    /// Who owns a blob of `repository`, and how it is cut; `None` when nobody does or the tracker cannot be asked.
    pub(crate) async fn find(&self, digest: &Digest, repository: &Repository) -> Option<Direct> {
        let item = |event, need_metainfo| AnnounceItem {
            digest: *digest,
            event,
            complete: false,
            need_metainfo,
            repository: Some(repository.clone()),
            known: 0,
            peers_wanted: 0,
            content_max: 0,
        };
        let mut answers = self.tracker.announce(vec![item(AnnounceEvent::Periodic, true)]).await;
        let reply = answers.pop()?.ok()?;
        // We have no pieces to give: nobody shall be sent here.
        let (tracker, stopped) = (self.tracker.clone(), item(AnnounceEvent::Stopped, false));
        tokio::spawn(async move { tracker.announce(vec![stopped]).await });
        let metainfo = reply.metainfo.filter(|metainfo| metainfo.digest() == digest)?;
        (!reply.web_seeds.is_empty()).then(|| Direct {
            metainfo,
            owners: reply.web_seeds,
            origin: self.origin.clone(),
            piece: None,
        })
    }
}

/// A blob that is read from its owners.
pub(crate) struct Direct {
    metainfo: Metainfo,
    owners: Vec<String>,
    origin: OriginClient,
    /// The last piece that was read.
    piece: Option<(PieceIndex, Bytes)>,
}

impl Direct {
    /// Size of the whole blob in bytes.
    pub(crate) const fn size(&self) -> u64 {
        self.metainfo.size()
    }

    /// The beginning of `range`, verified, at most to the end of a piece; `None` when no owner gives it.
    pub(crate) async fn part_at(&mut self, range: Range<u64>) -> Option<Bytes> {
        let end = range.end.min(self.size());
        if range.start >= end {
            return Some(Bytes::new());
        }
        let index = self.metainfo.layout().piece_at(range.start);
        let whole = self.metainfo.layout().piece_range(index);
        if self.piece.as_ref().is_none_or(|(held, _)| *held != index) {
            // Its memory goes before that of the next is taken.
            self.piece = None;
            self.piece = Some((index, self.fetch(index, &whole).await?));
        }
        let (_, piece) = self.piece.as_ref()?;
        // Both lie within a piece, whose length is a usize.
        let at = |offset: u64| (offset - whole.start) as usize;
        Some(piece.slice(at(range.start)..at(end.min(whole.end))))
    }

    /// A piece from the first owner that gives it right. One that does not is asked last from then on.
    async fn fetch(&mut self, index: PieceIndex, range: &Range<u64>) -> Option<Bytes> {
        for _ in 0..self.owners.len() {
            let asked = self.origin.read_url(&self.owners[0], range.clone());
            match tokio::time::timeout(PIECE_TIMEOUT, asked).await {
                Ok(Ok(bytes)) if self.metainfo.verify(index, &bytes) => return Some(bytes),
                Ok(Ok(_)) => tracing::warn!(owner = self.owners[0], "an owner sent a wrong piece"),
                Ok(Err(error)) => tracing::debug!(owner = self.owners[0], %error, "an owner gives no piece"),
                Err(_elapsed) => tracing::debug!(owner = self.owners[0], "an owner is too slow"),
            }
            self.owners.rotate_left(1);
        }
        None
    }
}
