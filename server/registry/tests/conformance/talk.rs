//! A client's words, over a real connection. Every answer is checked for what holds for all of them.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use serde_json::Value;
use shoal_http::{Body, Client, Limits};
use shoal_oci::{Algorithm, Digest};
use shoal_registry::RegistryOptions;

use crate::server::Served;

/// Nothing here takes seconds unless something is broken.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A registry and a client that talks to it.
pub(crate) struct Talk {
    pub(crate) served: Served,
    client: Client,
}

/// An answer that was read to its end.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Talk {
    pub(crate) async fn start() -> Self {
        Self::with(RegistryOptions::default()).await
    }

    pub(crate) async fn with(options: RegistryOptions) -> Self {
        let served = Served::start(options, Limits::default()).await;
        Self { served, client: Client::default() }
    }

    /// Sends a request with headers `(name, value)`.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: impl AsRef<str>,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Reply {
        let url = format!("http://{}{}", self.served.address, path.as_ref());
        let mut request = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap()).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.client.send(request.body(body.into()).unwrap(), TIMEOUT).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect(64 << 20).await.unwrap();
        let reply = Reply { status: head.status.as_u16(), headers: head.headers, body };
        reply.check(method, path.as_ref());
        reply
    }

    pub(crate) async fn get(&self, path: impl AsRef<str>) -> Reply {
        self.send("GET", path, &[], "").await
    }

    pub(crate) async fn head(&self, path: impl AsRef<str>) -> Reply {
        self.send("HEAD", path, &[], "").await
    }

    pub(crate) async fn delete(&self, path: impl AsRef<str>) -> Reply {
        self.send("DELETE", path, &[], "").await
    }

    pub(crate) async fn post(&self, path: impl AsRef<str>, body: impl Into<Body>) -> Reply {
        self.send("POST", path, &[], body).await
    }

    pub(crate) async fn put(&self, path: impl AsRef<str>, body: impl Into<Body>) -> Reply {
        self.send("PUT", path, &[], body).await
    }

    pub(crate) async fn patch(&self, path: impl AsRef<str>, body: impl Into<Body>) -> Reply {
        self.send("PATCH", path, &[], body).await
    }

    /// A chunk with its `Content-Range`.
    pub(crate) async fn chunk(
        &self,
        method: &str,
        path: impl AsRef<str>,
        range: &str,
        body: &Bytes,
    ) -> Reply {
        self.send(method, path, &[("content-range", range)], body.clone()).await
    }

    /// Opens an upload session; its path.
    pub(crate) async fn session(&self, repository: &str) -> String {
        let reply = self.post(format!("/v2/{repository}/blobs/uploads/"), "").await;
        reply.expect(202).header("location").to_owned()
    }

    /// Pushes a blob in one request; its digest.
    pub(crate) async fn push(&self, repository: &str, content: impl Into<Bytes>) -> Digest {
        let content = content.into();
        let digest = Digest::sha256(&content);
        self.post(format!("/v2/{repository}/blobs/uploads/?digest={digest}"), content).await.expect(201);
        digest
    }

    pub(crate) async fn put_manifest(&self, path: impl AsRef<str>, media_type: &str, bytes: &Bytes) -> Reply {
        self.send("PUT", path, &[("content-type", media_type)], bytes.clone()).await
    }
}

impl Reply {
    /// What the specification says of every answer.
    fn check(&self, method: &str, path: &str) {
        let what = format!("{method} {path}: {self:?}");
        assert!(self.status < 500 || self.status == 503, "{what}");
        if let Some(location) = self.headers.get("location") {
            assert!(location.to_str().unwrap().starts_with("/v2/"), "{what}");
        }
        if self.status >= 400 && method != "HEAD" {
            assert_eq!(self.header("content-type"), "application/json", "{what}");
            let errors = self.json()["errors"].as_array().cloned().unwrap();
            assert!(!errors.is_empty(), "{what}");
            for error in errors {
                let code = error["code"].as_str().unwrap();
                assert!(code.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'), "{what}");
                assert!(error["message"].is_string(), "{what}");
            }
        }
        if self.status == 503 || self.status == 429 {
            assert!(self.header("retry-after").parse::<u32>().is_ok(), "{what}");
        }
    }

    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> &Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    #[track_caller]
    pub(crate) fn expect_error(&self, status: u16, code: &str) -> &Self {
        assert_eq!(
            (self.status, self.json()["errors"][0]["code"].as_str()),
            (status, Some(code)),
            "{self:?}"
        );
        self
    }

    /// A header's value, empty when it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The path of `Link: <…>; rel="next"`.
    pub(crate) fn next(&self) -> Option<String> {
        let link = self.headers.get("link")?.to_str().unwrap();
        let path = link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap();
        assert!(path.starts_with("/v2/"), "{link}");
        Some(path.to_owned())
    }
}

pub(crate) fn sha512(bytes: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha512, bytes)
}

/// Bytes that do not repeat within 64 KiB.
pub(crate) fn content(seed: u8, len: usize) -> Bytes {
    (0..len).map(|at| (at as u8).wrapping_mul(31) ^ (at >> 8) as u8 ^ seed).collect::<Vec<_>>().into()
}
