//! What agents are told to do, and what they tell of pulls: each verb is one request to the admin port of each agent.

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};
use shoal_api::Base;
use shoal_http::{Body, Client};

use crate::output::{Report, bytes};
use crate::server::TIMEOUT;

/// Longest answer in bytes that is read: a thousand records of pulls.
const ANSWER_LEN_MAX: usize = 16 << 20;

/// Which agents.
#[derive(Debug, Args)]
pub(crate) struct Agents {
    /// URLs of the admin ports of agents, separated by commas
    #[arg(
        long = "agent",
        env = "SHOALCTL_AGENTS",
        global = true,
        value_delimiter = ',',
        default_value = "http://127.0.0.1:16002",
        value_name = "URL"
    )]
    pub(crate) urls: Vec<String>,
}

/// Looks at agents and has them do things
#[derive(Debug, Args)]
pub(crate) struct AgentCommand {
    #[command(flatten)]
    agents: Agents,

    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Why pulls went as they did: the newest, or those of a digest or a trace id
    Why {
        /// Digest such as sha256:9f86d0…, or trace id of 32 hexadecimal digits
        what: Option<String>,
        /// How many of them
        #[arg(short = 'n', long, default_value_t = 20)]
        count: usize,
    },
    /// What is pinned
    Pins,
    /// Keeps an image or a blob from being evicted; it need not be there yet
    Pin(Meant),
    /// Lets a pinned image or blob be evicted again
    Unpin(Meant),
    /// Removes an image or a blob from the cache, unless it is pinned
    Evict(Meant),
    /// Has agents give nothing to others any more, and be not ready; pulls of their own machines go on
    Drain {
        /// Ends it
        #[arg(long)]
        end: bool,
    },
    /// Shows limits in bytes per second, or sets them until the next start: those that are not named are lifted
    Limits(Limits),
}

/// An image or a blob.
#[derive(Debug, Args)]
struct Meant {
    /// Image such as team/app:v1, or digest of a blob
    what: String,
    /// Platform of an image's index such as linux/arm64, or `all`; that of the agent's machine by default
    #[arg(long)]
    platform: Option<String>,
}

#[derive(Debug, Args)]
struct Limits {
    /// Pieces sent to others, such as 100MB/s
    #[arg(long)]
    upload: Option<String>,
    /// Pieces received
    #[arg(long)]
    download: Option<String>,
    /// Of these, what a client waits for
    #[arg(long)]
    foreground: Option<String>,
    /// Of these, what nobody waits for
    #[arg(long)]
    background: Option<String>,
    /// Of these, what is preheated
    #[arg(long)]
    prefetch: Option<String>,
    /// Lifts all limits
    #[arg(long, conflicts_with_all = ["upload", "download", "foreground", "background", "prefetch"])]
    none: bool,
}

/// What one agent answered.
struct Answer {
    agent: String,
    value: Value,
}

pub(crate) async fn run(http: &Client, command: &AgentCommand) -> Result<Report> {
    let urls = &command.agents.urls;
    let each = |method, path: String, body| async move { ask_all(http, urls, method, &path, body).await };
    match &command.verb {
        Verb::Why { what, count } => {
            Ok(why(&each(Method::GET, why_path(what.as_deref(), *count), None).await?))
        }
        Verb::Pins => Ok(pins(&each(Method::GET, "/pins".to_owned(), None).await?)),
        Verb::Pin(meant) => {
            Ok(plain(&each(Method::POST, meant.path("/pins"), None).await?, &["pinned", "blobs"]))
        }
        Verb::Unpin(meant) => {
            Ok(plain(&each(Method::DELETE, meant.path("/pins"), None).await?, &["unpinned"]))
        }
        Verb::Evict(meant) => {
            let answers = each(Method::POST, meant.path("/evict"), None).await?;
            Ok(plain(&answers, &["evicted", "bytes", "pinned"]))
        }
        Verb::Drain { end } => {
            let method = if *end { Method::DELETE } else { Method::POST };
            Ok(plain(&each(method, "/drain".to_owned(), None).await?, &["drained"]))
        }
        Verb::Limits(limits) => {
            let keys = ["upload", "download", "foreground", "background", "prefetch"];
            let (method, body) = limits.request();
            Ok(plain(&each(method, "/limits".to_owned(), body).await?, &keys))
        }
    }
}

