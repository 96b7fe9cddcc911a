//! The server and its agents in one table.
//!
//! Each process is asked for `/status` and `/readyz`. One that does not answer is a row, not a failure of the command: the others
//! are what the operator wants to see then.

use anyhow::{Context, Result};
use http::StatusCode;
use serde_json::{Value, json};
use shoal_api::Base;
use shoal_http::{Body, Client};

use crate::output::{Report, bytes};
use crate::server::TIMEOUT;

/// Longest readiness answer in bytes: one word.
const READINESS_LEN_MAX: usize = 4096;

/// What one process says.
struct Answer {
    url: String,
    ready: bool,
    health: String,
    status: Value,
}

/// State of the server at `server` and of the agents at `agents`.
pub(crate) async fn report(http: &Client, server: &str, agents: &[String]) -> Result<Report> {
    let urls = std::iter::once(server).chain(agents.iter().map(String::as_str));
    let bases = urls.map(Base::parse).collect::<Result<Vec<_>, _>>().context("--server and --agents")?;
    let mut answers = Vec::new();
    for base in &bases {
        answers.push(ask(http, base).await);
    }
    Ok(Report {
        json: Value::from_iter(answers.iter().map(Answer::json)),
        columns: vec!["ADDRESS", "PROGRAM", "VERSION", "HEALTH", "BLOBS", "STORED"],
        rows: answers.iter().map(Answer::row).collect(),
        complete: answers.iter().all(|answer| answer.ready),
    })
}

async fn ask(http: &Client, base: &Base) -> Answer {
    match readiness(http, base).await {
        Ok((ready, health)) => {
            let status = http.get_json(&base.url("/status"), TIMEOUT).await.unwrap_or(Value::Null);
            Answer { url: base.to_string(), ready, health, status }
        }
        Err(error) => {
            Answer { url: base.to_string(), ready: false, health: format!("{error:#}"), status: Value::Null }
        }
    }
}

async fn readiness(http: &Client, base: &Base) -> Result<(bool, String)> {
    let request = http::Request::get(base.url("/readyz")).body(Body::empty())?;
    let response = http.send(request, TIMEOUT).await?;
    let ready = response.status() == StatusCode::OK;
    let word = response.into_body().collect(READINESS_LEN_MAX).await?;
    Ok((ready, String::from_utf8_lossy(&word).trim().to_owned()))
}

impl Answer {
    fn json(&self) -> Value {
        json!({ "url": self.url, "ready": self.ready, "health": self.health, "status": self.status })
    }

    fn row(&self) -> Vec<String> {
        let text = |key: &str| self.status[key].as_str().unwrap_or("-").to_owned();
        // The server keeps blobs in its store, an agent in its cache.
        let room =
            if self.status["store"].is_object() { &self.status["store"] } else { &self.status["cache"] };
        let number =
            |key: &str, show: fn(u64) -> String| room[key].as_u64().map_or_else(|| "-".to_owned(), show);
        vec![
            self.url.clone(),
            text("program"),
            text("version"),
            self.health.clone(),
            number("blobs", |count| count.to_string()),
            number("bytes", bytes),
        ]
    }
}
