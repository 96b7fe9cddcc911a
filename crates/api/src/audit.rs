//! What the registry leaves behind about every write and every refusal: the seam behind which the audit log is.
//!
//! A record is on its way to the disk before the client gets its answer. It never holds a credential, and what clients sent as text
//! is escaped by whoever writes it.

use std::time::Duration;

use async_trait::async_trait;

use crate::caller::Caller;

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuditAction {
    /// A manifest or a blob was pushed, in whole or in part.
    Push,
    /// A manifest, a tag or a blob was deleted, or an upload given up.
    Delete,
    /// A read was refused.
    Pull,
    /// A list of names was refused.
    List,
    /// Somebody wanted to be recognised, and was not.
    Login,
    /// Agents were to fetch an image beforehand.
    Preheat,
    /// An operator changed something.
    Admin,
}

impl AuditAction {
    /// The word in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Delete => "delete",
            Self::Pull => "pull",
            Self::List => "list",
            Self::Login => "login",
            Self::Preheat => "preheat",
            Self::Admin => "admin",
        }
    }
}

/// One line of the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// Who asked, and how.
    pub caller: Caller,
    /// What was asked for.
    pub action: AuditAction,
    /// In which repository, when the request named one.
    pub repository: Option<String>,
    /// The tag, digest or upload that the request named.
    pub reference: Option<String>,
    /// The content that the answer named.
    pub digest: Option<String>,
    /// Bytes of the request's body that were taken.
    pub bytes: u64,
    /// The status of the answer.
    pub status: u16,
    /// Whether access was denied, and why.
    pub denied: Option<String>,
    /// From the head of the request to the answer.
    pub duration: Duration,
}

/// The record could not be written, and the operator wants no write without one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the audit log cannot be written, and audit.required forbids changes without it")]
pub struct AuditUnavailable;

/// Takes records.
#[async_trait]
pub trait Audit: Send + Sync + 'static {
    /// Whether there is a log; when not, callers spare themselves the record.
    fn is_on(&self) -> bool;

    /// Asked before a change: whether its record could be written now.
    ///
    /// # Errors
    /// [`AuditUnavailable`]: the change must not be made.
    fn admit(&self) -> Result<(), AuditUnavailable>;

    /// Writes a record and returns when the file has it.
    ///
    /// # Errors
    /// [`AuditUnavailable`]: the change must not be acknowledged.
    async fn write(&self, record: AuditRecord) -> Result<(), AuditUnavailable>;
}

/// There is no audit log.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoAudit;

#[async_trait]
impl Audit for NoAudit {
    fn is_on(&self) -> bool {
        false
    }

    fn admit(&self) -> Result<(), AuditUnavailable> {
        Ok(())
    }

    async fn write(&self, _: AuditRecord) -> Result<(), AuditUnavailable> {
        Ok(())
    }
}
