//! What an origin tells of a blob that is arriving there: `GET /blobs/{digest}/arriving`, an answer that goes on until the blob has come.
//!
//! A row of records: a tag (u8) and what belongs to it, integers big-endian. First the size; then the digests of the pieces, from the first
//! one on, as they come to be known; in between, at least every [`HEARTBEAT`], a word that there is somebody. The digest of the last piece
//! comes when the blob's own digest was right, and then the answer ends with its verdict. An answer that breaks off says nothing: ask again,
//! it begins from the first piece. A blob that is complete is told of in one go.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{Method, StatusCode};
use shoal_http::{Body, Client};
use shoal_oci::Digest;
use shoal_swarm_types::PieceDigest;
use tokio::time::timeout;

use crate::error::ApiError;
use crate::exchange;
use crate::origin::blob_path;

/// An origin says something at least as often as this.
pub const HEARTBEAT: Duration = Duration::from_secs(2);

/// An origin that says nothing for this long is gone: four heartbeats, and some for a busy machine.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Digests in one record at most: 32 KiB.
pub const DIGESTS_MAX: usize = 1024;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// How many bytes the blob has.
    Size(u64),
    /// The digests of the next pieces; at most [`DIGESTS_MAX`].
    Digests(Vec<PieceDigest>),
    /// Bytes have come since the last record.
    Alive,
    /// None have come.
    Waiting,
    /// Everything was told, and the blob is right. The last record.
    Whole,
    /// The blob is another one than its digest says. The last record.
    Refuted,
    /// The rest of it does not come. The last record.
    Gone,
}

/// Path of what is told of an arriving blob.
pub fn arriving_path(digest: &Digest) -> String {
    format!("{}/arriving", blob_path(digest))
}

/// The same for the URL of a web seed.
pub fn arriving_url(web_seed: &str) -> String {
    match web_seed.split_once('?') {
        Some((path, query)) => format!("{path}/arriving?{query}"),
        None => format!("{web_seed}/arriving"),
    }
}

impl Told {
    /// As it is sent.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        match self {
            Self::Size(size) => {
                out.put_u8(0);
                out.put_u64(*size);
            }
            Self::Digests(digests) => {
                out.put_u8(1);
                // At most DIGESTS_MAX.
                out.put_u32(u32::try_from(digests.len()).unwrap_or(u32::MAX));
                digests.iter().for_each(|digest| out.put_slice(&digest.0));
            }
            Self::Alive => out.put_u8(2),
            Self::Waiting => out.put_u8(3),
            Self::Whole => out.put_u8(4),
            Self::Refuted => out.put_u8(5),
            Self::Gone => out.put_u8(6),
        }
        out.freeze()
    }

    /// Takes the first record out of `bytes`; `None` while it is not whole.
    fn take(bytes: &mut BytesMut) -> Result<Option<Self>, &'static str> {
        let Some(tag) = bytes.first().copied() else { return Ok(None) };
        let (head, count) = match (tag, bytes.get(1..5)) {
            (0, _) => (9, 0),
            (1, None) => return Ok(None),
            (1, Some(count)) => (5, count.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte))),
            (2..=6, _) => (1, 0),
            _ => return Err("a record of an unknown kind"),
        };
        if count > DIGESTS_MAX {
            return Err("too many digests in a record");
        }
        if bytes.len() < head + count * 32 {
            return Ok(None);
        }
        let mut record = bytes.split_to(head + count * 32);
        record.advance(1);
        Ok(Some(match tag {
            0 => Self::Size(record.get_u64()),
            1 => {
                record.advance(4);
                let digest = |chunk: &[u8]| {
                    let mut digest = [0; 32];
                    digest.copy_from_slice(chunk);
                    PieceDigest(digest)
                };
                Self::Digests(record.chunks_exact(32).map(digest).collect())
            }
            2 => Self::Alive,
            3 => Self::Waiting,
            4 => Self::Whole,
            5 => Self::Refuted,
            _ => Self::Gone,
        }))
    }
}

/// An answer that is being read.
pub struct Following {
    body: Body,
    bytes: BytesMut,
    what: String,
}

impl Following {
    /// Asks the origin behind the URL of a web seed; `None` when it knows of no such blob.
    pub(crate) async fn begin(http: &Client, web_seed: &str) -> Result<Option<Self>, ApiError> {
        let url = arriving_url(web_seed);
        let what = format!("follow {url}");
        let request = exchange::request(Method::GET, &url, Body::empty())?;
        let response = exchange::send(http, request, &what, SILENCE_MAX).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let response = exchange::accept(response, &url, &what, StatusCode::OK).await?;
        Ok(Some(Self { body: response.into_body(), bytes: BytesMut::new(), what }))
    }

    /// The next record.
    ///
    /// # Errors
    /// [`ApiError`] when the origin says nothing for too long, breaks off, or says what we do not understand.
    pub async fn next(&mut self) -> Result<Told, ApiError> {
        loop {
            match Told::take(&mut self.bytes) {
                Ok(Some(told)) => return Ok(told),
                Ok(None) => {}
                Err(why) => return Err(exchange::not_understood(&self.what, &why)),
            }
            let frame = timeout(SILENCE_MAX, self.body.frame_data()).await;
            let frame = frame.map_err(|_| exchange::not_understood(&self.what, &"the origin fell silent"))?;
            let frame =
                frame.ok_or_else(|| exchange::not_understood(&self.what, &"it ended without a verdict"))?;
            let frame = frame.map_err(|error| exchange::not_understood(&self.what, &error))?;
            self.bytes.extend_from_slice(&frame);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_back_however_they_are_cut_and_others_are_refused() {
        let digests = |count: u8| (0..count).map(|number| PieceDigest([number; 32])).collect::<Vec<_>>();
        let told = [
            Told::Size(u64::MAX),
            Told::Waiting,
            Told::Digests(digests(3)),
            Told::Alive,
            Told::Digests(digests(0)),
            Told::Whole,
            Told::Refuted,
            Told::Gone,
        ];
        let sent: Vec<u8> = told.iter().flat_map(Told::encode).collect();
        for portion in [1, 7, 1000] {
            let (mut bytes, mut read) = (BytesMut::new(), Vec::new());
            for part in sent.chunks(portion) {
                bytes.extend_from_slice(part);
                while let Some(next) = Told::take(&mut bytes).unwrap() {
                    read.push(next);
                }
            }
            assert_eq!(read, told);
        }
        assert!(Told::take(&mut BytesMut::from(&[7][..])).is_err());
        assert!(Told::take(&mut BytesMut::from(&[1, 0, 0, 4, 1][..])).is_err());
    }

    #[test]
    fn a_web_seeds_url_leads_to_what_is_told_of_it() {
        assert_eq!(
            arriving_url("http://o:1/blobs/d?repository=a/b"),
            "http://o:1/blobs/d/arriving?repository=a/b"
        );
        assert_eq!(arriving_url("http://o:1/blobs/d"), "http://o:1/blobs/d/arriving");
    }
}
