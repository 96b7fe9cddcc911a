//! What a client of the registry does, as short words for the tests.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode, header};
use shoal_http::{Body, Client, Response};
use shoal_oci::Digest;
use shoal_server::Config;

/// Nothing here takes seconds unless something is broken.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);

/// A registry to push to and pull from.
#[derive(Clone)]
pub(crate) struct Registry {
    pub(crate) http: Client,
    base: String,
}

impl Registry {
    pub(crate) fn at(addr: impl std::fmt::Display, repository: &str) -> Self {
        Self { http: Client::default(), base: format!("http://{addr}/v2/{repository}") }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: impl Into<Body>,
    ) -> Response {
        let request = http::Request::builder()
            .method(method)
            .uri(self.url(path))
            .header(header::CONTENT_TYPE, content_type)
            .header(header::ACCEPT, "*/*")
            .body(body.into())
            .unwrap();
        self.http.send(request, TIMEOUT).await.unwrap()
    }

    /// Pushes a blob in one request.
    pub(crate) async fn push_blob(&self, content: &[u8]) -> Digest {
        let digest = Digest::sha256(content);
        let path = format!("/blobs/uploads/?digest={digest}");
        let answer = self.send(Method::POST, &path, "application/octet-stream", content.to_vec()).await;
        assert_eq!(answer.status(), StatusCode::CREATED);
        digest
    }

    /// Pushes a manifest of one layer under a tag.
    pub(crate) async fn push_manifest(&self, tag: &str, layer: &[u8]) -> Digest {
        let manifest = manifest(layer);
        let answer = self.send(Method::PUT, &format!("/manifests/{tag}"), MANIFEST, manifest.clone()).await;
        assert_eq!(answer.status(), StatusCode::CREATED);
        Digest::sha256(manifest.as_bytes())
    }

    /// Pushes a whole image of one layer.
    pub(crate) async fn push_image(&self, tag: &str, layer: &[u8]) -> Digest {
        self.push_blob(b"{}").await;
        self.push_blob(layer).await;
        self.push_manifest(tag, layer).await
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, Bytes) {
        let answer = self.send(Method::GET, path, "", "").await;
        (answer.status(), answer.into_body().collect(64 << 20).await.unwrap())
    }

    /// Whether an image of one layer can be pulled, byte for byte.
    pub(crate) async fn assert_image(&self, tag: &str, layer: &[u8]) {
        let (status, bytes) = self.get(&format!("/manifests/{tag}")).await;
        assert_eq!((status, bytes), (StatusCode::OK, manifest(layer).into()), "{tag}");
        let (status, bytes) = self.get(&format!("/blobs/{}", Digest::sha256(layer))).await;
        assert!(status == StatusCode::OK && bytes == layer, "{tag}");
    }
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn manifest(layer: &[u8]) -> String {
    serde_json::json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": Digest::sha256(b"{}"), "size": 2},
        "layers": [{
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": Digest::sha256(layer),
            "size": layer.len(),
        }],
    })
    .to_string()
}

/// Bytes that do not repeat.
pub(crate) fn content(seed: u64, size: usize) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(seed);
    (0..size).map(|_| rng.u8(..)).collect()
}

/// Every listener on loopback with a port of the system's choice.
pub(crate) fn config(data: &Path) -> Config {
    let any = "127.0.0.1:0".parse().unwrap();
    let mut config = Config { data_directory: data.to_owned(), ..Config::default() };
    (config.registry.listen, config.origin.listen, config.origin.peer_listen) = (any, any, any);
    (config.tracker.listen, config.tags.listen, config.admin.listen) = (any, any, any);
    // The machine that runs the tests may be nearly full.
    config.store.free_min = shoal_config::ByteSize(0);
    config
}
