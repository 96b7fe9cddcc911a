//! Manifests of an upstream: what a tag means, by HEAD, which quotas do not count; and the document, byte for byte.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, ETAG};
use http::{HeaderMap, Method};
use shoal_oci::media_type::MANIFEST_ACCEPT;
use shoal_oci::{Digest, MANIFEST_SIZE_MAX, Reference, Repository};

use crate::credential::Credential;
use crate::error::UpstreamError;
use crate::pause::Kind;
use crate::upstream::{Ask, Upstream};

/// What a HEAD said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestHead {
    /// What the reference means; `None` when the upstream does not say, and it has to be fetched to know.
    pub digest: Option<Digest>,
}

/// A manifest as the upstream sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamManifest {
    /// Its address: the one asked for, else the one stated; the bytes hash to it.
    pub digest: Digest,
    /// The content type that came with it, when it came with one.
    pub content_type: Option<String>,
    /// The document.
    pub bytes: Bytes,
}

fn ask<'a>(
    method: Method,
    repository: &'a Repository,
    reference: &Reference,
    passed: Option<&'a Credential>,
) -> Ask<'a> {
    Ask {
        kind: Kind::Manifest,
        method,
        repository,
        path: format!("manifests/{reference}"),
        accept: Some(MANIFEST_ACCEPT),
        range_from: None,
        passed,
    }
}

impl Upstream {
    /// What `reference` means now. With `passed`, whether that credential gives it.
    ///
    /// # Errors
    /// [`UpstreamError`].
    pub async fn head_manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
        passed: Option<&Credential>,
    ) -> Result<ManifestHead, UpstreamError> {
        let question = ask(Method::HEAD, repository, reference, passed);
        let response = self.within(self.ask(&question)).await?;
        Ok(ManifestHead { digest: stated(response.headers()) })
    }

    /// The manifest that `reference` means.
    ///
    /// # Errors
    /// [`UpstreamError::Invalid`] also when it is longer than 4 MiB, or its bytes do not hash to what was asked for or stated.
    pub async fn manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
        passed: Option<&Credential>,
    ) -> Result<UpstreamManifest, UpstreamError> {
        let question = ask(Method::GET, repository, reference, passed);
        let fetch = async {
            let response = self.ask(&question).await?;
            let (head, body) = response.into_parts();
            let bytes = body.collect(MANIFEST_SIZE_MAX as usize).await.map_err(|error| match error {
                shoal_http::BodyError::TooLong { limit } => {
                    UpstreamError::invalid(self.registry(), format!("a manifest of more than {limit} bytes"))
                }
                error => UpstreamError::unavailable(self.registry(), error.to_string()),
            })?;
            Ok((head, bytes))
        };
        let (head, bytes) = self.within(fetch).await?;
        let expected = match reference {
            Reference::Digest(digest) => Some(*digest),
            Reference::Tag(_) => stated(&head.headers),
        };
        let expected = expected.unwrap_or_else(|| Digest::sha256(&bytes));
        if Digest::of(expected.algorithm(), &bytes) != expected {
            return Err(UpstreamError::invalid(
                self.registry(),
                format!("the manifest's bytes are not {expected}"),
            ));
        }
        let content_type =
            head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
        self.0.metrics.received_bytes(&self.0.label).inc_by(bytes.len() as u64);
        Ok(UpstreamManifest { digest: expected, content_type, bytes })
    }

    async fn within<T>(
        &self,
        work: impl Future<Output = Result<T, UpstreamError>>,
    ) -> Result<T, UpstreamError> {
        let bound = self.timeouts().manifest;
        let late = || UpstreamError::unavailable(self.registry(), format!("no manifest within {bound:?}"));
        tokio::time::timeout(bound, work).await.unwrap_or_else(|_elapsed| Err(late()))
    }
}

/// The digest that an answer states. Some registries state it as the entity tag only.
fn stated(headers: &HeaderMap) -> Option<Digest> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let of_header = text("docker-content-digest").and_then(|text| text.trim().parse().ok());
    of_header.or_else(|| text(ETAG.as_str())?.trim().trim_matches('"').parse().ok())
}
