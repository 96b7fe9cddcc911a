//! Copies of a made-up upstream: what is asked of it, what is kept, what is given while it fails.

#![expect(clippy::unwrap_used, reason = "helpers of tests; a panic is the failure report")]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use shoal_api::tags::Tags;
use shoal_api::{Copies, CopyErrorKind, Freshness, Intake, IntakeError};
use shoal_copies::{CopiesOptions, LocalCopies, Policy, Rule, Validity};
use shoal_http::{Body, Handler, Limits, Listener, Request, Response, Shutdown};
use shoal_metadata::Embedded;
use shoal_oci::{Digest, Reference, Repository, media_type};
use shoal_tags::LocalTags;
use shoal_telemetry::UpstreamMetrics;
use shoal_upstream::{ProxyChoice, ProxyEnvironment, UpstreamOptions, Upstreams};
use tempfile::TempDir;

const LAYER: &[u8] = b"a layer";

/// What the upstream has and does.
#[derive(Default)]
struct State {
    tags: HashMap<String, String>,
    blobs: HashMap<Digest, Bytes>,
    /// Every answer has this status.
    failing: Option<u16>,
    /// Every answer comes after this.
    slow: Duration,
    asked: Vec<String>,
}

struct Far(Arc<Mutex<State>>);

#[async_trait]
impl Handler for Far {
    async fn handle(&self, request: Request, _: SocketAddr) -> Response {
        let path = request.uri().path().to_owned();
        let slow = {
            let mut state = self.0.lock().unwrap();
            state.asked.push(format!("{} {path}", request.method()));
            state.slow
        };
        tokio::time::sleep(slow).await;
        let state = self.0.lock().unwrap();
        let answer = |status: u16| http::Response::builder().status(status);
        if let Some(status) = state.failing {
            return answer(status).header("retry-after", "60").body(Body::empty()).unwrap();
        }
        let last = path.rsplit('/').next().unwrap();
        if path.contains("/blobs/") {
            return match state.blobs.get(&last.parse().unwrap()) {
                Some(bytes) => answer(200).body(Body::from(bytes.clone())).unwrap(),
                None => answer(404).body(Body::empty()).unwrap(),
            };
        }
        let by_digest =
            || state.tags.values().find(|text| Digest::sha256(text.as_bytes()).to_string() == last);
        match state.tags.get(last).or_else(by_digest) {
            Some(text) => {
                let digest = Digest::sha256(text.as_bytes()).to_string();
                let body = if request.method() == "HEAD" { Body::empty() } else { Body::from(text.clone()) };
                let typed = answer(200).header("content-type", media_type::OCI_MANIFEST);
                typed.header("docker-content-digest", digest).body(body).unwrap()
            }
            None => answer(404).body(Body::empty()).unwrap(),
        }
    }
}

/// Keeps blobs in memory, and checks them as the origin does.
#[derive(Default)]
struct Memory(Mutex<HashMap<Digest, u64>>);

#[async_trait]
impl Intake for Memory {
    fn size(&self, digest: &Digest) -> Result<Option<u64>, IntakeError> {
        Ok(self.0.lock().unwrap().get(digest).copied())
    }

    async fn take_in(&self, digest: &Digest, _: Option<u64>, body: Body) -> Result<u64, IntakeError> {
        let failed = |is_wrong, why: String| IntakeError { is_wrong, why };
        let bytes = body.collect(1 << 20).await.map_err(|error| failed(false, error.to_string()))?;
        if Digest::sha256(&bytes) != *digest {
            return Err(failed(true, "other bytes".to_owned()));
        }
        let size = bytes.len() as u64;
        self.0.lock().unwrap().insert(*digest, size);
        Ok(size)
    }

    async fn coming(&self, _: &Digest, _: Range<u64>) -> Option<Body> {
        None
    }
}

struct World {
    copies: LocalCopies,
    state: Arc<Mutex<State>>,
    intake: Arc<Memory>,
    tags: Arc<dyn Tags>,
    shutdown: Shutdown,
    _directory: TempDir,
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.trigger();
    }
}

fn manifest(number: u32) -> String {
    let described = |digest: Digest, size: usize| {
        format!(r#"{{"mediaType":"application/octet-stream","digest":"{digest}","size":{size}}}"#)
    };
    let (config, layer) =
        (described(Digest::sha256(b"{}"), 2), described(Digest::sha256(LAYER), LAYER.len()));
    format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layer}],"annotations":{{"n":"{number}"}}}}"#)
}

fn rule(validity: Validity, stale_max: Option<Duration>) -> Rule {
    Rule { validity, stale_max, ..Rule::USUAL }
}

