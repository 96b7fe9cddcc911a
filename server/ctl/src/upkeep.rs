//! Collecting, scrubbing, and what lies in quarantine.

use std::time::Duration;

use anyhow::{Context, Result};
use clap::Subcommand;
use serde_json::Value;
use shoal_oci::Digest;

use crate::output::{Report, bytes};
use crate::server::{Server, TIMEOUT};

/// How long a collection may take before the command gives up waiting; the server goes on with it.
const COLLECT_TIME_MAX: Duration = Duration::from_secs(60 * 60);

/// How long the verification of one blob may take: a terabyte at 500 MB/s.
const SCRUB_ONE_TIME_MAX: Duration = Duration::from_secs(40 * 60);

/// What can be asked of the scrub.
#[derive(Debug, Subcommand)]
pub(crate) enum ScrubCommand {
    /// Begins a pass over all blobs
    Start,
    /// How far the pass under way is, or what the last one saw
    Status,
    /// Verifies one blob now
    Blob {
        /// Digest such as sha256:9f86d0…
        digest: Digest,
    },
}

/// Collects now, or only says what would go; `last` asks for the report of the last run instead.
pub(crate) async fn collect(server: &Server, dry_run: bool, last: bool) -> Result<Report> {
    let report = if last {
        server.get("/collect", TIMEOUT).await?
    } else {
        server.post(&format!("/collect?dry_run={dry_run}"), COLLECT_TIME_MAX).await?
    };
    if report.is_null() {
        let none = "nothing was collected since the server started";
        return Ok(Report {
            json: report,
            columns: vec!["WHAT"],
            rows: vec![vec![none.to_owned()]],
            complete: true,
        });
    }
    let faults = report["faults"]["count"].as_u64().unwrap_or(0);
    let rows = COLLECTED.iter().map(|(key, what, freed)| row(&report, key, what, *freed)).collect();
    Ok(Report { json: report, columns: vec!["WHAT", "COUNT", "BYTES", "FIRST"], rows, complete: faults == 0 })
}

/// Key in the report, what people call it, and whether the freed bytes belong to it.
const COLLECTED: [(&str, &str, bool); 6] = [
    ("tags", "tags expired", false),
    ("manifests", "untagged manifests", false),
    ("links", "unneeded links", false),
    ("blobs", "blobs freed", true),
    ("busy", "in use, left alone", false),
    ("faults", "faults, passed over", false),
];

fn row(report: &Value, key: &str, what: &str, freed: bool) -> Vec<String> {
    let named = &report[key];
    let count = named.as_u64().or_else(|| named["count"].as_u64()).unwrap_or(0);
    let size =
        if freed { report["bytes_freed"].as_u64().map_or_else(String::new, bytes) } else { String::new() };
    vec![what.to_owned(), count.to_string(), size, first(&named["first"][0])]
}

/// The first thing of a list in a few words.
fn first(item: &Value) -> String {
    let text = |key: &str| item[key].as_str().unwrap_or_default();
    match item {
        Value::String(fault) => fault.clone(),
        Value::Object(_) if item["tag"].is_string() => format!("{}:{}", text("repository"), text("tag")),
        Value::Object(_) if item["repository"].is_string() => {
            format!("{}@{}", text("repository"), text("digest"))
        }
        Value::Object(_) => text("digest").to_owned(),
        _ => String::new(),
    }
}

/// Starts, watches, or verifies one blob.
pub(crate) async fn scrub(server: &Server, command: &ScrubCommand) -> Result<Report> {
    let report = match command {
        ScrubCommand::Start => server.post("/scrub", TIMEOUT).await?,
        ScrubCommand::Status => server.get("/scrub", TIMEOUT).await?,
        ScrubCommand::Blob { digest } => {
            server.post(&format!("/scrub?digest={digest}"), SCRUB_ONE_TIME_MAX).await?
        }
    };
    let number = |key: &str| report[key].as_u64().unwrap_or(0);
    let counted = |key: &str| report[key]["count"].as_u64().unwrap_or(0);
    let state = match (report["finished"].as_bool(), number("started")) {
        (_, 0) => "none since the start",
        (Some(true), _) => "finished",
        _ => "under way",
    };
    let row = vec![
        state.to_owned(),
        number("blobs").to_string(),
        bytes(number("bytes")),
        number("restored").to_string(),
        counted("damaged").to_string(),
        counted("faults").to_string(),
    ];
    let well = counted("damaged") == 0 && counted("faults") == 0;
    let columns = vec!["SCRUB", "BLOBS", "READ", "RESTORED", "DAMAGED", "FAULTS"];
    Ok(Report { json: report, columns, rows: vec![row], complete: well })
}

/// What can be asked of the quarantine.
#[derive(Debug, Subcommand)]
pub(crate) enum QuarantineCommand {
    /// Damaged blobs that were put away; fails when there are any
    List,
    /// Puts a blob back, if it reads right after all
    Release {
        /// Digest such as sha256:9f86d0…
        digest: Digest,
    },
    /// Throws a damaged blob away for good
    Forget {
        /// Digest such as sha256:9f86d0…
        digest: Digest,
    },
}

/// Lists damaged blobs that were put away, or decides about one.
pub(crate) async fn quarantine(server: &Server, command: &QuarantineCommand) -> Result<Report> {
    let (path, done) = match command {
        QuarantineCommand::List => return quarantined(server).await,
        QuarantineCommand::Release { digest } => (format!("/quarantine?release={digest}"), "released"),
        QuarantineCommand::Forget { digest } => (format!("/quarantine?forget={digest}"), "forgotten"),
    };
    let answer = server.post(&path, SCRUB_ONE_TIME_MAX).await?;
    let rows = vec![vec![answer["digest"].as_str().unwrap_or("-").to_owned(), done.to_owned()]];
    Ok(Report { json: answer, columns: vec!["DIGEST", "NOW"], rows, complete: true })
}

async fn quarantined(server: &Server) -> Result<Report> {
    let listed = server.get("/quarantine", TIMEOUT).await?;
    let blobs = listed["blobs"].as_array().context("the server's answer has no list of blobs")?;
    let row = |blob: &Value| {
        let digest = blob["digest"].as_str().unwrap_or("-").to_owned();
        vec![digest, blob["size"].as_u64().map_or_else(|| "-".to_owned(), bytes)]
    };
    let rows: Vec<_> = blobs.iter().map(row).collect();
    let complete = rows.is_empty();
    Ok(Report { json: listed, columns: vec!["DIGEST", "SIZE"], rows, complete })
}
