//! An image is fetched on agents before anybody pulls it there, with a bar for each agent.

use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use http::Method;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use shoal_api::Base;
use shoal_http::Client;
use tokio::task::JoinSet;

use crate::agents::{Agents, ask};
use crate::output::{Report, bytes};

/// How often agents are asked how far they are.
const INTERVAL: Duration = Duration::from_millis(200);

/// What is fetched, and where.
#[derive(Debug, Args)]
pub(crate) struct PullCommand {
    /// Image such as team/app:v1 or registry.example.com/team/app@sha256:…
    image: String,

    #[command(flatten)]
    agents: Agents,

    /// Platform of an image's index such as linux/arm64, or `all`; that of the agent's machine by default
    #[arg(long)]
    platform: Option<String>,
}

/// Fetches on all agents at once and waits for the last; fails when one of them does.
pub(crate) async fn run(http: &Client, command: &PullCommand) -> Result<Report> {
    let mut pairs = vec![("image", command.image.as_str())];
    pairs.extend(command.platform.as_deref().map(|platform| ("platform", platform)));
    let path = format!("/preheat?{}", shoal_http::query::encode(pairs));
    // On standard error, and only when that is a terminal.
    let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
    let mut tasks = JoinSet::new();
    for (index, url) in command.agents.urls.iter().enumerate() {
        let base = Base::parse(url).context("--agent")?;
        let style = ProgressStyle::with_template(
            "{prefix:>28} {bar:32} {bytes:>11} / {total_bytes:11} {bytes_per_sec:>13} {msg}",
        );
        let bar = bars.add(ProgressBar::new(0).with_prefix(base.to_string()).with_style(style?));
        let (http, path) = (http.clone(), path.clone());
        tasks.spawn(async move {
            let job = follow(&http, &base, &path, &bar).await;
            bar.abandon_with_message(job.as_ref().map_or("failed", |_| ""));
            (index, base.to_string(), job)
        });
    }
    let mut ended = tasks.join_all().await;
    ended.sort_by_key(|(index, ..)| *index);
    let rows = ended.iter().map(|(_, agent, job)| row(agent, job)).collect();
    let list = ended.iter().map(|(_, agent, job)| match job {
        Ok(job) => json!({ "agent": agent, "job": job }),
        Err(error) => json!({ "agent": agent, "error": format!("{error:#}") }),
    });
    Ok(Report {
        json: Value::from_iter(list),
        columns: vec!["AGENT", "STATE", "BLOBS", "BYTES", "TIME", "WHY"],
        rows,
        complete: ended.iter().all(|(_, _, job)| job.as_ref().is_ok_and(|job| job["state"] == "done")),
    })
}

/// Begins on one agent and asks until it has ended; the last answer.
async fn follow(http: &Client, agent: &Base, path: &str, bar: &ProgressBar) -> Result<Value> {
    let begun = ask(http, agent, Method::POST, path, None).await?;
    let path = format!("/preheat?id={}", begun["id"]);
    loop {
        let mut jobs = ask(http, agent, Method::GET, &path, None).await?;
        let job = jobs
            .get_mut(0)
            .map(Value::take)
            .context("the agent has forgotten the job: was it started again?")?;
        bar.set_length(job["size"].as_u64().unwrap_or(0));
        bar.set_position(job["bytes"].as_u64().unwrap_or(0));
        if job["state"] != "running" {
            return Ok(job);
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

fn row(agent: &str, job: &Result<Value>) -> Vec<String> {
    let job = match job {
        Ok(job) => job,
        Err(error) => {
            let unknown = std::iter::repeat_n("-".to_owned(), 3);
            let begin = [agent.to_owned(), "failed".to_owned()].into_iter();
            return begin.chain(unknown).chain([format!("{error:#}")]).collect();
        }
    };
    let number = |key: &str| job[key].as_u64().unwrap_or(0);
    vec![
        agent.to_owned(),
        job["state"].as_str().unwrap_or("-").to_owned(),
        job["blobs"].as_array().map_or(0, Vec::len).to_string(),
        format!("{} of {}", bytes(number("bytes")), bytes(number("size"))),
        format!("{:.1} s", number("elapsed_ms") as f64 / 1000.0),
        job["why"].as_str().unwrap_or("").to_owned(),
    ]
}
