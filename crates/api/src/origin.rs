//! What is asked of an origin on port 15002: `GET` and `HEAD /blobs/{digest}` with `Range`, `GET /blobs/{digest}/metainfo`, and
//! `GET /blobs/{digest}/arriving` (see [`crate::arriving`]); all with `?repository={name}`, for which the blob is wanted. Where the registry asks who somebody is, there is no answer without it.
//!
//! The URL of a blob is also what a tracker hands out as a web seed: a source of bytes for peers that find no other in time.
//! Bytes that come from here are checked by the reader against the metainfo, as those of any other peer.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use shoal_http::{Body, Client};
use shoal_oci::{Digest, Repository};
use shoal_swarm_types::{Metainfo, PieceLength};

use crate::arriving::Following;
use crate::error::ApiError;
use crate::exchange::{self, Base};

/// How long an origin may take to begin an answer, and to send a metainfo or one range. A range is at most
/// [`RANGE_LEN_MAX`] long, so 30 s still allow for 1.1 Mbit/s.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Longest range that one call reads, in bytes: the longest piece.
pub const RANGE_LEN_MAX: u64 = PieceLength::MAX.get() as u64;

/// Longest metainfo in bytes: that of a blob of 2 TiB.
const METAINFO_LEN_MAX: usize = 17 * 1024 * 1024;

/// Media type of [`Metainfo::encode`].
pub const METAINFO_TYPE: &str = "application/octet-stream";

/// The part of a query that names the repository.
pub const REPOSITORY: &str = "repository";

/// The header by which somebody wants a small blob at once, or to be sent away at once: it has other ways to get it.
pub const AT_ONCE: HeaderName = HeaderName::from_static("shoal-at-once");

/// Path of a blob.
pub fn blob_path(digest: &Digest) -> String {
    format!("/blobs/{digest}")
}

/// Path of a blob's metainfo.
pub fn metainfo_path(digest: &Digest) -> String {
    format!("/blobs/{digest}/metainfo")
}

/// URL of a blob as a web seed, at the origin `authority` (`host:port`), which speaks `scheme`, for a peer that wants it for
/// `repository`.
pub fn web_seed_url(
    scheme: &str,
    authority: &str,
    digest: &Digest,
    repository: Option<&Repository>,
) -> String {
    format!("{scheme}://{authority}{}{}", blob_path(digest), repository_query(repository))
}

/// What stands behind a path to say for which repository a blob is wanted. Names of repositories need no escapes (RFC 3986, 3.4).
fn repository_query(repository: Option<&Repository>) -> String {
    repository.map_or_else(String::new, |repository| format!("?{REPOSITORY}={repository}"))
}

/// Asks origins. Cheap to clone.
#[derive(Clone)]
pub struct OriginClient {
    http: Client,
    repository: Option<Repository>,
}

impl OriginClient {
    /// A client over a connection pool.
    pub const fn new(http: Client) -> Self {
        Self { http, repository: None }
    }

    /// The same client, asking for blobs of `repository`.
    #[must_use]
    pub fn within(mut self, repository: Repository) -> Self {
        self.repository = Some(repository);
        self
    }

    fn url(&self, origin: &Base, path: &str) -> String {
        format!("{}{}", origin.url(path), repository_query(self.repository.as_ref()))
    }

    /// Size of a blob in bytes; `None` when the origin does not have it.
    ///
    /// # Errors
    /// [`ApiError`] when the origin does not answer, or not in our words.
    pub async fn stat(&self, origin: &Base, digest: &Digest) -> Result<Option<u64>, ApiError> {
        let what = format!("ask origin {origin} for {digest}");
        let url = self.url(origin, &blob_path(digest));
        let request = exchange::request(Method::HEAD, &url, Body::empty())?;
        let response = exchange::send(&self.http, request, &what, TIMEOUT).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let response = exchange::accept(response, &url, &what, StatusCode::OK).await?;
        let size = number(response.headers(), &header::CONTENT_LENGTH);
        size.map(Some).ok_or_else(|| exchange::not_understood(&what, &"no Content-Length"))
    }

