//! What a reference means in a copy: kept, asked, fetched, or as it was when the upstream could be asked last.

use std::sync::Arc;
use std::time::Duration;

use shoal_api::tags::{PutManifest, PutOutcome, References, TagsError};
use shoal_api::{CopyError, CopyErrorKind, Freshness, Resolution};
use shoal_oci::{Digest, Manifest, Reference, Tag};
use shoal_telemetry::rooms::upstream::ResolutionSource;
use shoal_upstream::{UpstreamError, UpstreamErrorKind, UpstreamManifest};

use crate::copies::{Inner, Place};
use crate::policy::Validity;

/// How long an upstream may take to say whether a tag has moved that is here. After that the client gets what is here: for a container that
/// starts, an answer of a minute ago is better than none.
const REVALIDATE_MAX: Duration = Duration::from_secs(3);

/// For what a moved tag names now to be fetched, when what it named before is here.
const REPLACE_MAX: Duration = Duration::from_secs(8);

/// What came of a question, for the counter.
type Answered = (Resolution, ResolutionSource);

impl Inner {
    /// Resolves, as the one flight for this reference.
    pub(crate) async fn resolve(
        self: Arc<Self>,
        place: Place,
        reference: Reference,
    ) -> Result<Resolution, CopyError> {
        let answer = match &reference {
            Reference::Digest(digest) => self.by_digest(&place, digest).await,
            Reference::Tag(tag) => self.by_tag(&place, &reference, tag).await,
        };
        let source = answer.as_ref().map_or(ResolutionSource::Miss, |(_, source)| *source);
        self.metrics.resolution(&self.labels[place.entry], source);
        answer.map(|(resolution, _)| resolution)
    }

    /// A digest never changes: only what is not here is asked for.
    async fn by_digest(&self, place: &Place, digest: &Digest) -> Result<Answered, CopyError> {
        let reference = Reference::Digest(*digest);
        let resolution = Resolution { digest: *digest, freshness: Freshness::Immutable, age: None };
        if self.tags.manifest(&place.copy, &reference).await.map_err(memory_failed)?.is_some() {
            return Ok((resolution, ResolutionSource::Kept));
        }
        if self.memory.is_absent(&place.copy, &reference) {
            return Err(absent(place));
        }
        match self.fetch(place, &reference, None).await {
            Ok(_) => Ok((resolution, ResolutionSource::Fetched)),
            Err(error) => Err(self.failed(place, &reference, error)),
        }
    }

    async fn by_tag(&self, place: &Place, reference: &Reference, tag: &Tag) -> Result<Answered, CopyError> {
        let rule = self.policies[place.entry].of(&place.remote, tag);
        let kept = self.tags.resolve(&place.copy, tag).await.map_err(memory_failed)?;
        let Some(digest) = kept else {
            if self.memory.is_absent(&place.copy, reference) {
                return Err(absent(place));
            }
            let fetched = self.fetch(place, reference, Some(tag)).await;
            let digest = fetched.map_err(|error| self.failed(place, reference, error))?;
            return Ok((self.said(place, reference, digest), ResolutionSource::Fetched));
        };
        let age = self.memory.age(&place.copy, reference, &digest);
        let of = |freshness| Resolution { digest, freshness, age };
        match rule.validity {
            Validity::Immutable => return Ok((of(Freshness::Immutable), ResolutionSource::Kept)),
            Validity::For(valid) if age.is_some_and(|age| age < valid) => {
                return Ok((of(Freshness::Fresh), ResolutionSource::Kept));
            }
            Validity::For(_) => {}
        }
        match self.ask_again(place, reference, tag, &digest).await {
            Ok(now) if now == digest => Ok((self.said(place, reference, now), ResolutionSource::Revalidated)),
            Ok(now) => Ok((self.said(place, reference, now), ResolutionSource::Fetched)),
            Err(Failure::Upstream(error)) if error.kind() == UpstreamErrorKind::Unavailable => {
                let too_old = rule.stale_max.is_some_and(|max| age.is_none_or(|age| age > max));
                if too_old {
                    return Err(self.failed(place, reference, Failure::Upstream(error)));
                }
                tracing::info!(copy = %place.copy, %tag, %error, "the upstream cannot be asked; what was last known is given");
                Ok((of(Freshness::Stale), ResolutionSource::Stale))
            }
            Err(error) => Err(self.failed(place, reference, error)),
        }
    }

    /// The upstream has just said it.
    fn said(&self, place: &Place, reference: &Reference, digest: Digest) -> Resolution {
        self.memory.note(&place.copy, reference, &digest);
        Resolution { digest, freshness: Freshness::Revalidated, age: Some(Duration::ZERO) }
    }

