//! Refusals on their way into the audit log.
//!
//! The gate knows who was refused what, and why, but not the request's number nor its client's name of itself; such a line has neither.

use std::net::SocketAddr;
use std::time::Duration;

use shoal_api::audit::{AuditAction, AuditRecord};
use shoal_api::caller::{Caller, RequestId};
use shoal_auth::{Denial, Denials, LoggedDenials};
use shoal_events::AuditLog;

/// Writes refusals to the log of the process, and to the audit log when there is one.
pub(crate) struct AuditedDenials(pub(crate) Option<AuditLog>);

impl Denials for AuditedDenials {
    fn denied(&self, denial: &Denial<'_>) {
        LoggedDenials.denied(denial);
        if let Some(log) = &self.0 {
            log.note(&record(denial));
        }
    }
}

fn record(denial: &Denial<'_>) -> AuditRecord {
    let action = action(denial.action);
    AuditRecord {
        caller: Caller {
            request: RequestId(0),
            address: SocketAddr::new(denial.address, 0),
            host: String::new(),
            method: String::new(),
            user_agent: String::new(),
            actor: denial.principal.map(|principal| principal.name.clone()).unwrap_or_default(),
            secure: false,
        },
        action,
        repository: denial.repository.map(ToString::to_string),
        reference: denial.reference.map(str::to_owned),
        digest: None,
        bytes: 0,
        status: status(denial),
        denied: Some(denial.reason.to_owned()),
        duration: Duration::ZERO,
    }
}

fn action(word: &str) -> AuditAction {
    match word {
        "create" | "overwrite" | "push" => AuditAction::Push,
        "delete" => AuditAction::Delete,
        "catalog" => AuditAction::List,
        "login" => AuditAction::Login,
        "admin" => AuditAction::Admin,
        _ => AuditAction::Pull,
    }
}

/// What the client is told, as far as the reason says it.
fn status(denial: &Denial<'_>) -> u16 {
    match (denial.reason, denial.action) {
        ("too_many_attempts", _) => 429,
        ("unavailable", _) => 503,
        // It got a session instead.
        ("mount", _) => 202,
        // It was told that there is nothing.
        ("policy", "pull") => 404,
        ("policy" | "overwrite" | "immutable_tag", _) => 403,
        _ => 401,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_becomes_a_line_without_what_is_not_known() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("audit.log");
        let options = shoal_events::AuditOptions { file: file.clone(), required: false };
        let log = AuditLog::open(options, shoal_telemetry::EventsMetrics::default()).unwrap();
        let repository = "team/app".parse().unwrap();
        let denial = Denial {
            principal: None,
            address: [10, 0, 0, 9].into(),
            action: "overwrite",
            repository: Some(&repository),
            reference: Some("v1"),
            reason: "policy",
        };
        AuditedDenials(Some(log)).denied(&denial);
        let start = std::time::Instant::now();
        let line = loop {
            let text = std::fs::read_to_string(&file).unwrap();
            if text.ends_with('\n') {
                break serde_json::from_str::<serde_json::Value>(&text).unwrap();
            }
            assert!(start.elapsed() < Duration::from_secs(20));
            std::thread::yield_now();
        };
        let words = ["action", "repository", "reference", "denied"].map(|key| line[key].as_str().unwrap());
        assert_eq!(words, ["push", "team/app", "v1", "policy"]);
        assert!(line.get("request").is_none() && line.get("user_agent").is_none(), "{line}");
    }
}
