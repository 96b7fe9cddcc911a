//! How webhooks, the audit log and preheating are.

use anyhow::Result;
use serde_json::Value;

use crate::output::Report;
use crate::server::{Server, TIMEOUT};

/// One row for each endpoint, one for the audit log, one for the last preheat job. Not complete while one of them is in trouble.
pub(crate) async fn report(server: &Server) -> Result<Report> {
    let status = server.get("/events", TIMEOUT).await?;
    let mut complete = true;
    let mut rows = Vec::new();
    for endpoint in status["webhooks"]["endpoints"].as_array().into_iter().flatten() {
        let failures = endpoint["failures"].as_u64().unwrap_or(0);
        complete &= failures == 0;
        let state = if failures == 0 { "ok".to_owned() } else { format!("{failures} failures") };
        rows.push(vec![
            format!("webhook {}", text(&endpoint["name"])),
            state,
            format!("{} delivered", text(&endpoint["delivered"])),
            text(&endpoint["error"]),
        ]);
    }
    if let Value::Object(webhooks) = &status["webhooks"] {
        let dropped = webhooks["dropped"].as_u64().unwrap_or(0);
        complete &= dropped == 0;
        let waiting = format!("{} waiting", text(&webhooks["waiting"]));
        rows.push(vec!["queue".to_owned(), waiting, format!("{dropped} dropped"), String::new()]);
    }
    if let Value::Object(audit) = &status["audit"] {
        let writable = audit["writable"] == true;
        complete &= writable;
        let state = if writable { "ok" } else { "cannot be written" };
        let lost = format!("{} lost", text(&audit["lost"]));
        rows.push(vec!["audit log".to_owned(), state.to_owned(), lost, text(&audit["file"])]);
    }
    if let Some(job) = status["preheat"].as_array().and_then(|jobs| jobs.last()) {
        rows.push(vec![
            "last preheat".to_owned(),
            format!("{} ready", text(&job["ready"])),
            format!("{} missing", text(&job["missing"])),
            format!("{} {}", text(&job["repository"]), text(&job["reference"])),
        ]);
    }
    if rows.is_empty() {
        rows.push(vec!["nothing is configured (events, audit)".to_owned()]);
    }
    Ok(Report { json: status, columns: vec!["WHAT", "STATE", "COUNT", "DETAIL"], rows, complete })
}

/// A value without quotation marks; empty for what is not there.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
