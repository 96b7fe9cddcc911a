//! Notifications over a real catalogue, with a double in the origin's place.

use std::sync::Mutex;

use serde_json::{Value, json};
use shoal_api::audit::NoAudit;
use shoal_api::preheat::{PreheatImage, Preheated};
use shoal_api::tags::{Condition, PutManifest, PutOutcome, References};
use shoal_metadata::Embedded;
use shoal_oci::{Annotations, Digest, Manifest, Repository};
use shoal_tags::LocalTags;

use super::*;

/// Remembers what it was asked for.
#[derive(Default)]
struct Asked(Mutex<Vec<PreheatImage>>);

#[async_trait]
impl Preheat for Asked {
    async fn preheat(&self, image: &PreheatImage) -> Preheated {
        self.0.lock().unwrap().push(image.clone());
        Preheated { ready: image.blobs.len(), missing: 0, agents: 0 }
    }
}

struct Teapot;

#[async_trait]
impl Handler for Teapot {
    async fn handle(&self, _: Request, _: SocketAddr) -> Response {
        json::text(StatusCode::IM_A_TEAPOT, "")
    }
}

struct Closed;

#[async_trait]
impl PreheatGate for Closed {
    async fn admit(
        &self,
        _: &http::request::Parts,
        _: SocketAddr,
        repositories: &[Repository],
    ) -> Result<String, Response> {
        if repositories.iter().all(|repository| repository.as_str() == "open") {
            Ok("harbor".to_owned())
        } else {
            Err(json::error(StatusCode::FORBIDDEN, "no"))
        }
    }
}

struct World {
    _dir: tempfile::TempDir,
    tags: Arc<dyn Tags>,
    asked: Arc<Asked>,
    jobs: PreheatJobs,
    handler: PreheatHandler,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tags: Arc<dyn Tags> = Arc::new(LocalTags::new(Embedded::open(dir.path()).unwrap()));
        let (asked, jobs) = (Arc::new(Asked::default()), PreheatJobs::default());
        let handler = PreheatHandler::new(
            Arc::new(Teapot),
            Arc::clone(&tags),
            Arc::clone(&asked) as Arc<dyn Preheat>,
            Arc::new(NoAudit),
            jobs.clone(),
            EventsMetrics::default(),
        );
        Self { _dir: dir, tags, asked, jobs, handler }
    }

    async fn put(&self, repository: &str, document: &Value, tag: Option<&str>) -> (Digest, u64) {
        let bytes = document.to_string();
        let parsed = Manifest::parse(bytes.as_bytes(), None).unwrap();
        let repository: Repository = repository.parse().unwrap();
        for blob in parsed.blobs() {
            self.tags.link_blob(&repository, &blob, 1, vec![]).await.unwrap();
        }
        let digest = Digest::sha256(bytes.as_bytes());
        let len = bytes.len() as u64;
        let put = PutManifest {
            repository,
            digest,
            media_type: parsed.media_type().to_string(),
            bytes: bytes.into(),
            blobs: parsed.blobs(),
            blobs_optional: vec![],
            children: parsed.children(),
            subject: None,
            artifact_type: None,
            annotations: Annotations::new(),
            tags: tag.map(|tag| tag.parse().unwrap()).into_iter().collect(),
            references: References::Sparse,
            condition: Condition::default(),
            immutable: vec![],
            overwrite: true,
            outbox: vec![],
        };
        let outcome = self.tags.put_manifest(put).await.unwrap();
        assert!(matches!(outcome, PutOutcome::Stored { .. }), "{outcome:?}");
        (digest, len)
    }

    async fn post(&self, body: impl Into<Body>) -> (StatusCode, Value) {
        let request = http::Request::post(NOTIFICATIONS_PATH).body(body.into()).unwrap();
        let answer = self.handler.handle(request, ([127, 0, 0, 1], 1).into()).await;
        let status = answer.status();
        let body = answer.into_body().collect(1 << 20).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    async fn notify(&self, repository: &str, digest: Digest) -> (StatusCode, Value) {
        let target = json!({"Repository": repository, "Digest": digest, "Tag": "latest"});
        self.post(json!({"Events": [{"Action": "push", "Target": target}]}).to_string()).await
    }
}

