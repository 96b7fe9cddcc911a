//! The record that every change leaves in the audit log, before its answer is sent.
//!
//! A refusal for want of rights is reported by the gate, which knows the reason; here it would only be a second line. Opening an
//! upload changes nothing and leaves no record either.

use std::time::Instant;

use http::{HeaderName, Method, StatusCode};
use shoal_api::audit::{AuditAction, AuditRecord};
use shoal_http::Response;
use shoal_oci::Route;

use crate::call::Call;
use crate::context::Context;
use crate::error::{self, Refusal};

/// Names the manifest or blob in an answer.
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// A change that is under way.
pub(crate) struct Entry {
    action: AuditAction,
    repository: Option<String>,
    reference: Option<String>,
    begun: Instant,
}

impl Entry {
    /// The entry of a request; `None` when it changes nothing or there is no log.
    pub(crate) fn of(cx: &Context, route: &Route, call: &Call) -> Option<Self> {
        if !cx.audit.is_on() || matches!(call.method, Method::GET | Method::HEAD) {
            return None;
        }
        let digest = || call.query.digest().ok().flatten().map(|digest| digest.to_string());
        let mounted = || call.query.mount().ok().flatten().map(|digest| digest.to_string());
        let (repository, reference) = match route {
            Route::Manifest { repository, reference } => (Some(repository), Some(reference.to_string())),
            Route::Blob { repository, digest } => (Some(repository), Some(digest.to_string())),
            Route::Uploads { repository } => (Some(repository), digest().or_else(mounted)),
            Route::Upload { repository, id } => (Some(repository), digest().or_else(|| Some(id.clone()))),
            _ => (None, None),
        };
        let action = if call.method == Method::DELETE { AuditAction::Delete } else { AuditAction::Push };
        let repository = repository.map(|repository| repository.to_string());
        Some(Self { action, repository, reference, begun: Instant::now() })
    }

    /// Whether the change may be made now.
    ///
    /// # Errors
    /// 503 when its record could not be written and the operator wants none without.
    pub(crate) fn admit(&self, cx: &Context) -> Result<(), Refusal> {
        cx.audit.admit().map_err(|error| error::unavailable(error.to_string()))
    }

    /// Writes the record. The answer is another one when it has to be written and cannot.
    pub(crate) async fn write(self, cx: &Context, call: &Call, response: Response) -> Response {
        let status = response.status();
        let by_gate = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::TOO_MANY_REQUESTS];
        let opened = call.method == Method::POST && status == StatusCode::ACCEPTED;
        if opened || by_gate.contains(&status) {
            return response;
        }
        let digest = response.headers().get(CONTENT_DIGEST).and_then(|value| value.to_str().ok());
        let record = AuditRecord {
            caller: call.caller(),
            action: self.action,
            repository: self.repository,
            digest: digest.map(str::to_owned),
            reference: self.reference,
            bytes: call.received(),
            status: status.as_u16(),
            denied: None,
            duration: self.begun.elapsed(),
        };
        match cx.audit.write(record).await {
            // What failed anyway is not made worse.
            Err(error) if status.is_success() => error::unavailable(error.to_string()).into_response(),
            _ => response,
        }
    }
}
