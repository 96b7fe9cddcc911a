//! Where refusals are reported to: the audit log listens here.

use std::net::IpAddr;

use shoal_oci::Repository;

use crate::principal::Principal;

/// One refusal. Holds no secret.
#[derive(Clone, Copy, Debug)]
pub struct Denial<'a> {
    /// Who asked, as far as that was found out.
    pub principal: Option<&'a Principal>,
    /// From where.
    pub address: IpAddr,
    /// What was to be done: an [`crate::Action`], `catalog`, or `login`.
    pub action: &'a str,
    /// In which repository.
    pub repository: Option<&'a Repository>,
    /// The tag, digest or upload.
    pub reference: Option<&'a str>,
    /// Why not, as one word.
    pub reason: &'a str,
}

/// Takes refusals. Called on the request's path: it must not block.
pub trait Denials: Send + Sync + 'static {
    /// Takes one.
    fn denied(&self, denial: &Denial<'_>);
}

/// Writes refusals to the log of the process.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoggedDenials;

impl Denials for LoggedDenials {
    fn denied(&self, denial: &Denial<'_>) {
        let repository = denial.repository.map(Repository::as_str);
        let name = denial.principal.map(|principal| principal.name.as_str());
        // The first request of every client is one without credentials.
        if denial.reason == "missing_credentials" {
            tracing::debug!(address = %denial.address, action = denial.action, repository, "asked for credentials");
            return;
        }
        tracing::info!(
            name, address = %denial.address, action = denial.action, repository, reference = denial.reference,
            reason = denial.reason, "refused"
        );
    }
}