    /// The metainfo of a blob; `None` when the origin does not have it.
    ///
    /// # Errors
    /// [`ApiError`] when the origin does not answer, or not in our words.
    pub async fn metainfo(&self, origin: &Base, digest: &Digest) -> Result<Option<Metainfo>, ApiError> {
        let what = format!("ask origin {origin} for the metainfo of {digest}");
        let url = self.url(origin, &metainfo_path(digest));
        let request = exchange::request(Method::GET, &url, Body::empty())?;
        let response = exchange::send(&self.http, request, &what, TIMEOUT).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let response = exchange::accept(response, &url, &what, StatusCode::OK).await?;
        let bytes = exchange::read(response, &url, &what, METAINFO_LEN_MAX, TIMEOUT).await?;
        let metainfo = Metainfo::decode(&bytes).map_err(|error| exchange::not_understood(&what, &error))?;
        if metainfo.digest() != digest {
            return Err(exchange::not_understood(&what, &"it is the metainfo of another blob"));
        }
        Ok(Some(metainfo))
    }

    /// The bytes of a blob from `range.start` to before `range.end`, at most [`RANGE_LEN_MAX`] of them.
    ///
    /// # Errors
    /// [`ApiError`] when the origin does not answer, or with other bytes than those.
    pub async fn read(&self, origin: &Base, digest: &Digest, range: Range<u64>) -> Result<Bytes, ApiError> {
        self.read_url(&self.url(origin, &blob_path(digest)), range).await
    }

    /// The same for the URL of a web seed.
    ///
    /// # Errors
    /// See [`Self::read`].
    pub async fn read_url(&self, url: &str, range: Range<u64>) -> Result<Bytes, ApiError> {
        let what = format!("read bytes {}-{} of {url}", range.start, range.end);
        let len = range.end.saturating_sub(range.start);
        if len == 0 || len > RANGE_LEN_MAX {
            return Err(exchange::not_understood(&what, &"the range is empty or too long"));
        }
        let mut request = exchange::request(Method::GET, url, Body::empty())?;
        let value = format!("bytes={}-{}", range.start, range.end - 1);
        let value = HeaderValue::try_from(value).map_err(|error| exchange::not_understood(&what, &error))?;
        request.headers_mut().insert(header::RANGE, value);
        let response = exchange::send(&self.http, request, &what, TIMEOUT).await?;
        let response = exchange::accept(response, url, &what, StatusCode::PARTIAL_CONTENT).await?;
        if !states_range(response.headers(), &range) {
            return Err(exchange::not_understood(&what, &"Content-Range states other bytes"));
        }
        let limit = usize::try_from(len).unwrap_or(usize::MAX);
        let bytes = exchange::read(response, url, &what, limit, TIMEOUT).await?;
        if bytes.len() as u64 != len {
            return Err(exchange::not_understood(&what, &"the body has another length"));
        }
        Ok(bytes)
    }

    /// What the origin behind the URL of a web seed tells of a blob that is arriving there; `None` when it knows of none.
    ///
    /// # Errors
    /// [`ApiError`] when the origin does not answer, or refuses.
    pub async fn follow(&self, url: &str) -> Result<Option<Following>, ApiError> {
        Following::begin(&self.http, url).await
    }

    /// The whole blob at the URL of a web seed, of which somebody said that it has `size` bytes, at most [`RANGE_LEN_MAX`]. An origin
    /// that is busy refuses at once. `came` is told the length of each part of it as it comes.
    ///
    /// # Errors
    /// [`ApiError`] when the origin does not answer, refuses, or has a blob of another size.
    pub async fn read_whole(
        &self,
        url: &str,
        size: u64,
        came: impl FnMut(usize) + Send,
    ) -> Result<Bytes, ApiError> {
        let what = format!("read {url}");
        if size > RANGE_LEN_MAX {
            return Err(exchange::not_understood(&what, &"it is too long to be read at once"));
        }
        let mut request = exchange::request(Method::GET, url, Body::empty())?;
        request.headers_mut().insert(AT_ONCE, HeaderValue::from_static("1"));
        let response = exchange::send(&self.http, request, &what, TIMEOUT).await?;
        let response = exchange::accept(response, url, &what, StatusCode::OK).await?;
        if number(response.headers(), &header::CONTENT_LENGTH) != Some(size) {
            return Err(exchange::not_understood(&what, &"the blob has another size"));
        }
        let limit = usize::try_from(size).unwrap_or(usize::MAX);
        exchange::read_telling(response, url, &what, limit, TIMEOUT, came).await
    }
}

/// Whether `Content-Range: bytes first-last/size` states exactly `range` (RFC 9110, section 14.4).
fn states_range(headers: &HeaderMap, range: &Range<u64>) -> bool {
    let text = headers.get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
    let stated = text.and_then(|text| text.strip_prefix("bytes ")?.split_once('/'));
    stated.is_some_and(|(stated, _)| stated == format!("{}-{}", range.start, range.end - 1))
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}
