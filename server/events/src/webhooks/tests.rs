//! Webhooks over a real queue, to endpoints that accept, refuse, stall and come back.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use serde_json::Value;
use shoal_api::caller::RequestId;
use shoal_api::events::Subject;
use shoal_http::{Body, Handler, Limits, Listener, Request, Response};
use shoal_metadata::{Catalog, Embedded};
use shoal_oci::Digest;
use tokio::sync::Notify;

use super::*;

/// How long anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A receiver of webhooks: gives the answers that it was told to, then accepts, and keeps what it accepted.
#[derive(Default)]
struct Sink {
    answers: Mutex<VecDeque<StatusCode>>,
    accepted: Mutex<Vec<Value>>,
    heads: Mutex<Vec<http::request::Parts>>,
    posts: Notify,
}

#[async_trait]
impl Handler for Sink {
    async fn handle(&self, request: Request, _: SocketAddr) -> Response {
        let (head, body) = request.into_parts();
        let body = body.collect(1 << 20).await.unwrap();
        let status = self.answers.lock().unwrap().pop_front().unwrap_or(StatusCode::OK);
        if status.is_success() {
            let envelope: Value = serde_json::from_slice(&body).unwrap();
            self.accepted.lock().unwrap().extend(envelope["events"].as_array().unwrap().iter().cloned());
        }
        self.heads.lock().unwrap().push(head);
        self.posts.notify_one();
        http::Response::builder().status(status).body(Body::empty()).unwrap()
    }
}

