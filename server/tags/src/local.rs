//! The questions of [`Tags`], answered by the metadata engine of this process.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use shoal_api::tags::{
    Condition, DeleteOutcome, Manifest, Page, PageAfter, PutManifest, PutOutcome, Referrer, Tags, TagsError,
};
use shoal_metadata::{self as metadata, Catalog};
use shoal_oci::{Digest, Reference, Repository, Tag};

use crate::convert;

/// A [`Tags`] over a metadata engine. Clones share the engine.
#[derive(Clone)]
pub struct LocalTags(Arc<dyn Catalog>);

impl LocalTags {
    /// Answers from `catalog`.
    pub fn new(catalog: impl Catalog) -> Self {
        Self(Arc::new(catalog))
    }
}

#[async_trait]
impl Tags for LocalTags {
    async fn link_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        size: u64,
        outbox: Vec<Bytes>,
    ) -> Result<(), TagsError> {
        self.0.link_blob(repository, digest, size, outbox).await.map_err(convert::error)
    }

    async fn blob_in(&self, repository: &Repository, digest: &Digest) -> Result<Option<u64>, TagsError> {
        self.0.blob_in(repository, digest).await.map_err(convert::error)
    }

    async fn blob_anywhere(&self, digest: &Digest) -> Result<Option<(Repository, u64)>, TagsError> {
        self.0.blob_anywhere(digest).await.map_err(convert::error)
    }

    async fn unlink_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        outbox: Vec<Bytes>,
    ) -> Result<bool, TagsError> {
        self.0.unlink_blob(repository, digest, outbox).await.map_err(convert::error)
    }

    async fn put_manifest(&self, manifest: PutManifest) -> Result<PutOutcome, TagsError> {
        self.0.put_manifest(convert::put(manifest)).await.map(convert::outcome).map_err(convert::error)
    }

    async fn manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<Option<Manifest>, TagsError> {
        let found = self.0.manifest(repository, reference).await.map_err(convert::error)?;
        Ok(found.map(convert::manifest))
    }

    async fn resolve(&self, repository: &Repository, tag: &Tag) -> Result<Option<Digest>, TagsError> {
        self.0.resolve(repository, tag).await.map_err(convert::error)
    }

    async fn delete_manifest(
        &self,
        repository: &Repository,
        digest: &Digest,
        condition: Condition,
        outbox: Vec<Bytes>,
    ) -> Result<DeleteOutcome, TagsError> {
        let condition = convert::condition(condition);
        let deleted = self.0.delete_manifest(repository, digest, condition, outbox).await;
        deleted.map(convert::deleted).map_err(convert::error)
    }

    async fn delete_tag(
        &self,
        repository: &Repository,
        tag: &Tag,
        condition: Condition,
        outbox: Vec<Bytes>,
    ) -> Result<DeleteOutcome, TagsError> {
        let condition = convert::condition(condition);
        let deleted = self.0.delete_tag(repository, tag, condition, outbox).await;
        deleted.map(convert::deleted).map_err(convert::error)
    }

    async fn tags_needing(&self, repository: &Repository, digest: &Digest) -> Result<Vec<Tag>, TagsError> {
        self.0.tags_needing(repository, digest).await.map_err(convert::error)
    }

    fn pulled(&self, repository: &Repository, reference: &Reference) {
        self.0.pulled(repository, reference);
    }

    fn blob_in_cached(&self, repository: &Repository, digest: &Digest) -> Option<Option<u64>> {
        self.0.blob_in_cached(repository, digest)
    }

    fn resolve_cached(&self, repository: &Repository, tag: &Tag) -> Option<Digest> {
        self.0.resolve_cached(repository, tag)
    }

    fn manifest_cached(&self, repository: &Repository, reference: &Reference) -> Option<Arc<Manifest>> {
        let found = self.0.manifest_cached(repository, reference)?;
        Some(Arc::new(convert::manifest(metadata::Manifest::clone(&found))))
    }

    async fn tags(&self, repository: &Repository, page: PageAfter) -> Result<Option<Page<Tag>>, TagsError> {
        let found = self.0.tags(repository, convert::after(page)).await.map_err(convert::error)?;
        Ok(found.map(convert::page))
    }

    async fn repositories(&self, page: PageAfter) -> Result<Page<Repository>, TagsError> {
        self.0.repositories(convert::after(page)).await.map(convert::page).map_err(convert::error)
    }

    async fn referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
        artifact_type: Option<&str>,
        page: PageAfter,
    ) -> Result<Page<Referrer>, TagsError> {
        let found = self.0.referrers(repository, subject, artifact_type, convert::after(page)).await;
        found.map(convert::page).map_err(convert::error)
    }
}

#[cfg(test)]
mod tests {
    use shoal_api::tags::{Match, References, TagsErrorKind};
    use shoal_metadata::Embedded;

    use super::*;

