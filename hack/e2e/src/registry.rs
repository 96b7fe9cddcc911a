//! A small registry client of our own: requests of the distribution API, exactly as real clients send them.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::header::{ACCEPT, LOCATION};
use shoal_http::{Body, Client, ClientOptions, Method, Request, Response, StatusCode};

/// Until the head of an answer. A commit of a large blob syncs it to disk first.
const HEAD_TIMEOUT: Duration = Duration::from_secs(120);
/// The largest manifest or error that is read (distribution-spec asks for 4 MiB at least).
const DOCUMENT_LEN_MAX: usize = 4 * 1024 * 1024;
/// What containerd writes into `Accept` for a tag.
const MANIFEST_TYPES: &str = "application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.oci.image.index.v1+json, */*";

/// One registry or mirror. Clones share connections.
#[derive(Clone, Debug)]
pub struct Registry {
    client: Client,
    address: SocketAddr,
    namespace: Option<String>,
}

/// A manifest as a registry sent it.
#[derive(Clone, Debug)]
pub struct Document {
    /// `Content-Type` of the answer.
    pub media_type: String,
    /// The bytes.
    pub bytes: Bytes,
}

impl Registry {
    /// The registry at `address`.
    pub fn new(address: SocketAddr) -> Self {
        // Every layer of an image on a connection of its own, as containerd does, and all of them reusable.
        let options = ClientOptions { pool_idle_max: 16, ..ClientOptions::default() };
        Self { client: Client::new(&options), address, namespace: None }
    }

    /// The same, asked for images of another registry: every request says `?ns=…`, as containerd does to a mirror.
    #[must_use]
    pub fn for_namespace(mut self, namespace: &str) -> Self {
        self.namespace = Some(namespace.to_owned());
        self
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a path below `/v2/`.
    pub fn url(&self, path: &str) -> String {
        let namespace =
            self.namespace.as_ref().map(|namespace| format!("?ns={namespace}")).unwrap_or_default();
        format!("http://{}/v2/{path}{namespace}", self.address)
    }

    /// Sends a request; any status is an answer.
    pub async fn send(&self, request: Request) -> Result<Response> {
        Ok(self.client.send(request, HEAD_TIMEOUT).await?)
    }

    /// GET of a path below `/v2/`; any status is an answer.
    pub async fn get(&self, path: &str) -> Result<Response> {
        self.send(request(Method::GET, &self.url(path), Body::empty())?).await
    }

    /// The digest and media type of a tag, by HEAD; `None` when there is no such tag.
    pub async fn resolve(&self, repository: &str, tag: &str) -> Result<Option<(String, String)>> {
        let url = self.url(&format!("{repository}/manifests/{tag}"));
        let mut request = request(Method::HEAD, &url, Body::empty())?;
        request.headers_mut().insert(ACCEPT, http::HeaderValue::from_static(MANIFEST_TYPES));
        let response = self.send(request).await?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            status => bail!("HEAD {url} answered {status}"),
        }
        let digest = header(&response, "docker-content-digest").context("no Docker-Content-Digest")?;
        let media_type = header(&response, "content-type").context("no Content-Type")?;
        Ok(Some((digest, media_type)))
    }

    /// A manifest by tag or digest.
    pub async fn manifest(&self, repository: &str, reference: &str) -> Result<Document> {
        let url = self.url(&format!("{repository}/manifests/{reference}"));
        let mut request = request(Method::GET, &url, Body::empty())?;
        request.headers_mut().insert(ACCEPT, http::HeaderValue::from_static(MANIFEST_TYPES));
        let response = expect(self.send(request).await?, StatusCode::OK, &url).await?;
        let media_type = header(&response, "content-type").context("no Content-Type")?;
        Ok(Document { media_type, bytes: response.into_body().collect(DOCUMENT_LEN_MAX).await? })
    }

    /// The size of a blob by HEAD; `None` when the repository does not have it.
    pub async fn blob_size(&self, repository: &str, digest: &str) -> Result<Option<u64>> {
        let url = self.url(&format!("{repository}/blobs/{digest}"));
        let response = self.send(request(Method::HEAD, &url, Body::empty())?).await?;
        match response.status() {
            StatusCode::OK => {
                let size =
                    header(&response, "content-length").context("HEAD of a blob without Content-Length")?;
                Ok(Some(size.parse()?))
            }
            StatusCode::NOT_FOUND => Ok(None),
            status => bail!("HEAD {url} answered {status}"),
        }
    }

    /// The absolute URL in `Location`, which may be absolute or a path.
    pub(crate) fn location(&self, response: &Response) -> Result<String> {
        let location = header(response, LOCATION.as_str()).context("no Location")?;
        Ok(if location.starts_with('/') { format!("http://{}{location}", self.address) } else { location })
    }
}

/// A request to an absolute URL.
pub(crate) fn request(method: Method, url: &str, body: Body) -> Result<Request> {
    http::Request::builder()
        .method(method)
        .uri(url)
        .body(body)
        .with_context(|| format!("cannot ask for {url}"))
}

/// The response when it has the status that was hoped for; else an error with the answer's words.
pub(crate) async fn expect(response: Response, wanted: StatusCode, url: &str) -> Result<Response> {
    let status = response.status();
    if status != wanted {
        let words = response.into_body().collect(DOCUMENT_LEN_MAX).await.unwrap_or_default();
        bail!("{url} answered {status}: {}", String::from_utf8_lossy(&words));
    }
    Ok(response)
}

/// A header as text.
pub fn header(response: &Response, name: &str) -> Option<String> {
    response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// Checks that an answer is an error as the distribution specification writes it, and returns its code.
pub async fn error_code(response: Response) -> Result<String> {
    let body = response.into_body().collect(DOCUMENT_LEN_MAX).await?;
    let text = String::from_utf8_lossy(&body).into_owned();
    let json: serde_json::Value =
        serde_json::from_slice(&body).with_context(|| format!("not JSON: {text}"))?;
    let code = json["errors"][0]["code"].as_str().unwrap_or_default();
    ensure!(!code.is_empty(), "not an OCI error: {text}");
    Ok(code.to_owned())
}