impl Sink {
    async fn start(answers: &[StatusCode]) -> (Arc<Self>, String, Shutdown) {
        let sink =
            Arc::new(Self { answers: Mutex::new(answers.iter().copied().collect()), ..Self::default() });
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr());
        let shutdown = Shutdown::new();
        let handler = Arc::clone(&sink) as Arc<dyn Handler>;
        tokio::spawn(listener.serve(handler, Limits::default(), shutdown.clone()));
        (sink, url, shutdown)
    }

    /// Waits until `count` events were accepted, and returns the digests' order of pushing.
    async fn until(&self, count: usize) -> Vec<String> {
        let waiting = async {
            while self.accepted.lock().unwrap().len() < count {
                self.posts.notified().await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("the events did not arrive");
        let accepted = self.accepted.lock().unwrap();
        accepted.iter().map(|event| event["target"]["repository"].as_str().unwrap().to_owned()).collect()
    }
}

fn endpoint(name: &str, url: &str) -> EndpointOptions {
    EndpointOptions {
        name: name.into(),
        url: url.into(),
        headers: vec![],
        timeout: Duration::from_secs(5),
        threshold: 2,
        backoff: Duration::from_millis(1),
        backoff_max: Duration::from_millis(20),
        batch: 1,
        filter: Filter::default(),
        ca: None,
    }
}

/// The queue in a directory, and webhooks over it.
struct World {
    engine: Arc<Embedded>,
    webhooks: Webhooks,
    tasks: JoinSet<()>,
    shutdown: Shutdown,
}

impl World {
    async fn start(dir: &Path, endpoints: Vec<EndpointOptions>) -> Self {
        let engine = Arc::new(Embedded::open(&dir.join("metadata")).unwrap());
        let options = WebhookOptions {
            endpoints,
            url: None,
            include_references: false,
            source: "test".into(),
            positions: dir.join("webhooks.json"),
        };
        let shutdown = Shutdown::new();
        let outbox = Arc::clone(&engine) as Arc<dyn Outbox>;
        let started = Webhooks::start(options, outbox, EventsMetrics::default(), &shutdown).await;
        let (webhooks, tasks) = started.unwrap();
        Self { engine, webhooks, tasks, shutdown }
    }

    /// A push into the repository `name`, with its event.
    async fn push(&self, name: &str) {
        let payloads = self.webhooks.payloads(event(Action::Push, name), &caller());
        let repository = name.parse().unwrap();
        self.engine.link_blob(&repository, &Digest::sha256(b"x"), 1, payloads).await.unwrap();
    }

    async fn stop(mut self) {
        self.shutdown.trigger();
        while self.tasks.join_next().await.is_some() {}
    }

    async fn waiting(&self) -> usize {
        self.engine.outbox_after(0, 1000).await.unwrap().len()
    }

    async fn until_empty(&self) {
        let start = tokio::time::Instant::now();
        while self.waiting().await > 0 {
            assert!(start.elapsed() < PATIENCE, "delivered events stay in the queue");
            tokio::task::yield_now().await;
        }
    }
}

fn event(action: Action, repository: &str) -> Event {
    let subject = Subject::Blob { digest: Digest::sha256(b"x"), size: 1, from: None };
    Event { action, repository: repository.parse().unwrap(), subject }
}

fn caller() -> Caller {
    Caller {
        request: RequestId(1),
        address: ([127, 0, 0, 1], 1).into(),
        host: "localhost".into(),
        method: "PUT".into(),
        user_agent: "test".into(),
        actor: String::new(),
        secure: false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_arrive_in_order_and_leave_the_queue() {
    let dir = tempfile::tempdir().unwrap();
    let (sink, url, _serving) = Sink::start(&[]).await;
    let mut options = endpoint("one", &url);
    let (name, value) = (http::header::AUTHORIZATION, http::HeaderValue::from_static("Bearer s3cret"));
    options.headers = vec![Header { name, value }];
    let world = World::start(dir.path(), vec![options]).await;
    for name in ["a", "b", "c"] {
        world.push(name).await;
    }
    assert_eq!(sink.until(3).await, ["a", "b", "c"]);
    world.until_empty().await;
    let head = sink.heads.lock().unwrap().remove(0);
    assert_eq!(head.headers["content-type"], "application/vnd.docker.distribution.events.v2+json");
    assert_eq!(
        (head.uri.path(), &head.headers["authorization"]),
        ("/hook", &"Bearer s3cret".parse().unwrap())
    );
    assert_eq!(sink.heads.lock().unwrap().len(), 2, "one event in each post");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_repeated_until_it_is_accepted_and_nothing_overtakes_it() {
    let dir = tempfile::tempdir().unwrap();
    let refusals = [500, 503, 404, 302, 429].map(|status| StatusCode::from_u16(status).unwrap());
    let (sink, url, _serving) = Sink::start(&refusals).await;
    let world = World::start(dir.path(), vec![endpoint("one", &url)]).await;
    world.push("a").await;
    world.push("b").await;
    assert_eq!(sink.until(2).await, ["a", "b"]);
    assert_eq!(sink.heads.lock().unwrap().len(), 7);
    // The sink knows before the courier does.
    world.until_empty().await;
    let status = world.webhooks.status().endpoints.remove(0);
    assert_eq!((status.delivered, status.failures, status.error), (2, 0, None));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_down_holds_up_nobody_and_gets_everything_later() {
    let dir = tempfile::tempdir().unwrap();
    let (sink, url, _serving) = Sink::start(&[]).await;
    // A port where nobody listens.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let down = format!("http://{}/hook", free.local_addr().unwrap());
    drop(free);
    let world = World::start(dir.path(), vec![endpoint("up", &url), endpoint("down", &down)]).await;
    world.push("a").await;
    world.push("b").await;
    assert_eq!(sink.until(2).await, ["a", "b"]);
    assert_eq!(world.waiting().await, 2, "kept for the other");
    world.stop().await;
    // The other comes back elsewhere, after a restart of ours.
    let (late, url_late, _serving) = Sink::start(&[]).await;
    let world = World::start(dir.path(), vec![endpoint("up", &url), endpoint("down", &url_late)]).await;
    assert_eq!(late.until(2).await, ["a", "b"]);
    world.push("c").await;
    assert_eq!(late.until(3).await, ["a", "b", "c"]);
    assert_eq!(sink.until(3).await, ["a", "b", "c"], "what it had is not told again");
    world.until_empty().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_endpoint_is_told_what_happens_from_now_on() {
    let dir = tempfile::tempdir().unwrap();
    let (sink, url, _serving) = Sink::start(&[]).await;
    let down = endpoint("down", "http://127.0.0.1:1/");
    let world = World::start(dir.path(), vec![down.clone()]).await;
    world.push("a").await;
    world.stop().await;
    let world = World::start(dir.path(), vec![down, endpoint("new", &url)]).await;
    world.push("b").await;
    assert_eq!(sink.until(1).await, ["b"]);
    world.stop().await;
    // Without the one that is down there is nobody left to wait for.
    let world = World::start(dir.path(), vec![endpoint("new", &url)]).await;
    world.until_empty().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_positions_repeat_and_never_skip() {
    let dir = tempfile::tempdir().unwrap();
    let (sink, url, _serving) = Sink::start(&[]).await;
    let world = World::start(dir.path(), vec![endpoint("one", "http://127.0.0.1:1/")]).await;
    world.push("a").await;
    world.stop().await;
    std::fs::write(dir.path().join("webhooks.json"), "{\"posi").unwrap();
    let world = World::start(dir.path(), vec![endpoint("one", &url)]).await;
    assert_eq!(sink.until(1).await, ["a"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_in_a_queue_that_was_restored_from_before_are_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let (sink, url, _serving) = Sink::start(&[]).await;
    let world = World::start(dir.path(), vec![endpoint("one", &url)]).await;
    for name in ["a", "b", "c"] {
        world.push(name).await;
    }
    sink.until(3).await;
    world.until_empty().await;
    world.stop().await;
    std::fs::remove_dir_all(dir.path().join("metadata")).unwrap();
    let world = World::start(dir.path(), vec![endpoint("one", &url)]).await;
    world.push("d").await;
    assert_eq!(sink.until(4).await[3], "d");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_what_they_do_not_want_and_it_is_not_even_queued() {
    let dir = tempfile::tempdir().unwrap();
    let (sink, url, _serving) = Sink::start(&[]).await;
    let mut options = endpoint("one", &url);
    options.filter.ignored_actions = vec!["pull".into()];
    options.filter.repositories = vec!["team/**".parse().unwrap()];
    let (other, url, _serving_other) = Sink::start(&[]).await;
    let mut rest = endpoint("rest", &url);
    rest.filter.ignored_actions = vec!["pull".into()];
    rest.filter.repositories = vec!["team/b".parse().unwrap(), "c".parse().unwrap()];
    let world = World::start(dir.path(), vec![options, rest]).await;
    assert!(!world.webhooks.wants(Action::Pull) && world.webhooks.wants(Action::Delete));
    assert!(world.webhooks.payloads(event(Action::Push, "other"), &caller()).is_empty());
    world.webhooks.pulled(event(Action::Pull, "team/a"), &caller());
    for name in ["team/a", "other", "team/b", "c"] {
        world.push(name).await;
    }
    assert_eq!(sink.until(2).await, ["team/a", "team/b"]);
    assert_eq!(other.until(2).await, ["team/b", "c"]);
    world.until_empty().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pulls_are_queued_in_batches_also_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let (sink, url, _serving) = Sink::start(&[]).await;
    let mut options = endpoint("one", &url);
    options.batch = 64;
    let world = World::start(dir.path(), vec![options.clone()]).await;
    for _ in 0..100 {
        world.webhooks.pulled(event(Action::Pull, "a"), &caller());
    }
    sink.until(100).await;
    assert!(sink.heads.lock().unwrap().len() < 100);
    world.webhooks.pulled(event(Action::Pull, "last"), &caller());
    world.stop().await;
    let world = World::start(dir.path(), vec![options]).await;
    assert_eq!(sink.until(101).await[100], "last");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_endpoint_is_given_up_and_asked_again() {
    let dir = tempfile::tempdir().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut options = endpoint("one", &format!("http://{}/", listener.local_addr().unwrap()));
    options.timeout = Duration::from_millis(50);
    let world = World::start(dir.path(), vec![options]).await;
    world.push("a").await;
    // Connections are taken and never answered.
    let first = tokio::time::timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    let again = tokio::time::timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    let status = world.webhooks.status();
    assert!(status.endpoints[0].failures > 0 && status.endpoints[0].error.is_some(), "{status:?}");
    drop((first, again));
    world.stop().await;
}