impl Meant {
    fn path(&self, path: &str) -> String {
        let mut pairs = vec![(if is_digest(&self.what) { "digest" } else { "image" }, self.what.as_str())];
        pairs.extend(self.platform.as_deref().map(|platform| ("platform", platform)));
        format!("{path}?{}", shoal_http::query::encode(pairs))
    }
}

fn is_digest(text: &str) -> bool {
    text.parse::<shoal_oci::Digest>().is_ok()
}

impl Limits {
    fn request(&self) -> (Method, Option<Value>) {
        let named = [
            ("upload", &self.upload),
            ("download", &self.download),
            ("foreground", &self.foreground),
            ("background", &self.background),
            ("prefetch", &self.prefetch),
        ];
        let named =
            named.into_iter().filter_map(|(key, value)| Some((key.to_owned(), json!(value.as_ref()?))));
        let body: serde_json::Map<String, Value> = named.collect();
        if body.is_empty() && !self.none { (Method::GET, None) } else { (Method::PUT, Some(body.into())) }
    }
}

fn why_path(what: Option<&str>, count: usize) -> String {
    let count = count.to_string();
    let mut pairs = vec![("n", count.as_str())];
    pairs.extend(what.map(|what| (if is_digest(what) { "digest" } else { "trace" }, what)));
    format!("/why?{}", shoal_http::query::encode(pairs))
}

/// Asks every agent; one that does not answer, or refuses, ends the command with its reason.
async fn ask_all(
    http: &Client,
    urls: &[String],
    method: Method,
    path: &str,
    body: Option<Value>,
) -> Result<Vec<Answer>> {
    let mut answers = Vec::new();
    for url in urls {
        let base = Base::parse(url).context("--agent")?;
        let value = ask(http, &base, method.clone(), path, body.as_ref()).await?;
        answers.push(Answer { agent: base.to_string(), value });
    }
    Ok(answers)
}

