//! A registry in a temporary directory, and short words to talk to it. Every answer is checked for what holds for all of them.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use serde_json::Value;
use shoal_api::Leases;
use shoal_http::{Body, Handler};
use shoal_metadata::Embedded;
use shoal_oci::Digest;
use shoal_registry::{Registry, RegistryOptions};
use shoal_store::{Options, Store};
use shoal_tags::LocalTags;
use shoal_telemetry::RegistryMetrics;
use tempfile::TempDir;

pub(crate) struct World {
    pub(crate) registry: Registry,
    pub(crate) store: Store,
    directory: TempDir,
}

/// An answer that was read to its end.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// The body, or how it broke.
    pub(crate) body: Result<Bytes, String>,
}

/// A request under construction.
pub(crate) struct Call<'a> {
    world: &'a World,
    request: http::request::Builder,
}

fn open(directory: &Path, storage: Options, options: RegistryOptions) -> (Registry, Store) {
    let (store, _) = Store::open(&directory.join("store"), storage).unwrap();
    let tags = LocalTags::new(Embedded::open(&directory.join("metadata")).unwrap());
    (Registry::new(store.clone(), Arc::new(tags), Leases::new(), RegistryMetrics::default(), options), store)
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(Options::durable(), RegistryOptions::default())
    }

    pub(crate) fn with(storage: Options, options: RegistryOptions) -> Self {
        // A store makes 512 directories, which costs a disk half a second and memory a few milliseconds.
        let memory = Path::new("/dev/shm");
        let directory =
            if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let (registry, store) = open(directory.path(), storage, options);
        Self { registry, store, directory }
    }

    /// The same directories after the process has ended.
    pub(crate) fn restart(self) -> Self {
        let Self { registry, store, directory } = self;
        drop((registry, store));
        let (registry, store) = open(directory.path(), Options::durable(), RegistryOptions::default());
        Self { registry, store, directory }
    }

    /// The directories after the process has ended.
    pub(crate) fn stop(self) -> TempDir {
        self.directory
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn call(&self, method: &str, path: impl AsRef<str>) -> Call<'_> {
        let request =
            Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap()).uri(path.as_ref());
        Call { world: self, request }
    }

    pub(crate) async fn get(&self, path: impl AsRef<str>) -> Reply {
        self.call("GET", path).send(Body::empty()).await
    }

    pub(crate) async fn head(&self, path: impl AsRef<str>) -> Reply {
        self.call("HEAD", path).send(Body::empty()).await
    }

    pub(crate) async fn delete(&self, path: impl AsRef<str>) -> Reply {
        self.call("DELETE", path).send(Body::empty()).await
    }

    pub(crate) async fn post(&self, path: impl AsRef<str>, body: impl Into<Body>) -> Reply {
        self.call("POST", path).send(body).await
    }

    pub(crate) async fn put(&self, path: impl AsRef<str>, body: impl Into<Body>) -> Reply {
        self.call("PUT", path).send(body).await
    }

    pub(crate) async fn patch(&self, path: impl AsRef<str>, body: impl Into<Body>) -> Reply {
        self.call("PATCH", path).send(body).await
    }

    /// Opens an upload session; its path.
    pub(crate) async fn session(&self, repository: &str) -> String {
        let reply = self.post(format!("/v2/{repository}/blobs/uploads/"), Body::empty()).await;
        reply.expect(202);
        assert_eq!(reply.header("range"), "0-0");
        assert!(!reply.header("docker-upload-uuid").is_empty());
        reply.header("location").to_owned()
    }

    /// Pushes a blob in one request; its digest.
    pub(crate) async fn push(&self, repository: &str, content: impl Into<Bytes>) -> Digest {
        let content = content.into();
        let digest = Digest::sha256(&content);
        self.post(format!("/v2/{repository}/blobs/uploads/?digest={digest}"), content).await.expect(201);
        digest
    }
}

impl World {
    /// The status of a GET, and its body, which nobody reads yet.
    pub(crate) async fn begin(&self, path: &str) -> (u16, Body) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let (head, body) = self.registry.handle(request, ([192, 0, 2, 1], 4711).into()).await.into_parts();
        (head.status.as_u16(), body)
    }
}

impl Call<'_> {
    pub(crate) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.request = self.request.header(name, value.as_ref());
        self
    }

    pub(crate) async fn send(self, body: impl Into<Body>) -> Reply {
        let request = self.request.body(body.into()).unwrap();
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let response = self.world.registry.handle(request, ([192, 0, 2, 1], 4711).into()).await;
        let (head, body) = response.into_parts();
        let body = body.collect(64 << 20).await.map_err(|error| error.to_string());
        let reply = Reply { status: head.status.as_u16(), headers: head.headers, body };
        reply.check(&method, &format!("{method} {uri}"));
        reply
    }
}

impl Reply {
    /// What holds for every answer.
    fn check(&self, method: &Method, what: &str) {
        assert_eq!(self.header("docker-distribution-api-version"), "registry/2.0", "{what}");
        if let Some(location) = self.headers.get("location") {
            assert!(location.to_str().unwrap().starts_with("/v2/"), "{what}: {location:?} is not relative");
        }
        let Ok(body) = &self.body else { return };
        if method == Method::HEAD {
            assert!(body.is_empty(), "{what}: HEAD has a body");
            assert!(
                self.status == 304 || self.status == 204 || self.headers.contains_key("content-length"),
                "{what}"
            );
        } else if let Some(stated) = self.headers.get("content-length") {
            assert_eq!(stated.to_str().unwrap(), body.len().to_string(), "{what}");
        }
        if self.status >= 400 && method != Method::HEAD {
            assert_eq!(self.header("content-type"), "application/json", "{what}");
            let code = self.code();
            assert!(code.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'), "{what}: {code}");
            assert!(
                self.json()["errors"][0]["message"].as_str().is_some_and(|text| !text.is_empty()),
                "{what}"
            );
        }
        assert_ne!(self.status, 500, "{what}: {self:?}");
    }

    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> &Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    #[track_caller]
    pub(crate) fn expect_error(&self, status: u16, code: &str) -> &Self {
        assert_eq!((self.status, self.code().as_str()), (status, code), "{self:?}");
        self
    }

    /// A header's value, empty when it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn body(&self) -> &Bytes {
        self.body.as_ref().unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(self.body()).unwrap()
    }

    /// The code of an error answer.
    pub(crate) fn code(&self) -> String {
        self.json()["errors"][0]["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// Bytes that do not repeat: `len` of them, different for each `seed`.
pub(crate) fn noise(seed: u64, len: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        // xorshift64*
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(len);
    bytes.into()
}

/// A body of these chunks that arrives without a stated length, as with `Transfer-Encoding: chunked`.
pub(crate) fn chunked(chunks: Vec<Bytes>) -> Body {
    let (sender, body) = Body::channel(chunks.len() + 1);
    tokio::spawn(async move {
        for chunk in chunks {
            sender.send(chunk).await.unwrap();
        }
        sender.finish().await.unwrap();
    });
    body
}

/// A body that breaks off after these chunks.
pub(crate) fn broken(chunks: Vec<Bytes>) -> Body {
    let (sender, body) = Body::channel(chunks.len() + 1);
    tokio::spawn(async move {
        for chunk in chunks {
            sender.send(chunk).await.unwrap();
        }
        sender.abort();
    });
    body
}