impl World {
    async fn start(rule: Rule) -> Self {
        let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let addr = listener.local_addr();
        let (state, shutdown) = (Arc::<Mutex<State>>::default(), Shutdown::new());
        let limits = Limits { drain_timeout: Duration::ZERO, ..Limits::default() };
        tokio::spawn(listener.serve(Arc::new(Far(Arc::clone(&state))), limits, shutdown.clone()));
        let mut options = UpstreamOptions::new("up.example".parse().unwrap());
        options.endpoint = Some(format!("http://{addr}"));
        options.plain_http = true;
        options.proxy = ProxyChoice::Direct;
        let metrics = UpstreamMetrics::default();
        let upstreams = Upstreams::new(vec![options], ProxyEnvironment::default(), metrics.clone()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let tags: Arc<dyn Tags> =
            Arc::new(LocalTags::new(Embedded::open(&directory.path().join("m")).unwrap()));
        let intake = Arc::new(Memory::default());
        let options = CopiesOptions { upstreams, policies: vec![Policy { rules: vec![rule] }], metrics };
        let copies = LocalCopies::new(options, Arc::clone(&tags), Arc::clone(&intake) as Arc<dyn Intake>);
        let world = Self { copies, state, intake, tags, shutdown, _directory: directory };
        world.set("v1", 1);
        world.state.lock().unwrap().blobs.insert(Digest::sha256(LAYER), Bytes::from_static(LAYER));
        world
    }

    fn set(&self, tag: &str, number: u32) {
        self.state.lock().unwrap().tags.insert(tag.to_owned(), manifest(number));
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().asked)
    }

    async fn resolve(&self, reference: &str) -> Result<(Digest, Freshness), CopyErrorKind> {
        let reference: Reference = reference.parse().unwrap();
        let resolved = self.copies.manifest(&copy(), &reference).await;
        resolved.map(|found| (found.digest, found.freshness)).map_err(|error| error.kind)
    }

    async fn blob(&self, digest: &Digest) -> Result<u64, CopyErrorKind> {
        let arrival = self.copies.blob(&copy(), digest).await.map_err(|error| error.kind)?;
        arrival.ended.await.map_err(|error| error.kind)
    }
}

fn copy() -> Repository {
    "up.example/team/app".parse().unwrap()
}

fn digest(number: u32) -> Digest {
    Digest::sha256(manifest(number).as_bytes())
}

#[tokio::test]
async fn names_are_canonical_and_only_those_of_upstreams_are_copies() {
    let world = World::start(Rule::USUAL).await;
    let of =
        |host: &str, repository: &str| world.copies.of(&host.parse().unwrap(), &repository.parse().unwrap());
    assert_eq!(of("UP.example", "team/app"), Some(copy()));
    for host in ["other.example", "up.example:5000", "127.0.0.1", "169.254.169.254", "docker.io"] {
        assert_eq!(of(host, "team/app"), None, "{host}");
    }
    assert_eq!(world.copies.canonical(&copy()), Some(copy()));
    for name in ["team/app", "up.example", "other.example/team/app"] {
        assert_eq!(world.copies.canonical(&name.parse().unwrap()), None, "{name}");
    }
}

#[tokio::test]
async fn all_who_ask_at_once_are_one_question_and_one_fetch() {
    let world = World::start(rule(Validity::For(Duration::ZERO), None)).await;
    world.state.lock().unwrap().slow = Duration::from_millis(100);
    let asks = (0..20).map(|_| world.resolve("v1"));
    let found = futures(asks).await;
    assert!(found.iter().all(|found| *found == Ok((digest(1), Freshness::Revalidated))), "{found:?}");
    assert_eq!(world.asked(), ["GET /v2/team/app/manifests/v1"]);
    let layer = Digest::sha256(LAYER);
    let found = futures((0..20).map(|_| world.blob(&layer))).await;
    assert!(found.iter().all(|found| *found == Ok(LAYER.len() as u64)), "{found:?}");
    assert_eq!(world.asked(), [format!("GET /v2/team/app/blobs/{layer}")]);
    assert_eq!(world.tags.blob_in(&copy(), &layer).await, Ok(Some(LAYER.len() as u64)));
    assert!(!world.copies.is_arriving(None, &layer));
}

async fn futures<T>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut set: Vec<_> = all.map(Box::pin).collect();
    let mut done: Vec<Option<T>> = set.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        for (future, slot) in set.iter_mut().zip(&mut done) {
            if slot.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(cx)
            {
                *slot = Some(value);
            }
        }
        if done.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}

