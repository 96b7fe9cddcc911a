//! The bytes of a blob that is coming in, for a client of the registry: as they come, no sooner and no later than agents have them. The last
//! piece, too, comes when the whole blob was right; a client of another blob than it asked for has a broken body and never the end.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use shoal_http::{Body, BodySender};
use shoal_oci::Digest;
use tokio::sync::OwnedSemaphorePermit;

use crate::body;
use crate::error::OriginError;
use crate::intake::arrival::Arrival;
use crate::origin::Origin;

/// Pieces that wait for a client beside the one that is being read.
const PIECES_AHEAD: usize = 1;

/// How long it takes from the word that a blob comes until there is a place for it.
const BEGINS_WITHIN: Duration = Duration::from_secs(1);

/// Between two looks for that.
const LOOK: Duration = Duration::from_millis(10);

impl Origin {
    /// The bytes of `range` of a blob of which somebody said that it comes; the body goes on as they come, and is cut when they do not.
    /// Returns with the first of them. `None` when nothing is to be had before the whole: it is small, its size is not known, it ended, or too
    /// many read in this way.
    pub async fn coming(&self, digest: &Digest, range: Range<u64>) -> Option<Body> {
        let place = self.intake.stream()?;
        let begins = async {
            loop {
                if let Some(arrival) = self.intake.arrival(digest) {
                    return arrival;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        let arrival = tokio::time::timeout(BEGINS_WITHIN, begins).await.ok()?;
        if range.is_empty() || range.end > arrival.size() {
            return None;
        }
        let mut reader = Reader { origin: self.clone(), arrival, rest: range };
        let first = reader.next().await.ok()?;
        let (sender, body) = Body::channel(PIECES_AHEAD);
        tokio::spawn(send(reader, first, sender, place));
        Some(body)
    }
}

/// A part of an arriving blob that is read in order.
struct Reader {
    origin: Origin,
    arrival: Arc<Arrival>,
    /// What is still to be read.
    rest: Range<u64>,
}

impl Reader {
    /// The next bytes, at most to the end of a piece; waits for them.
    async fn next(&mut self) -> Result<Bytes, OriginError> {
        let digest = *self.arrival.digest();
        let layout = *self.arrival.metainfo().layout();
        let index = layout.piece_at(self.rest.start);
        if !self.arrival.comes(index.0).await {
            return Err(OriginError::Arriving(digest));
        }
        let partial = self.arrival.partial().clone();
        let read = tokio::task::spawn_blocking(move || partial.read_piece(index)).await?;
        let piece = match read {
            Ok(piece) => piece,
            // What was coming in is a blob meanwhile.
            Err(_) => {
                self.origin.intake.landed(&digest).await;
                let blob = self.origin.blob(&digest).await?.ok_or(OriginError::Arriving(digest))?;
                tokio::task::spawn_blocking(move || blob.read_piece(index)).await??
            }
        };
        let covered = layout.piece_range(index);
        let end = self.rest.end.min(covered.end);
        let slice = body::slice(&piece, self.rest.start - covered.start, end - covered.start);
        self.rest.start = end;
        slice.ok_or(OriginError::Damaged(digest))
    }
}

/// Sends until the end, or until the reader is gone. `place` is given back then.
async fn send(mut reader: Reader, first: Bytes, sender: BodySender, place: OwnedSemaphorePermit) {
    let mut bytes = first;
    loop {
        if sender.send(bytes).await.is_err() {
            break;
        }
        if reader.rest.is_empty() {
            // A reader that is gone has all it wants.
            let _ = sender.finish().await;
            break;
        }
        let next = tokio::select! {
            next = reader.next() => next,
            () = sender.closed() => break,
        };
        bytes = match next {
            Ok(bytes) => bytes,
            Err(error) => {
                // The status has left already: a cut connection is the only word for failure.
                tracing::warn!(digest = %reader.arrival.digest(), %error, "a blob that was passed on while it came is cut");
                sender.abort();
                break;
            }
        };
    }
    drop(place);
}
