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

/// Stores `bytes` under `digest` if that is what they have; their size. Returns when they are on the disk.
pub(crate) async fn store(cx: &Context, digest: Digest, bytes: Bytes) -> Result<u64, Refusal> {
    let (done, outcome) = oneshot::channel();
    cx.store.submit(digest, bytes, move |outcome| {
        // Nobody waits when the request was given up at shutdown.
        _ = done.send(outcome);
    });
    match outcome.await {
        Ok(Ok(metainfo)) => Ok(metainfo.size()),
        // More is waiting to be written than the disk takes soon.
        Ok(Err(shoal_store::Error::PackBusy)) => Err(error::crowded()),
        Ok(Err(error)) => Err(error::of_push(&error)),
        Err(closed) => Err(error::internal("the store ended early", &closed)),
    }
}