#[tokio::test]
async fn a_tag_is_asked_about_as_often_as_its_rule_says() {
    let world = World::start(rule(Validity::For(Duration::ZERO), None)).await;
    world.resolve("v1").await.unwrap();
    assert_eq!(world.resolve("v1").await, Ok((digest(1), Freshness::Revalidated)));
    world.set("v1", 2);
    assert_eq!(world.resolve("v1").await, Ok((digest(2), Freshness::Revalidated)));
    let path = "/v2/team/app/manifests";
    assert_eq!(
        world.asked(),
        [
            format!("GET {path}/v1"),
            format!("HEAD {path}/v1"),
            format!("HEAD {path}/v1"),
            format!("GET {path}/{}", digest(2))
        ]
    );
    for (validity, freshness) in [
        (Validity::Immutable, Freshness::Immutable),
        (Validity::For(Duration::from_secs(60)), Freshness::Fresh),
    ] {
        let world = World::start(rule(validity, None)).await;
        world.resolve("v1").await.unwrap();
        world.set("v1", 2);
        assert_eq!(world.resolve("v1").await, Ok((digest(1), freshness)));
        assert_eq!(world.asked().len(), 1);
    }
}

#[tokio::test]
async fn what_was_had_is_given_while_the_upstream_fails_and_not_when_it_says_no() {
    for (failing, kept, new) in [
        (503, Ok((digest(1), Freshness::Stale)), CopyErrorKind::Unavailable),
        (429, Ok((digest(1), Freshness::Stale)), CopyErrorKind::Unavailable),
        (401, Err(CopyErrorKind::Refused), CopyErrorKind::Refused),
        (404, Err(CopyErrorKind::NotFound), CopyErrorKind::NotFound),
    ] {
        let world = World::start(rule(Validity::For(Duration::ZERO), None)).await;
        world.resolve("v1").await.unwrap();
        world.state.lock().unwrap().failing = Some(failing);
        assert_eq!(world.resolve("v1").await, kept, "{failing}");
        assert_eq!(world.resolve("v2").await, Err(new), "{failing}");
        assert_eq!(world.blob(&Digest::sha256(LAYER)).await, Err(new), "{failing}");
        let by_digest = world.resolve(&digest(1).to_string()).await;
        assert_eq!(by_digest, Ok((digest(1), Freshness::Immutable)), "{failing}");
    }
    let world = World::start(rule(Validity::For(Duration::ZERO), Some(Duration::ZERO))).await;
    world.resolve("v1").await.unwrap();
    world.state.lock().unwrap().failing = Some(503);
    assert_eq!(
        world.resolve("v1").await,
        Err(CopyErrorKind::Unavailable),
        "it is older than the rule allows"
    );
}

#[tokio::test]
async fn wrong_bytes_become_no_blob_and_the_right_ones_do_later() {
    let world = World::start(Rule::USUAL).await;
    let layer = Digest::sha256(LAYER);
    world.state.lock().unwrap().blobs.insert(layer, Bytes::from_static(b"something else"));
    assert_eq!(world.blob(&layer).await, Err(CopyErrorKind::Refused));
    assert_eq!(world.tags.blob_in(&copy(), &layer).await, Ok(None));
    world.state.lock().unwrap().blobs.insert(layer, Bytes::from_static(LAYER));
    assert_eq!(world.blob(&layer).await, Ok(LAYER.len() as u64));
}

#[tokio::test]
async fn a_blob_that_is_here_for_another_reason_needs_the_upstreams_word() {
    let world = World::start(Rule::USUAL).await;
    let (layer, secret) = (Digest::sha256(LAYER), Digest::sha256(b"secret"));
    world.intake.0.lock().unwrap().extend([(layer, LAYER.len() as u64), (secret, 6)]);
    assert_eq!(world.blob(&secret).await, Err(CopyErrorKind::NotFound));
    assert_eq!(world.tags.blob_in(&copy(), &secret).await, Ok(None));
    assert_eq!(world.blob(&layer).await, Ok(LAYER.len() as u64));
    assert_eq!(
        world.asked().last().unwrap(),
        &format!("HEAD /v2/team/app/blobs/{layer}"),
        "it was not fetched"
    );
}

#[tokio::test]
async fn an_absence_is_believed_for_a_moment() {
    let world = World::start(Rule::USUAL).await;
    for _ in 0..3 {
        assert_eq!(world.resolve("sha256-0.sig").await, Err(CopyErrorKind::NotFound));
    }
    assert_eq!(world.asked().len(), 1);
}