    #[tokio::test]
    async fn what_is_put_is_found_and_conflicts_keep_their_kind() {
        let directory = tempfile::tempdir().unwrap();
        let tags = LocalTags::new(Embedded::open(directory.path()).unwrap());
        let repository: Repository = "team/app".parse().unwrap();
        let (blob, subject) = (Digest::sha256(b"blob"), Digest::sha256(b"subject"));
        let manifest = PutManifest {
            repository: repository.clone(),
            digest: Digest::sha256(b"{}"),
            media_type: "a/b".to_owned(),
            bytes: Bytes::from_static(b"{}"),
            blobs: vec![blob],
            blobs_optional: Vec::new(),
            children: Vec::new(),
            subject: Some(subject),
            artifact_type: Some("sbom".to_owned()),
            annotations: [("k".to_owned(), "v".to_owned())].into(),
            tags: vec!["v1".parse().unwrap()],
            references: References::Required,
            condition: Condition::default(),
            immutable: Vec::new(),
            overwrite: true,
            outbox: Vec::new(),
        };
        let missing = PutOutcome::Missing { blobs: vec![blob], children: Vec::new() };
        assert_eq!(tags.put_manifest(manifest.clone()).await, Ok(missing));
        tags.link_blob(&repository, &blob, 4, Vec::new()).await.unwrap();
        let conflict = tags.link_blob(&repository, &blob, 5, Vec::new()).await.unwrap_err();
        assert_eq!(conflict.kind, TagsErrorKind::Conflict);
        let stored = PutOutcome::Stored { moved: vec![("v1".parse().unwrap(), None)], created: true };
        assert_eq!(tags.put_manifest(manifest.clone()).await, Ok(stored));
        let found = tags.manifest(&repository, &"v1".parse().unwrap()).await.unwrap().unwrap();
        assert_eq!((found.digest, &found.bytes), (manifest.digest, &manifest.bytes));
        // At hand from now on.
        let (by_tag, tag): (Reference, Tag) = ("v1".parse().unwrap(), "v1".parse().unwrap());
        assert_eq!(tags.manifest_cached(&repository, &by_tag).unwrap().bytes, "{}");
        assert_eq!(tags.resolve_cached(&repository, &tag), Some(manifest.digest));
        assert_eq!(tags.blob_in(&repository, &blob).await, Ok(Some(4)));
        assert_eq!(tags.blob_in_cached(&repository, &blob), Some(Some(4)));
        assert_eq!(tags.tags_needing(&repository, &manifest.digest).await, Ok(vec![tag.clone()]));
        let page = PageAfter { last: None, limit: 10 };
        let referrers = tags.referrers(&repository, &subject, Some("sbom"), page).await.unwrap();
        assert_eq!(referrers.items[0].annotations["k"], "v");
        conditions_pass_through(&tags, &manifest, &tag).await;
    }

    async fn conditions_pass_through(tags: &LocalTags, manifest: &PutManifest, tag: &Tag) {
        let (repository, current) = (&manifest.repository, Some(manifest.digest));
        let absent = Condition { if_match: None, if_none_match: Some(Match::Any) };
        let put = PutManifest { condition: absent.clone(), ..manifest.clone() };
        assert_eq!(tags.put_manifest(put).await, Ok(PutOutcome::PreconditionFailed { current }));
        let other =
            PutManifest { digest: Digest::sha256(b"x"), bytes: Bytes::from_static(b"x"), ..manifest.clone() };
        let exists = PutOutcome::TagExists { tag: tag.clone(), current: manifest.digest };
        let immutable = PutManifest { immutable: vec![tag.clone()], ..other.clone() };
        assert_eq!(tags.put_manifest(immutable).await, Ok(exists.clone()));
        assert_eq!(tags.put_manifest(PutManifest { overwrite: false, ..other }).await, Ok(exists));
        let refused = Ok(DeleteOutcome::PreconditionFailed { current });
        assert_eq!(tags.delete_tag(repository, tag, absent, Vec::new()).await, refused);
        let stale = Match::Digests(vec![Digest::sha256(b"x")]);
        let stale = Condition { if_match: Some(stale), if_none_match: None };
        assert_eq!(tags.delete_manifest(repository, &manifest.digest, stale, Vec::new()).await, refused);
        let deleted = DeleteOutcome::Deleted { digest: manifest.digest, tags: vec![tag.clone()] };
        let gone = tags.delete_tag(repository, tag, Condition::default(), Vec::new()).await;
        assert_eq!(gone, Ok(deleted));
        assert_eq!(tags.resolve_cached(repository, tag), None);
    }

    #[test]
    fn a_client_learns_no_paths_and_no_sql() {
        let path = std::path::PathBuf::from("/secret/metadata.db");
        let internal = convert::error(shoal_metadata::Error::Foreign { path });
        assert_eq!(internal.kind, TagsErrorKind::Internal);
        assert!(!internal.message.contains("secret"));
        let closed = convert::error(shoal_metadata::Error::Closed);
        assert!(closed.is_retryable());
    }
}
