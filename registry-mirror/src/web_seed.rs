//! The swarm's web seed: a piece as a range of an origin's HTTP answer.

use std::io;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use shoal_api::arriving::Told;
use shoal_api::origin::OriginClient;
use shoal_oci::Digest;
use shoal_swarm::{Ending, Growth, Progress, RangeSource};
use tokio::sync::mpsc;

/// Reads ranges from origins.
pub struct OriginRanges(OriginClient);

impl OriginRanges {
    /// Ranges over an origin client.
    pub const fn new(client: OriginClient) -> Self {
        Self(client)
    }
}

#[async_trait]
impl RangeSource for OriginRanges {
    async fn fetch(&self, url: &str, _digest: &Digest, range: Range<u64>) -> io::Result<Bytes> {
        self.0.read_url(url, range).await.map_err(io::Error::other)
    }

    async fn fetch_whole(
        &self,
        url: &str,
        _digest: &Digest,
        size: u64,
        progress: &Progress,
    ) -> io::Result<Bytes> {
        self.0.read_whole(url, size, |bytes| progress.note(bytes)).await.map_err(io::Error::other)
    }
    async fn follow(&self, url: &str, _digest: &Digest, heard: mpsc::Sender<Growth>) -> io::Result<Ending> {
        let following = self.0.follow(url).await.map_err(io::Error::other)?;
        let Some(mut following) = following else { return Ok(Ending::Gone) };
        loop {
            let growth = match following.next().await.map_err(io::Error::other)? {
                Told::Size(size) => Growth::Size(size),
                Told::Digests(digests) => Growth::Digests(digests),
                Told::Alive => Growth::Alive,
                Told::Waiting => continue,
                Told::Whole => return Ok(Ending::Whole),
                Told::Refuted => return Ok(Ending::Refuted),
                Told::Gone => return Ok(Ending::Gone),
            };
            if heard.send(growth).await.is_err() {
                return Err(io::Error::other("nobody listens any more"));
            }
        }
    }
}
