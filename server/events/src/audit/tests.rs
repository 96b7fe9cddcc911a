//! The audit log in temporary files, with writers that break off and files that move.

use std::path::Path;

use shoal_api::audit::AuditAction;
use shoal_api::caller::{Caller, RequestId};

use super::*;

fn record(reference: &str) -> AuditRecord {
    AuditRecord {
        caller: Caller {
            request: RequestId(1),
            address: ([10, 0, 0, 9], 4711).into(),
            host: "registry.example.com".into(),
            method: "PUT".into(),
            user_agent: "docker/27".into(),
            actor: "ci".into(),
            secure: false,
        },
        action: AuditAction::Push,
        repository: Some("team/app".into()),
        reference: Some(reference.into()),
        digest: None,
        bytes: 12,
        status: 201,
        denied: None,
        duration: Duration::from_micros(1_234),
    }
}

fn open(path: &Path, required: bool) -> AuditLog {
    AuditLog::open(AuditOptions { file: path.to_owned(), required }, EventsMetrics::default()).unwrap()
}

fn lines(path: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "{text}");
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[tokio::test]
async fn a_record_is_in_the_file_when_the_answer_goes_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let log = open(&path, true);
    log.write(record("v1")).await.unwrap();
    let written = &lines(&path)[0];
    for (key, value) in
        [("actor", "ci"), ("address", "10.0.0.9:4711"), ("action", "push"), ("reference", "v1")]
    {
        assert_eq!(written[key], value, "{written}");
    }
    assert_eq!((&written["status"], &written["duration_ms"]), (&201.into(), &1.234.into()));
    assert!(written.get("denied").is_none());
}

#[tokio::test]
async fn nothing_that_a_client_sent_leaves_its_line_or_its_alphabet() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let log = open(&path, false);
    let hostile = "a\n{\"status\":200}\r\u{1b}[2J\u{7f}\u{85}\u{202e}\u{2028}\u{1f600}\"\\";
    let mut dirty = record(hostile);
    dirty.caller.user_agent = "x".repeat(100_000);
    log.write(dirty).await.unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 1);
    assert!(text.trim_end().bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{text}");
    assert!(text.len() < 2_000);
    assert_eq!(lines(&path)[0]["reference"], hostile);
}

#[tokio::test]
async fn a_rotated_file_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    let (path, old) = (dir.path().join("audit.log"), dir.path().join("audit.log.1"));
    let log = open(&path, false);
    log.write(record("v1")).await.unwrap();
    std::fs::rename(&path, &old).unwrap();
    log.write(record("v2")).await.unwrap();
    std::fs::remove_file(&path).unwrap();
    log.write(record("v3")).await.unwrap();
    assert_eq!((&lines(&old)[0]["reference"], &lines(&path)[0]["reference"]), (&"v1".into(), &"v3".into()));
}

#[tokio::test]
async fn a_line_that_was_cut_off_does_not_swallow_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    std::fs::write(&path, "{\"status\":201}\n{\"sta").unwrap();
    open(&path, false).write(record("v1")).await.unwrap();
    assert_eq!(lines(&path)[1]["reference"], "v1");
}

/// A directory in the file's place stands for a disk that refuses writes.
fn break_file(path: &Path) {
    std::fs::remove_file(path).unwrap();
    std::fs::create_dir(path).unwrap();
}

#[tokio::test]
async fn without_a_file_changes_go_on_and_the_gap_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let log = open(&path, false);
    break_file(&path);
    for _ in 0..3 {
        log.write(record("lost")).await.unwrap();
    }
    assert!(log.admit().is_ok());
    assert_eq!((log.status().lost, log.status().writable), (3, false));
    std::fs::remove_dir(&path).unwrap();
    log.write(record("v1")).await.unwrap();
    let written = lines(&path);
    assert_eq!((&written[0]["lost"], &written[1]["reference"]), (&3.into(), &"v1".into()));
    assert!(log.status().writable);
}

#[tokio::test]
async fn a_required_log_refuses_changes_until_it_can_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let log = open(&path, true);
    log.admit().unwrap();
    break_file(&path);
    assert_eq!(log.write(record("lost")).await, Err(AuditUnavailable));
    assert_eq!(log.admit(), Err(AuditUnavailable));
    std::fs::remove_dir(&path).unwrap();
    // The thread tries by itself: with changes refused there is no record to try with.
    while log.admit().is_err() {
        tokio::task::yield_now().await;
    }
    assert_eq!(lines(&path)[0]["lost"], 1);
}

#[tokio::test]
async fn records_that_come_together_are_all_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let log = open(&path, true);
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..500 {
        let log = log.clone();
        tasks.spawn(async move { log.write(record(&format!("v{number}"))).await });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap().unwrap();
    }
    assert_eq!(lines(&path).len(), 500);
}

#[test]
fn a_file_that_cannot_be_made_is_an_error_with_its_name() {
    let missing = Path::new("/nonexistent/audit.log").to_owned();
    let options = AuditOptions { file: missing, required: false };
    let error = AuditLog::open(options, EventsMetrics::default()).err().unwrap().to_string();
    assert!(error.contains("/nonexistent/audit.log") && error.contains("directory"), "{error}");
}
