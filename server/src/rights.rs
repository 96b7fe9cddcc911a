//! Joins tracker and origin to the guard and the links: who may have a blob by its digest.
//!
//! A member that the guard knows by its certificate has the rights that the policy gives it. A member without an identity, known by the
//! cluster's key alone or by a certificate whose names say nothing here (`auth.certificates` is off), is trusted as a node of the
//! cluster: it gets what is in the repository that it names. Without `auth` everybody gets whatever is in some repository; a blob that
//! was deleted everywhere is gone for everybody, at once.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use shoal_api::tags::{Tags, TagsError};
use shoal_api::{Copies, Member, Rights, RightsError};
use shoal_auth::{Action, CertificateNames, Credentials, Denial, Guard};
use shoal_http::PeerCertificate;
use shoal_oci::{Digest, Repository};

/// The rights of this server's policy over the blobs that its repositories link.
pub(crate) struct LinkedRights {
    guard: Guard,
    tags: Arc<dyn Tags>,
    /// Who knows what is on its way into a repository.
    copies: Option<Arc<dyn Copies>>,
}

impl LinkedRights {
    /// What `guard` lets members pull of what `tags` knows to be in repositories.
    pub(crate) fn new(guard: Guard, tags: Arc<dyn Tags>) -> Self {
        Self { guard, tags, copies: None }
    }

    /// The same for a server with copies: what is on its way into one counts as being there, from the moment that its upstream has said
    /// that it has it.
    pub(crate) fn with_copies(self, copies: Option<Arc<dyn Copies>>) -> Self {
        Self { copies, ..self }
    }

    fn is_arriving(&self, repository: Option<&Repository>, digest: &Digest) -> bool {
        self.copies.as_ref().is_some_and(|copies| copies.is_arriving(repository, digest))
    }

    /// Whether some repository has the blob. The one that is named is looked at first, because links are cached by repository.
    async fn is_linked(&self, repository: Option<&Repository>, digest: &Digest) -> Result<bool, TagsError> {
        if let Some(repository) = repository
            && self.tags.blob_in(repository, digest).await?.is_some()
        {
            return Ok(true);
        }
        Ok(self.is_arriving(None, digest) || self.tags.blob_anywhere(digest).await?.is_some())
    }

    /// Whether the policy lets a member pull from a repository.
    async fn may_pull(&self, member: &Member, repository: &Repository, digest: &Digest) -> bool {
        let Some(certificate) = member.certificate.as_deref().filter(|_| self.guard.takes_certificates())
        else {
            return true;
        };
        let names = names(certificate);
        let credentials =
            Credentials { authorization: None, certificate: Some(&names), address: member.address };
        // Without a header there is nothing to reject.
        let Ok(principal) = self.guard.identify(&credentials, SystemTime::now()).await else { return false };
        if self.guard.may(&principal, Action::Pull, repository) {
            return true;
        }
        self.guard.report(&Denial {
            principal: Some(&principal),
            address: member.address,
            action: "pull",
            repository: Some(repository),
            reference: Some(&digest.to_string()),
            reason: "policy",
        });
        false
    }
}

#[async_trait]
impl Rights for LinkedRights {
    async fn may_read(
        &self,
        member: &Member,
        repository: Option<&Repository>,
        digest: &Digest,
    ) -> Result<bool, RightsError> {
        let failed = |error: TagsError| RightsError(error.to_string());
        if self.guard.is_open() {
            return self.is_linked(repository, digest).await.map_err(failed);
        }
        let Some(repository) = repository else { return Ok(false) };
        if !self.may_pull(member, repository, digest).await {
            return Ok(false);
        }
        let linked = self.tags.blob_in(repository, digest).await.map_err(failed)?.is_some();
        Ok(linked || self.is_arriving(Some(repository), digest))
    }
}

fn names(certificate: &PeerCertificate) -> CertificateNames {
    CertificateNames {
        common_name: certificate.common_name.clone(),
        dns: certificate.dns.clone(),
        uris: certificate.uris.clone(),
        emails: certificate.emails.clone(),
    }
}

#[cfg(test)]
mod tests;
