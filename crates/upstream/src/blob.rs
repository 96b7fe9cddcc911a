//! A blob of an upstream, as a stream that survives a broken connection: what is missing is asked for again, by range.

use std::time::Duration;

use bytes::{Buf, Bytes};
use http::header::{CONTENT_LENGTH, CONTENT_RANGE};
use http::{HeaderMap, Method, StatusCode};
use shoal_http::{Body, Response};
use shoal_oci::{Digest, Repository};
use tokio::time::Instant;

use crate::credential::Credential;
use crate::error::{UpstreamError, UpstreamErrorKind};
use crate::pause::Kind;
use crate::upstream::{Ask, Upstream};

/// Resumptions of one blob in all. A network that breaks more often than every few hundred megabytes is no way to fetch large blobs.
const RESUMES_MAX: u32 = 32;
/// Those in a row that bring nothing.
const FRUITLESS_MAX: u32 = 4;
/// The first wait before a resumption; doubled while nothing comes.
const RESUME_WAIT: Duration = Duration::from_millis(200);

/// A body slower than this over [`PACE_SPAN`] is broken off and asked for again: another connection may be faster, and a trickle would hold
/// a fleet's pull for ever.
const PACE_MIN: u64 = 8 * 1024;
const PACE_SPAN: Duration = Duration::from_secs(60);

/// The bytes of a blob, in order. Nothing is verified: whoever keeps them compares their digest.
#[derive(Debug)]
pub struct BlobStream {
    upstream: Upstream,
    repository: Repository,
    digest: Digest,
    passed: Option<Credential>,
    size: Option<u64>,
    at: u64,
    /// Bytes of the present body that were had before.
    skip: u64,
    body: Option<Body>,
    resumes: u32,
    fruitless: u32,
    pace: (Instant, u64),
}

impl Upstream {
    fn ask_blob<'a>(
        method: Method,
        repository: &'a Repository,
        digest: &Digest,
        from: u64,
        passed: Option<&'a Credential>,
    ) -> Ask<'a> {
        Ask {
            kind: Kind::Blob,
            method,
            repository,
            path: format!("blobs/{digest}"),
            accept: None,
            range_from: (from > 0).then_some(from),
            passed,
        }
    }

    /// The size in bytes of a blob, if the upstream has it for us and says so.
    ///
    /// # Errors
    /// [`UpstreamError`].
    pub async fn head_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        passed: Option<&Credential>,
    ) -> Result<Option<u64>, UpstreamError> {
        let response = self.ask(&Self::ask_blob(Method::HEAD, repository, digest, 0, passed)).await?;
        Ok(len(response.headers()))
    }

    /// Begins to fetch a blob.
    ///
    /// # Errors
    /// [`UpstreamError`].
    pub async fn blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        passed: Option<&Credential>,
    ) -> Result<BlobStream, UpstreamError> {
        let response = self.ask(&Self::ask_blob(Method::GET, repository, digest, 0, passed)).await?;
        if response.status() != StatusCode::OK {
            return Err(UpstreamError::invalid(
                self.registry(),
                "it sent a part of a blob that was asked for whole",
            ));
        }
        Ok(BlobStream {
            upstream: self.clone(),
            repository: repository.clone(),
            digest: *digest,
            passed: passed.cloned(),
            size: len(response.headers()),
            at: 0,
            skip: 0,
            body: Some(response.into_body()),
            resumes: 0,
            fruitless: 0,
            pace: (Instant::now(), 0),
        })
    }
}

impl BlobStream {
    /// The size of the whole blob in bytes, when the upstream says it.
    pub const fn size(&self) -> Option<u64> {
        self.size
    }

    /// The next bytes; `None` at the end. Waits, resumes and gives up within bounds.
    ///
    /// # Errors
    /// [`UpstreamError`] when the rest cannot be had.
    pub async fn next(&mut self) -> Result<Option<Bytes>, UpstreamError> {
        loop {
            if self.body.is_none() {
                self.resume().await?;
            }
            match self.frame().await? {
                Some(bytes) if bytes.is_empty() => {}
                Some(bytes) => return Ok(Some(bytes)),
                None if self.is_whole() => return Ok(None),
                // Broken; the next turn resumes.
                None => self.body = None,
            }
        }
    }

