//! Those who are told: webhooks, the audit log and preheat notifications, through the whole server.

use std::path::Path;
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use shoal_oci::Digest;
use shoal_server::config::events::Endpoint;
use shoal_server::{App, Config};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::client::{Registry, TIMEOUT, config, content};
use crate::process::Server;

/// A receiver of webhooks: takes every post and hands its events on.
struct Sink {
    url: String,
    events: mpsc::UnboundedReceiver<Value>,
}

impl Sink {
    fn start(listener: TcpListener) -> Self {
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let (sender, events) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(take_posts(stream, sender.clone()));
            }
        });
        Self { url, events }
    }

    async fn next(&mut self) -> Value {
        let event = tokio::time::timeout(TIMEOUT, self.events.recv()).await;
        event.expect("no event arrived").unwrap()
    }

    /// The next events in few words.
    async fn take(&mut self, count: usize) -> Vec<String> {
        let mut taken = Vec::new();
        for _ in 0..count {
            let event = self.next().await;
            let target = &event["target"];
            let name = |key: &str| target[key].as_str().unwrap_or("-").to_owned();
            taken.push(format!(
                "{} {} {}",
                event["action"].as_str().unwrap(),
                name("repository"),
                name("tag")
            ));
        }
        taken
    }
}

/// One connection: requests with a stated length, each answered 200.
async fn take_posts(mut stream: TcpStream, events: mpsc::UnboundedSender<Value>) -> Option<()> {
    let mut bytes = Vec::new();
    loop {
        let head_len = loop {
            if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut bytes).await.ok()? == 0 {
                return None;
            }
        };
        let head = String::from_utf8_lossy(&bytes[..head_len]).to_ascii_lowercase();
        let len: usize = head.split("content-length: ").nth(1)?.lines().next()?.trim().parse().ok()?;
        while bytes.len() < head_len + len {
            if stream.read_buf(&mut bytes).await.ok()? == 0 {
                return None;
            }
        }
        let envelope: Value = serde_json::from_slice(&bytes[head_len..head_len + len]).unwrap();
        bytes.drain(..head_len + len);
        for event in envelope["events"].as_array().unwrap() {
            events.send(event.clone()).ok()?;
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.ok()?;
    }
}

fn told(dir: &Path, sink: &Sink) -> Config {
    let mut config = config(&dir.join("data"));
    let endpoint = Endpoint { name: "sink".into(), url: sink.url.clone(), ..Endpoint::default() };
    config.events.endpoints.push(endpoint);
    config.audit.file = Some(dir.join("audit.log"));
    config
}