/// One request to one agent.
pub(crate) async fn ask(
    http: &Client,
    agent: &Base,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<Value> {
    let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
    let request = Request::builder().method(method).uri(agent.url(path)).body(body)?;
    let answer = http.send(request, TIMEOUT).await;
    let not_asked =
        || format!("cannot ask the agent at {agent}; --agent is the URL of its admin port (usually 16002)");
    let answer = answer.with_context(not_asked)?;
    let status = answer.status();
    let bytes = answer.into_body().collect(ANSWER_LEN_MAX).await?;
    let value: Value = serde_json::from_slice(&bytes).with_context(not_asked)?;
    if matches!(status, StatusCode::OK | StatusCode::ACCEPTED) {
        return Ok(value);
    }
    bail!("the agent at {agent} refuses: {}", value["error"].as_str().unwrap_or(status.as_str()))
}

fn all(answers: &[Answer]) -> Value {
    Value::from_iter(answers.iter().map(|answer| json!({ "agent": answer.agent, "answer": answer.value })))
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

/// A row for each agent.
fn plain(answers: &[Answer], keys: &[&'static str]) -> Report {
    let row = |answer: &Answer| {
        let values = keys.iter().map(|key| text(&answer.value[*key]));
        std::iter::once(answer.agent.clone()).chain(values).collect()
    };
    let columns = std::iter::once("agent").chain(keys.iter().copied()).collect();
    Report { json: all(answers), columns, rows: answers.iter().map(row).collect(), complete: true }
}

fn pins(answers: &[Answer]) -> Report {
    let mut rows = Vec::new();
    for answer in answers {
        for (name, blobs) in answer.value.as_object().into_iter().flatten() {
            let count = blobs.as_array().map_or(0, Vec::len);
            rows.push(vec![answer.agent.clone(), name.clone(), count.to_string()]);
        }
    }
    Report { json: all(answers), columns: vec!["AGENT", "PINNED", "BLOBS"], rows, complete: true }
}

/// A row for each pull, and one for whatever is worth telling of it.
fn why(answers: &[Answer]) -> Report {
    let mut rows = Vec::new();
    for record in answers.iter().flat_map(|answer| answer.value.as_array().into_iter().flatten()) {
        let millis = |key: &str| record[key].as_u64().map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms"));
        rows.push(vec![
            text(&record["trace"]),
            text(&record["request"]),
            text(&record["client"]),
            format!("{} {}", text(&record["status"]), text(&record["outcome"])),
            bytes(record["sent_bytes"].as_u64().unwrap_or(0)),
            millis("first_byte_ms"),
            millis("total_ms"),
            sources(record),
        ]);
        for event in record["events"].as_array().into_iter().flatten() {
            let told = format!("  at {} ms: {}", event["at_ms"], text(&event["what"]));
            rows.push(
                [String::new(), told].into_iter().chain(std::iter::repeat_n(String::new(), 6)).collect(),
            );
        }
    }
    let columns = vec!["TRACE", "REQUEST", "CLIENT", "OUTCOME", "SENT", "FIRST BYTE", "TOTAL", "FROM"];
    Report { json: all(answers), columns, rows, complete: true }
}

/// How much came from where, the largest first.
fn sources(record: &Value) -> String {
    let mut sums: Vec<(String, u64)> = Vec::new();
    for range in record["sources"].as_array().into_iter().flatten() {
        let len = range["end"].as_u64().unwrap_or(0).saturating_sub(range["start"].as_u64().unwrap_or(0));
        let source = text(&range["source"]);
        match sums.iter_mut().find(|(known, _)| *known == source) {
            Some((_, sum)) => *sum += len,
            None => sums.push((source, len)),
        }
    }
    sums.sort_by_key(|(_, sum)| std::cmp::Reverse(*sum));
    let shown = sums.iter().map(|(source, sum)| format!("{source} {}", bytes(*sum)));
    shown.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_meant_is_told_from_how_it_is_written() {
        let digest = shoal_oci::Digest::sha256(b"x").to_string();
        let meant = |what: &str| Meant { what: what.to_owned(), platform: None };
        assert_eq!(meant("team/app:v1").path("/pins"), "/pins?image=team%2Fapp%3Av1");
        assert!(meant(&digest).path("/pins").starts_with("/pins?digest=sha256"));
        assert!(why_path(Some(&digest), 5).contains("digest="));
        assert_eq!(why_path(Some("4bf92f"), 5), "/why?n=5&trace=4bf92f");
        assert_eq!(why_path(None, 20), "/why?n=20");
    }

    #[test]
    fn a_pull_is_a_line_with_its_sources_and_a_line_for_each_event() {
        let record = json!({
            "trace": "t", "request": "GET /v2/x", "client": "c", "status": 200, "outcome": "served",
            "sent_bytes": 3072, "first_byte_ms": 4, "total_ms": 9,
            "sources": [
                {"start": 0, "end": 1024, "source": "cache"}, {"start": 1024, "end": 3000, "source": "peer"},
                {"start": 3000, "end": 3072, "source": "cache"},
            ],
            "events": [{"at_ms": 3, "what": "waited"}],
        });
        let report = why(&[Answer { agent: "a".to_owned(), value: json!([record]) }]);
        let table = report.render(crate::cli::Output::Table);
        assert!(
            table.contains("peer 1.9 KiB, cache 1.1 KiB") && table.contains("at 3 ms: waited"),
            "{table}"
        );
    }
}