    /// Whether the end of a body is the end of the blob. Without a size the server's word counts; the digest tells.
    fn is_whole(&self) -> bool {
        self.body.is_some() && self.size.is_none_or(|size| self.at == size)
    }

    /// Bytes that are new; `None` when the body ended or broke (then there is none any more).
    async fn frame(&mut self) -> Result<Option<Bytes>, UpstreamError> {
        let Some(body) = &mut self.body else { return Ok(None) };
        let stall = self.upstream.timeouts().stall;
        let why = match tokio::time::timeout(stall, body.frame_data()).await {
            Ok(None) => return Ok(None),
            Ok(Some(Ok(bytes))) => return self.take(bytes).map(Some),
            Ok(Some(Err(error))) => error.to_string(),
            Err(_elapsed) => format!("nothing came for {stall:?}"),
        };
        tracing::debug!(registry = self.upstream.registry(), digest = %self.digest, at = self.at, why, "a body broke");
        self.body = None;
        Ok(None)
    }

    fn take(&mut self, mut bytes: Bytes) -> Result<Bytes, UpstreamError> {
        let skipped = self.skip.min(bytes.len() as u64);
        bytes.advance(usize::try_from(skipped).unwrap_or(bytes.len()));
        self.skip -= skipped;
        let len = bytes.len() as u64;
        self.at += len;
        if self.size.is_some_and(|size| self.at > size) {
            return Err(UpstreamError::invalid(self.upstream.registry(), "a blob longer than it said"));
        }
        if len > 0 {
            self.fruitless = 0;
            self.upstream.0.metrics.received_bytes(&self.upstream.0.label).inc_by(len);
        }
        let (since, from) = self.pace;
        if since.elapsed() >= PACE_SPAN {
            if self.at - from < PACE_MIN * PACE_SPAN.as_secs() && self.size != Some(self.at) {
                tracing::debug!(registry = self.upstream.registry(), digest = %self.digest, "a body is too slow");
                self.body = None;
            }
            self.pace = (Instant::now(), self.at);
        }
        Ok(bytes)
    }

    /// Asks for what is missing.
    async fn resume(&mut self) -> Result<(), UpstreamError> {
        let registry = self.upstream.registry().to_owned();
        loop {
            if self.resumes >= RESUMES_MAX || self.fruitless >= FRUITLESS_MAX {
                return Err(UpstreamError::unavailable(
                    &registry,
                    format!("a blob breaks off again and again, at byte {}", self.at),
                ));
            }
            tokio::time::sleep(RESUME_WAIT * (1 << self.fruitless)).await;
            (self.resumes, self.fruitless) = (self.resumes + 1, self.fruitless + 1);
            let ask = Upstream::ask_blob(
                Method::GET,
                &self.repository,
                &self.digest,
                self.at,
                self.passed.as_ref(),
            );
            match self.upstream.ask(&ask).await {
                Ok(response) => return self.go_on(response),
                Err(error) if error.kind() == UpstreamErrorKind::Unavailable => {
                    tracing::debug!(registry, digest = %self.digest, at = self.at, %error, "a blob cannot be resumed yet");
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn go_on(&mut self, response: Response) -> Result<(), UpstreamError> {
        let invalid = |why: &str| Err(UpstreamError::invalid(self.upstream.registry(), why));
        let (size, skip) = if response.status() == StatusCode::PARTIAL_CONTENT {
            match content_range(response.headers()) {
                Some((from, size)) if from == self.at => (size, 0),
                _ => return invalid("it sent other bytes of a blob than were asked for"),
            }
        } else {
            // A server without ranges sends everything once more.
            (len(response.headers()), self.at)
        };
        if self.size.is_some() && size.is_some() && size != self.size {
            return invalid("a blob that changes its size");
        }
        self.size = self.size.or(size);
        self.skip = skip;
        self.body = Some(response.into_body());
        self.pace = (Instant::now(), self.at);
        Ok(())
    }
}

fn len(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// First byte and size of `bytes 5-9/10`.
fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    let (range, size) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (from, _) = range.split_once('-')?;
    Some((from.trim().parse().ok()?, size.trim().parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_read() {
        let of =
            |value: &str| content_range(&[(CONTENT_RANGE, value.parse().unwrap())].into_iter().collect());
        assert_eq!(of("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(of("bytes 5-9/*"), Some((5, None)));
        for bad in ["", "bytes */10", "items 5-9/10", "bytes 5/10"] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
