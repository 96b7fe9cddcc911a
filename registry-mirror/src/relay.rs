//! A blob straight from the cluster's registry to the client, in order: the last way, for when nobody can say who has its pieces.
//!
//! Without a tracker there are no piece digests to compare with. So the registry is believed, which verifies what it sends, until the
//! last bytes: they are held back until all bytes together have the blob's digest, and are never given when they have not. A client
//! then has a broken body and no blob. Reading from the middle means reading everything before it, since that is hashed too; the
//! price of a way that is taken while the cluster is in trouble.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{Method, StatusCode};
use shoal_http::{Body, Client};
use shoal_oci::{Digest, Digester, Repository, Route};

/// For the head of the registry's answer, which it has at once or not at all.
const HEAD_TIMEOUT: Duration = Duration::from_secs(3);

/// For the answer to the question whether it is there.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// The longest silence within the body.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// The cluster's registry. Clones share the client.
#[derive(Clone)]
pub(crate) struct Registry {
    /// `http://host:port`, without a slash at the end.
    server: String,
    client: Client,
}

impl Registry {
    pub(crate) const fn new(server: String, client: Client) -> Self {
        Self { server, client }
    }

    /// Whether the registry answers at all.
    pub(crate) async fn answers(&self) -> bool {
        let url = format!("{}/v2/", self.server);
        let Ok(request) = http::Request::builder().uri(url).body(Body::empty()) else { return false };
        let answer = self.client.send(request, PING_TIMEOUT).await;
        answer.is_ok_and(|answer| !answer.status().is_server_error())
    }

    /// Begins to read a blob; `None` when the registry does not give it.
    pub(crate) async fn open(&self, digest: &Digest, repository: &Repository) -> Option<Relay> {
        let route = Route::Blob { repository: repository.clone(), digest: *digest };
        let url = format!("{}{}", self.server, route.to_path());
        let request = http::Request::builder().method(Method::GET).uri(&url).body(Body::empty()).ok()?;
        let answer = match self.client.send(request, HEAD_TIMEOUT).await {
            Ok(answer) if answer.status() == StatusCode::OK => answer,
            Ok(answer) => {
                tracing::debug!(url, status = %answer.status(), "the registry gives no blob");
                return None;
            }
            Err(error) => {
                tracing::debug!(url, %error, "the registry gives no blob");
                return None;
            }
        };
        let size = answer.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()?;
        let (digester, body) = (Digester::new(digest.algorithm()), answer.into_body());
        let unread = Relay {
            digest: *digest,
            size,
            body,
            digester: Some(digester),
            came: 0,
            at: 0,
            ready: Bytes::new(),
            last: Bytes::new(),
        };
        Some(unread)
    }
}

/// A blob that is being read from the registry.
pub(crate) struct Relay {
    digest: Digest,
    size: u64,
    body: Body,
    /// Until the end of the body.
    digester: Option<Digester>,
    /// Bytes that have come.
    came: u64,
    /// Where `ready` begins.
    at: u64,
    /// What may be given.
    ready: Bytes,
    /// What came last and is held back until something comes behind it, or all is known to be right.
    last: Bytes,
}

impl Relay {
    /// Size of the whole blob in bytes, as the registry states it.
    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    /// The beginning of `range`, which must not lie before what was given; `None` when the registry does not give it.
    pub(crate) async fn part_at(&mut self, range: Range<u64>) -> Option<Bytes> {
        let range = range.start..range.end.min(self.size);
        if range.is_empty() {
            return Some(Bytes::new());
        }
        loop {
            let len = self.ready.len() as u64;
            if range.start < self.at {
                return None;
            }
            if range.start < self.at + len {
                // Both lie within the bytes, whose length is a usize.
                let start = (range.start - self.at) as usize;
                let end = (range.end.min(self.at + len) - self.at) as usize;
                let part = self.ready.slice(start..end);
                self.ready = self.ready.split_off(end);
                self.at += end as u64;
                return Some(part);
            }
            self.at += len;
            self.ready = Bytes::new();
            self.read().await?;
        }
    }

    /// Reads on: what came before may be given then.
    async fn read(&mut self) -> Option<()> {
        let mut digester = self.digester.take()?;
        let next = tokio::time::timeout(SILENCE_MAX, self.body.frame_data()).await.ok()?;
        match next.transpose().ok()? {
            Some(bytes) => {
                digester.update(&bytes);
                self.came += bytes.len() as u64;
                if self.came > self.size {
                    return None;
                }
                if !bytes.is_empty() {
                    self.ready = std::mem::replace(&mut self.last, bytes);
                }
                self.digester = Some(digester);
            }
            None if self.came == self.size && digester.finish() == self.digest => {
                self.ready = std::mem::take(&mut self.last);
            }
            None => {
                tracing::warn!(digest = %self.digest, "the registry sent a blob that is not what its digest says");
                return None;
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relay(parts: &'static [&'static [u8]], size: u64, digest: Digest) -> Relay {
        let (sender, body) = Body::channel(8);
        tokio::spawn(async move {
            for part in parts {
                sender.send(Bytes::from_static(part)).await.unwrap();
            }
            sender.finish().await.unwrap();
        });
        let digester = Some(Digester::new(digest.algorithm()));
        Relay { digest, size, body, digester, came: 0, at: 0, ready: Bytes::new(), last: Bytes::new() }
    }

    async fn read(relay: &mut Relay, mut range: Range<u64>) -> (Vec<u8>, bool) {
        let mut got = Vec::new();
        while !range.is_empty() {
            let Some(part) = relay.part_at(range.clone()).await else { return (got, false) };
            range.start += part.len() as u64;
            got.extend_from_slice(&part);
        }
        (got, true)
    }

    #[tokio::test]
    async fn everything_and_any_part_of_a_right_blob_is_given() {
        let digest = Digest::sha256(b"abcdefghij");
        for range in [0..10, 0..1, 3..7, 4..10, 9..10, 2..99] {
            let mut relay = relay(&[b"abcd", b"", b"efg", b"hij"], 10, digest);
            let end = range.end.min(10) as usize;
            let wanted = &b"abcdefghij"[range.start as usize..end];
            assert_eq!(read(&mut relay, range.start..end as u64).await, (wanted.to_vec(), true), "{range:?}");
        }
    }

    #[tokio::test]
    async fn a_wrong_blob_is_never_given_to_its_end() {
        let digest = Digest::sha256(b"abcdefghij");
        let cases: [(&'static [&'static [u8]], u64); 4] = [
            (&[b"abcdefghiX", b""], 10),
            (&[b"abcd", b"efgX", b"ij"], 10),
            (&[b"abcd", b"ef", b""], 10),
            (&[b"abcdefghij", b"k", b""], 10),
        ];
        for (parts, size) in cases {
            let (got, whole) = read(&mut relay(parts, size, digest), 0..10).await;
            assert!(!whole && got.len() < 10, "{got:?}");
        }
    }
}