fn audit_lines(dir: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(dir.join("audit.log")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_told_of_from_its_push_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = Sink::start(TcpListener::bind("127.0.0.1:0").await.unwrap());
    let app = App::start(&told(dir.path(), &sink)).await.unwrap();
    let registry = Registry::at(app.addresses().registry, "team/app");
    let layer = content(1, 100_000);
    let digest = registry.push_image("v1", &layer).await;
    assert_eq!(sink.take(2).await, ["push team/app -", "push team/app -"]);
    let pushed = sink.next().await;
    assert_eq!((&pushed["target"]["tag"], &pushed["target"]["digest"]), (&"v1".into(), &json!(digest)));
    let host = app.addresses().registry.to_string();
    assert_eq!(pushed["request"]["host"], host);
    assert_eq!(pushed["target"]["url"], format!("http://{host}/v2/team/app/manifests/{digest}"));
    registry.assert_image("v1", &layer).await;
    assert_eq!(sink.take(2).await, ["pull team/app v1", "pull team/app -"]);
    let other = Registry::at(app.addresses().registry, "team/other");
    let mount = format!("/blobs/uploads/?mount={}&from=team/app", Digest::sha256(&layer));
    let mounted = other.send(Method::POST, &mount, "", "").await;
    assert_eq!(mounted.status(), StatusCode::CREATED);
    let event = sink.next().await;
    assert_eq!((&event["action"], &event["target"]["fromRepository"]), (&"mount".into(), &"team/app".into()));
    assert_eq!(event["request"]["id"], mounted.headers()["x-request-id"].to_str().unwrap());
    for path in ["/manifests/v1".to_owned(), format!("/manifests/{digest}")] {
        assert_eq!(registry.send(Method::DELETE, &path, "", "").await.status(), StatusCode::ACCEPTED);
    }
    assert_eq!(sink.take(2).await, ["delete team/app v1", "delete team/app -"]);
    let lines = audit_lines(dir.path());
    let words: Vec<_> =
        lines.iter().map(|line| (line["action"].as_str().unwrap(), &line["status"])).collect();
    let (made, gone) = (Value::from(201), Value::from(202));
    assert_eq!(words[..4], [("push", &made), ("push", &made), ("push", &made), ("push", &made)]);
    assert_eq!(words[4..], [("delete", &gone), ("delete", &gone)]);
    assert_eq!((&lines[2]["reference"], &lines[2]["digest"]), (&"v1".into(), &json!(digest)));
    assert_eq!(lines[1]["bytes"], 100_000);
    assert_eq!(lines[3]["request"], event["request"]["id"]);
    app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_before_a_kill_is_delivered_after_it() {
    let dir = tempfile::tempdir().unwrap();
    // Nobody listens there until the server was killed.
    let addr = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let file = dir.path().join("server.yaml");
    let yaml = format!("events: {{endpoints: [{{name: sink, url: 'http://{addr}/hook', backoff: 50ms}}]}}\n");
    std::fs::write(&file, yaml).unwrap();
    let arguments = ["--config", file.to_str().unwrap()];
    let server = Server::start_with(dir.path(), &arguments);
    let registry = Registry::at(server.ready.registry, "team/app");
    registry.push_image("v1", b"layer").await;
    server.kill();
    let mut sink = Sink::start(TcpListener::bind(addr).await.unwrap());
    let server = Server::start_with(dir.path(), &arguments);
    let expected = ["push team/app -", "push team/app -", "push team/app v1"];
    assert_eq!(sink.take(3).await, expected);
    assert!(server.terminate());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_required_audit_log_stops_changes_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("audit.log");
    let mut config = config(&dir.path().join("data"));
    (config.audit.file, config.audit.required) = (Some(log.clone()), true);
    let app = App::start(&config).await.unwrap();
    let registry = Registry::at(app.addresses().registry, "team/app");
    registry.push_image("v1", b"layer").await;
    std::fs::remove_file(&log).unwrap();
    std::fs::create_dir(&log).unwrap();
    let push = format!("/blobs/uploads/?digest={}", Digest::sha256(b"x"));
    // The first finds out, the second is not even begun.
    for _ in 0..2 {
        let refused = registry.send(Method::POST, &push, "application/octet-stream", "x").await;
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(refused.headers().contains_key("retry-after"));
    }
    registry.assert_image("v1", b"layer").await;
    std::fs::remove_dir(&log).unwrap();
    let again = async {
        while registry.send(Method::POST, &push, "application/octet-stream", "x").await.status() != 201 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(TIMEOUT, again).await.expect("the log can be written again");
    let lost = audit_lines(dir.path()).iter().any(|line| line["action"] == "gap");
    assert!(lost, "the gap is told");
    app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn harbors_driver_finds_what_it_asks_for() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::start(&config(dir.path())).await.unwrap();
    let registry = Registry::at(app.addresses().registry, "library/app");
    let digest = registry.push_image("v1", b"layer").await;
    let root = format!("http://{}", app.addresses().registry);
    assert!(registry.http.get_bytes(&format!("{root}/health"), 64, TIMEOUT).await.is_ok());
    // As Go writes it, with the fields' names as they stand.
    let notify = async |digest: Digest| {
        let target = json!({"MediaType": "x/y", "Digest": digest, "Repository": "library/app", "Url": "", "Tag": "v1"});
        let event =
            json!({"Id": "1", "TimeStamp": "2026-01-01T00:00:00Z", "Action": "push", "Target": target});
        let body = json!({"Events": [event]}).to_string();
        let request = http::Request::post(format!("{root}/registry/notifications"))
            .header("content-type", "application/json")
            .body(body.into())
            .unwrap();
        registry.http.send(request, TIMEOUT).await.unwrap().status()
    };
    assert_eq!(notify(digest).await, StatusCode::OK);
    assert_eq!(notify(Digest::sha256(b"absent")).await, StatusCode::NOT_FOUND);
    let url = format!("http://{}/events", app.addresses().admin);
    let status: Value = registry.http.get_json(&url, TIMEOUT).await.unwrap();
    assert_eq!((&status["preheat"][0]["ready"], &status["preheat"][0]["missing"]), (&2.into(), &0.into()));
    assert!(status["webhooks"].is_null() && status["audit"].is_null());
    app.shutdown().await;
}
