//! Collection, retention, scrub and quarantine of a running server, asked for over its operator's port.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{Method, Request, StatusCode};
use serde_json::Value;
use shoal_http::{Body, Client};
use shoal_oci::Digest;

use crate::client::{Registry, TIMEOUT, content};
use crate::process::Server;

async fn ask(server: &Server, method: Method, path: &str) -> (StatusCode, Value) {
    let url = format!("http://{}{path}", server.ready.admin);
    let request = Request::builder().method(method).uri(url).body(Body::empty()).unwrap();
    let answer = Client::default().send(request, TIMEOUT).await.unwrap();
    let status = answer.status();
    let bytes = answer.into_body().collect(1 << 20).await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap())
}

fn configured(dir: &Path, text: &str) -> Server {
    let file = dir.join("server.yaml");
    std::fs::write(&file, text).unwrap();
    Server::start_with(dir, &["--config", file.to_str().unwrap()])
}

/// Collects until `enough` says so: what is younger than the grace of a second stays at first.
async fn collect_until(server: &Server, enough: impl Fn(&Value) -> bool) -> Value {
    let mut total = 0;
    for _ in 0..100 {
        let (status, report) = ask(server, Method::POST, "/collect").await;
        assert_eq!((status, report["faults"]["count"].as_u64()), (StatusCode::OK, Some(0)), "{report}");
        total += report["blobs"]["count"].as_u64().unwrap();
        if enough(&report) {
            return report;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the collector removed only {total} blobs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_image_is_collected_and_the_others_stay() {
    let dir = tempfile::tempdir().unwrap();
    let server = configured(dir.path(), "collect: {every: 0, grace: 1s}\n");
    let registry = Registry::at(server.ready.registry, "team/app");
    let (kept, gone) = (content(21, 300_000), content(22, 200_000));
    registry.push_image("kept", &kept).await;
    let digest = registry.push_image("gone", &gone).await;
    let deleted = registry.send(Method::DELETE, &format!("/manifests/{digest}"), "", "").await;
    assert_eq!(deleted.status(), StatusCode::ACCEPTED);
    let (status, dry) = ask(&server, Method::POST, "/collect?dry_run=true").await;
    assert_eq!((status, dry["dry_run"].as_bool()), (StatusCode::OK, Some(true)));
    let report = collect_until(&server, |report| report["blobs"]["count"] == 1).await;
    assert_eq!(report["bytes_freed"], 200_000, "{report}");
    assert_eq!(report["blobs"]["first"][0]["digest"], Digest::sha256(&gone).to_string());
    registry.assert_image("kept", &kept).await;
    let (status, _) = registry.get(&format!("/blobs/{}", Digest::sha256(&gone))).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(ask(&server, Method::GET, "/collect").await.1["bytes_freed"], 200_000);
    // What went can come back.
    registry.push_image("again", &gone).await;
    registry.assert_image("again", &gone).await;
    assert!(server.terminate());
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_keeps_the_latest_and_what_no_rule_is_about() {
    let dir = tempfile::tempdir().unwrap();
    let rules = "retention:\n  - {repositories: ['ci/**'], tags: ['pr-*'], keep_last: 1}\n";
    let server = configured(dir.path(), &format!("collect: {{every: 0, grace: 1s}}\n{rules}"));
    let (ci, prod) =
        (Registry::at(server.ready.registry, "ci/app"), Registry::at(server.ready.registry, "prod/app"));
    for (number, tag) in ["pr-1", "pr-2", "main"].iter().enumerate() {
        ci.push_image(tag, &content(30 + number as u64, 1000)).await;
        prod.push_image(tag, &content(40 + number as u64, 1000)).await;
    }
    let (_, dry) = ask(&server, Method::POST, "/collect?dry_run=true").await;
    assert_eq!(dry["tags"]["first"][0]["tag"], "pr-1", "{dry}");
    let (_, report) = ask(&server, Method::POST, "/collect").await;
    assert_eq!(report["tags"]["count"], 1, "{report}");
    assert_eq!(ci.get("/tags/list").await.1, r#"{"name":"ci/app","tags":["main","pr-2"]}"#);
    assert_eq!(prod.get("/tags/list").await.1, r#"{"name":"prod/app","tags":["main","pr-1","pr-2"]}"#);
    assert!(server.terminate());
}

fn file_of_size(directory: &Path, size: u64) -> Option<PathBuf> {
    std::fs::read_dir(directory).unwrap().find_map(|entry| {
        let entry = entry.unwrap();
        let metadata = entry.metadata().unwrap();
        if metadata.is_dir() {
            file_of_size(&entry.path(), size)
        } else {
            (metadata.len() == size).then(|| entry.path())
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_blob_goes_into_quarantine_and_a_push_brings_it_back() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let registry = Registry::at(server.ready.registry, "team/app");
    let layer = content(23, 500_123);
    registry.push_image("v1", &layer).await;
    registry.assert_image("v1", &layer).await;
    let path = file_of_size(&dir.path().join("data/blobs"), layer.len() as u64).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&[!layer[300_000]], 300_000).unwrap();
    let digest = Digest::sha256(&layer);
    let (status, report) = ask(&server, Method::POST, &format!("/scrub?digest={digest}")).await;
    assert_eq!((status, &report["damaged"]["first"][0]["outcome"]), (StatusCode::OK, &"quarantined".into()));
    assert_eq!(registry.get(&format!("/blobs/{digest}")).await.0, StatusCode::NOT_FOUND);
    let (_, listed) = ask(&server, Method::GET, "/quarantine").await;
    assert_eq!(listed["blobs"][0]["digest"], digest.to_string());
    let (status, _) = ask(&server, Method::POST, &format!("/quarantine?release={digest}")).await;
    assert_eq!(status, StatusCode::CONFLICT, "it is still damaged");
    registry.push_blob(&layer).await;
    registry.assert_image("v1", &layer).await;
    let (_, listed) = ask(&server, Method::GET, "/quarantine").await;
    assert_eq!(listed["blobs"], serde_json::json!([]));
    assert!(server.terminate());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_scrub_counts_what_it_has_seen() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let registry = Registry::at(server.ready.registry, "team/app");
    registry.push_image("v1", &content(24, 200_000)).await;
    // A first pass may be under way since the start; asking again is refused until it has ended.
    let started = async {
        while ask(&server, Method::POST, "/scrub").await.0 != StatusCode::ACCEPTED {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(TIMEOUT, started).await.unwrap();
    let finished = async {
        loop {
            let report = ask(&server, Method::GET, "/scrub").await.1;
            if report["finished"] == true && report["blobs"] != 0 {
                return report;
            }
            tokio::task::yield_now().await;
        }
    };
    let report = tokio::time::timeout(TIMEOUT, finished).await.unwrap();
    assert_eq!((&report["blobs"], &report["bytes"]), (&2.into(), &200_002.into()), "{report}");
    assert_eq!(report["damaged"]["count"], 0);
    assert!(server.terminate());
}