fn blob(text: &str) -> Digest {
    Digest::sha256(text.as_bytes())
}

fn image(layer: &str) -> Value {
    json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": blob("config"), "size": 1},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": blob(layer), "size": 1}],
    })
}

fn index(children: &[(Digest, u64)]) -> Value {
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let children: Vec<_> = children
        .iter()
        .map(|(digest, size)| json!({"mediaType": kind, "digest": digest, "size": size}))
        .collect();
    json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": children})
}

#[tokio::test]
async fn an_image_is_made_ready_with_all_its_blobs() {
    let world = World::new();
    let (digest, _) = world.put("team/app", &image("layer"), Some("v1")).await;
    let (status, answer) = world.notify("team/app", digest).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!((&answer["jobs"][0]["ready"], &answer["jobs"][0]["missing"]), (&2.into(), &0.into()));
    let asked = world.asked.0.lock().unwrap().remove(0);
    assert_eq!(asked.manifest, digest);
    assert!(asked.blobs.contains(&blob("config")) && asked.blobs.contains(&blob("layer")));
    assert_eq!(world.jobs.list()[0].reference, digest.to_string());
}

#[tokio::test]
async fn an_index_brings_every_platform_that_is_here() {
    let world = World::new();
    let one = world.put("app", &image("amd64"), None).await;
    let other = world.put("app", &image("arm64"), None).await;
    let (digest, _) = world.put("app", &index(&[one, other, (blob("absent"), 3)]), Some("v1")).await;
    let (status, answer) = world.notify("app", digest).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!((&answer["jobs"][0]["ready"], &answer["jobs"][0]["missing"]), (&3.into(), &1.into()));
}

#[tokio::test]
async fn what_is_not_here_is_not_found_and_what_is_no_notification_refused() {
    let world = World::new();
    assert_eq!(world.notify("app", blob("x")).await.0, StatusCode::NOT_FOUND);
    assert_eq!(world.post("no json").await.0, StatusCode::BAD_REQUEST);
    assert_eq!(world.post("{}").await.0, StatusCode::BAD_REQUEST);
    assert_eq!(world.post(" ".repeat(BODY_LEN_MAX + 1)).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(world.post(r#"{"events":[]}"#).await, (StatusCode::OK, json!({"jobs": []})));
    assert!(world.asked.0.lock().unwrap().is_empty());
}

#[tokio::test]
async fn other_methods_and_paths_are_told_apart() {
    let world = World::new();
    let send = async |request: http::request::Builder| {
        let request = request.body(Body::empty()).unwrap();
        world.handler.handle(request, ([127, 0, 0, 1], 1).into()).await
    };
    let answer = send(http::Request::get(NOTIFICATIONS_PATH)).await;
    assert_eq!(
        (answer.status(), &answer.headers()["allow"]),
        (StatusCode::METHOD_NOT_ALLOWED, &"POST".parse().unwrap())
    );
    assert_eq!(send(http::Request::post("/registry")).await.status(), StatusCode::IM_A_TEAPOT);
}

#[tokio::test]
async fn the_gate_is_asked_for_the_repositories() {
    let mut world = World::new();
    let (digest, _) = world.put("secret", &image("layer"), None).await;
    let (open, _) = world.put("open", &image("layer"), None).await;
    world.handler = world.handler.with_gate(Arc::new(Closed));
    let target = json!({"repository": "secret", "digest": digest});
    let body = json!({"events": [{"action": "push", "target": target}]}).to_string();
    assert_eq!(world.post(body).await.0, StatusCode::FORBIDDEN);
    assert!(world.asked.0.lock().unwrap().is_empty());
    let target = json!({"repository": "open", "digest": open});
    let body = json!({"events": [{"action": "push", "target": target}]}).to_string();
    assert_eq!(world.post(body).await.0, StatusCode::OK);
}
