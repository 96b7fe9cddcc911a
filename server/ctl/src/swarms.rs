//! The largest swarms, as the tracker knows them.

use anyhow::Result;
use serde_json::Value;

use crate::output::Report;
use crate::server::{Server, TIMEOUT};

/// The `count` largest swarms.
pub(crate) async fn report(server: &Server, count: usize) -> Result<Report> {
    let json: Value = server.get(&format!("/swarms?n={count}"), TIMEOUT).await?;
    let text = |line: &Value, key: &str| match &line[key] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let lines = json["largest"].as_array().into_iter().flatten();
    let rows =
        lines.map(|line| ["digest", "complete", "incomplete"].map(|key| text(line, key)).to_vec()).collect();
    Ok(Report { columns: vec!["DIGEST", "COMPLETE", "INCOMPLETE"], rows, json, complete: true })
}
