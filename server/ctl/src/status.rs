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

/// A program that is asked, and the option that says where.
struct Program {
    name: &'static str,
    option: &'static str,
    port: u16,
}

const SERVER: &Program = &Program { name: "shoal-server", option: "--server", port: 15005 };
const AGENT: &Program = &Program { name: "shoal-agent", option: "--agents", port: 16002 };

/// What one process says.
struct Answer {
    url: String,
    ready: bool,
    health: String,
    status: Value,
}

/// State of the server at `server` and of the agents at `agents`.
pub(crate) async fn report(http: &Client, server: &str, agents: &[String]) -> Result<Report> {
    let agents = agents.iter().map(|agent| (agent.as_str(), AGENT));
    let urls = std::iter::once((server, SERVER)).chain(agents);
    let bases = urls.map(|(url, program)| Ok((Base::parse(url)?, program)));
    let bases = bases.collect::<Result<Vec<_>>>().context("--server and --agents")?;
    let mut answers = Vec::new();
    for (base, program) in &bases {
        answers.push(ask(http, base, program).await);
    }
    Ok(Report {
        json: Value::from_iter(answers.iter().map(Answer::json)),
        columns: vec!["ADDRESS", "PROGRAM", "VERSION", "HEALTH", "BLOBS", "STORED"],
        rows: answers.iter().map(Answer::row).collect(),
        complete: answers.iter().all(|answer| answer.ready),
    })
}

async fn ask(http: &Client, base: &Base, program: &Program) -> Answer {
    let url = base.to_string();
    let (ready, health) = match readiness(http, base).await {
        Ok(answer) => answer,
        Err(error) => return Answer { url, ready: false, health: format!("{error:#}"), status: Value::Null },
    };
    let status = http.get_json(&base.url("/status"), TIMEOUT).await.unwrap_or(Value::Null);
    match status["program"].as_str() {
        Some(name) if name == program.name => Answer { url, ready, health, status },
        name => Answer { url, ready: false, health: program.not_here(name), status },
    }
}

impl Program {
    /// Something answers, and it is not this program's admin port: every port of Shoal says whether it is ready, and so do others.
    fn not_here(&self, found: Option<&str>) -> String {
        let Self { name, option, port } = self;
        let found = found.map_or_else(|| "not an admin port".to_owned(), |found| format!("this is {found}"));
        format!("{found}; {option} is the URL of the admin port of {name} (usually {port})")
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