    /// What a tag means now that meant `kept`: one HEAD, which quotas do not count, and a GET only when it has moved.
    async fn ask_again(
        &self,
        place: &Place,
        reference: &Reference,
        tag: &Tag,
        kept: &Digest,
    ) -> Result<Digest, Failure> {
        let late = |bound: Duration| {
            let why = format!("{} took more than {bound:?}", place.upstream.name());
            Failure::Upstream(UpstreamError::Unavailable { registry: place.upstream.name().to_string(), why })
        };
        let head = place.upstream.head_manifest(&place.remote, reference, None);
        let head =
            tokio::time::timeout(REVALIDATE_MAX, head).await.map_err(|_elapsed| late(REVALIDATE_MAX))?;
        let now = head.map_err(Failure::Upstream)?.digest;
        if now.as_ref() == Some(kept) {
            return Ok(*kept);
        }
        // By digest when it is known, so that what is stored under the tag is what the HEAD said.
        let wanted = now.map_or_else(|| reference.clone(), Reference::Digest);
        let fetched = tokio::time::timeout(REPLACE_MAX, self.fetch(place, &wanted, Some(tag))).await;
        fetched.map_err(|_elapsed| late(REPLACE_MAX))?
    }

    /// Gets a manifest, from here or from the upstream, and stores it under `tag`.
    async fn fetch(&self, place: &Place, wanted: &Reference, tag: Option<&Tag>) -> Result<Digest, Failure> {
        let known = match wanted {
            Reference::Digest(_) => self.tags.manifest(&place.copy, wanted).await.map_err(Failure::Memory)?,
            Reference::Tag(_) => None,
        };
        let found = match known {
            Some(known) => UpstreamManifest {
                digest: known.digest,
                content_type: Some(known.media_type),
                bytes: known.bytes,
            },
            None => place.upstream.manifest(&place.remote, wanted, None).await.map_err(Failure::Upstream)?,
        };
        let digest = found.digest;
        self.store(place, found, tag).await?;
        Ok(digest)
    }

    async fn store(&self, place: &Place, found: UpstreamManifest, tag: Option<&Tag>) -> Result<(), Failure> {
        let UpstreamManifest { digest, content_type, bytes } = found;
        let manifest = Manifest::parse(&bytes, content_type.as_deref()).map_err(|error| {
            let why = format!("{digest} is no manifest that is stored here: {error}");
            Failure::Upstream(UpstreamError::Invalid { registry: place.upstream.name().to_string(), why })
        })?;
        let tags = tag.into_iter().cloned().collect();
        let put = PutManifest {
            // What it names comes when it is pulled.
            references: References::Sparse,
            ..PutManifest::of(place.copy.clone(), digest, bytes, &manifest, tags)
        };
        match self.tags.put_manifest(put).await.map_err(Failure::Memory)? {
            PutOutcome::Stored { .. } => Ok(()),
            // Nothing of the kind was asked for.
            other => {
                tracing::error!(copy = %place.copy, %digest, ?other, "a manifest of a copy was not stored");
                Err(Failure::Memory(TagsError::new(
                    shoal_api::tags::TagsErrorKind::Internal,
                    "it was not stored",
                )))
            }
        }
    }

    fn failed(&self, place: &Place, reference: &Reference, error: Failure) -> CopyError {
        match error {
            Failure::Memory(error) => memory_failed(error),
            Failure::Upstream(error) => {
                if error.kind() == UpstreamErrorKind::NotFound {
                    self.memory.note_absent(&place.copy, reference);
                }
                tracing::info!(copy = %place.copy, %reference, %error, "not had from the upstream");
                of_upstream(&error)
            }
        }
    }
}

/// Which of the two did not do it.
pub(crate) enum Failure {
    Upstream(UpstreamError),
    Memory(TagsError),
}

fn absent(place: &Place) -> CopyError {
    CopyError::new(
        CopyErrorKind::NotFound,
        UpstreamError::NotFound(place.upstream.name().to_string()).to_string(),
    )
}

pub(crate) fn of_upstream(error: &UpstreamError) -> CopyError {
    let kind = match error.kind() {
        UpstreamErrorKind::NotFound => CopyErrorKind::NotFound,
        UpstreamErrorKind::Unavailable => CopyErrorKind::Unavailable,
        UpstreamErrorKind::Denied | UpstreamErrorKind::Refused => CopyErrorKind::Refused,
    };
    CopyError::new(kind, error.to_string())
}

pub(crate) fn memory_failed(error: TagsError) -> CopyError {
    CopyError::new(CopyErrorKind::Unavailable, error.message)
}
