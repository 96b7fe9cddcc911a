//! Small blobs that come in one request: gathered in memory, given to the store's pack, and acknowledged when the group that they
//! were written with is on the disk. No thread waits for that.
//!
//! Most blobs of most images are configs and tiny layers, and for them a session, a file and a thread cost far more than the bytes.

use bytes::{Bytes, BytesMut};
use shoal_oci::Digest;
use shoal_store::SMALL_SIZE_MAX;
use tokio::sync::oneshot;

use crate::call::{BodyFailure, Call};
use crate::context::Context;
use crate::error::{self, Refusal};

/// The length of a body that is stated and small enough, else `None`.
pub(crate) fn stated(call: &Call) -> Option<usize> {
    let len = call.body_len.filter(|len| *len <= SMALL_SIZE_MAX)?;
    usize::try_from(len).ok()
}

/// Reads a body of `len` bytes: the failure says why it is not whole, and the bytes are what came of it.
pub(crate) async fn gather(cx: &Context, call: &mut Call, len: usize) -> (Bytes, Option<BodyFailure>) {
    let mut first = Bytes::new();
    let mut gathered = BytesMut::new();
    let failure = loop {
        match call.gather(cx.options.body_stall_max).await {
            Ok(Some(frame)) => {
                cx.metrics.received_bytes.inc_by(frame.len() as u64);
                if first.is_empty() {
                    first = frame;
                } else {
                    if gathered.is_empty() {
                        gathered.reserve(len);
                        gathered.extend_from_slice(&first);
                    }
                    gathered.extend_from_slice(&frame);
                }
            }
            Ok(None) => break None,
            Err(failure) => break Some(failure),
        }
        if first.len().max(gathered.len()) > len {
            break None;
        }
    };
    let bytes = if gathered.is_empty() { first } else { gathered.freeze() };
    let failure = failure.or_else(|| {
        (bytes.len() != len).then_some(BodyFailure::Len { stated: len as u64, got: bytes.len() as u64 })
    });
    (bytes, failure)
}

/// Small content that was given to the store.
pub(crate) struct Submitted {
    outcome: oneshot::Receiver<shoal_store::Result<u64>>,
    told: Option<Result<u64, Refusal>>,
}

/// Gives `bytes` to the store, if they have the digest `digest`.
pub(crate) fn submit(cx: &Context, digest: Digest, bytes: Bytes) -> Submitted {
    let (done, mut outcome) = oneshot::channel();
    cx.store.submit(digest, bytes, move |outcome| {
        // Nobody waits when the request was given up at shutdown.
        _ = done.send(outcome.map(|metainfo| metainfo.size()));
    });
    let told = outcome.try_recv().ok().map(size_or_refusal);
    Submitted { outcome, told }
}

impl Submitted {
    /// Whether the content is what it should be, and is stored or about to be.
    pub(crate) const fn is_accepted(&self) -> bool {
        !matches!(self.told, Some(Err(_)))
    }

    /// The size of the content. Returns when it is on the disk.
    pub(crate) async fn stored(self) -> Result<u64, Refusal> {
        match self.told {
            Some(told) => told,
            None => match self.outcome.await {
                Ok(outcome) => size_or_refusal(outcome),
                Err(closed) => Err(error::internal("the store ended early", &closed)),
            },
        }
    }
}

fn size_or_refusal(outcome: shoal_store::Result<u64>) -> Result<u64, Refusal> {
    match outcome {
        Ok(size) => Ok(size),
        // More is waiting to be written than the disk takes soon.
        Err(shoal_store::Error::PackBusy) => Err(error::crowded()),
        Err(error) => Err(error::of_push(&error)),
    }
}
