//! A range of a blob as an HTTP body: piece by piece from the disk, each checked before its first byte leaves.

use std::ops::Range;

use bytes::Bytes;
use shoal_http::{Body, BodySender};
use shoal_store::{Blob, Partial};
use shoal_swarm_types::{Metainfo, PieceIndex};
use tokio::sync::OwnedSemaphorePermit;

use crate::error::OriginError;

/// Pieces that wait between disk and network: one, so that the disk reads the next while the last is sent.
const PIECES_AHEAD: usize = 1;

/// Where pieces are read from, each of them verified.
#[derive(Clone)]
pub enum Pieces {
    /// A blob.
    Blob(Blob),
    /// What has come of one.
    Partial(Partial),
}

impl Pieces {
    fn metainfo(&self) -> &Metainfo {
        match self {
            Self::Blob(blob) => blob.metainfo(),
            Self::Partial(partial) => partial.metainfo(),
        }
    }

    fn read(&self, index: PieceIndex) -> shoal_store::Result<Bytes> {
        match self {
            Self::Blob(blob) => blob.read_piece(index),
            Self::Partial(partial) => partial.read_piece(index),
        }
    }
}

/// The body of `range`, whose pieces are there. `turn` is given back when the body has ended.
pub fn stream(blob: Pieces, range: Range<u64>, turn: OwnedSemaphorePermit) -> Body {
    let (sender, body) = Body::channel(PIECES_AHEAD);
    tokio::spawn(async move {
        if let Err(error) = send(&blob, range, &sender).await {
            // The status has left already: a cut connection is the only word for failure.
            tracing::error!(digest = %blob.metainfo().digest(), %error, "a blob could not be read");
            sender.abort();
        } else {
            // A reader that is gone has all it wants.
            let _ = sender.finish().await;
        }
        drop(turn);
    });
    body
}

/// Sends the slices of `range` until the end or until the reader is gone.
async fn send(blob: &Pieces, range: Range<u64>, sender: &BodySender) -> Result<(), OriginError> {
    let layout = *blob.metainfo().layout();
    for index in layout.pieces_of(&range).map(PieceIndex) {
        let piece = read(blob.clone(), index).await?;
        let covered = layout.piece_range(index);
        let start = range.start.max(covered.start) - covered.start;
        let end = range.end.min(covered.end) - covered.start;
        let slice =
            slice(&piece, start, end).ok_or_else(|| OriginError::Damaged(*blob.metainfo().digest()))?;
        if sender.send(slice).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

async fn read(blob: Pieces, index: PieceIndex) -> Result<Bytes, OriginError> {
    Ok(tokio::task::spawn_blocking(move || blob.read(index)).await??)
}

/// A slice of a piece; `None` when the piece is shorter than its layout says.
pub(crate) fn slice(piece: &Bytes, start: u64, end: u64) -> Option<Bytes> {
    let (start, end) = (usize::try_from(start).ok()?, usize::try_from(end).ok()?);
    (start <= end && end <= piece.len()).then(|| piece.slice(start..end))
}
