//! Clients that are not packaged by Debian: what oras, helm, cosign, crane and regctl send, request by request.
//!
//! The verbs and their order are those of the clients' sources (oras-go's `registry/remote`, go-containerregistry's `remote/write.go`,
//! regclient's `scheme/reg/blob.go`), over [`crate::wire`], so that nothing of ours makes a request more correct than theirs.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use shoal_oci::Digest;

use crate::wire::{Wire, target, with_parameter};

/// The empty configuration of artifacts (image-spec, "Guidance for an Empty Descriptor").
const EMPTY: &[u8] = b"{}";

/// A client of one repository.
#[derive(Debug)]
pub struct Artifacts {
    wire: Wire,
    repository: String,
}

/// An answer: status and body. Headers are asked of the client.
pub type Answer = (u16, Vec<u8>);

impl Artifacts {
    /// Connects.
    pub async fn connect(address: SocketAddr, repository: &str) -> Result<Self> {
        Ok(Self { wire: Wire::connect(address).await?, repository: repository.to_owned() })
    }

    /// One request below the repository, or to a whole path as a `Location` gives it.
    pub async fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Answer> {
        let path =
            if path.starts_with('/') { path.to_owned() } else { format!("/v2/{}/{path}", self.repository) };
        let head = self.wire.request(method, &path, headers, body.map(|body| body.len() as u64));
        let (received, bytes) = self.wire.fetch(&[&head, body.unwrap_or_default()]).await?;
        Ok((received.status, bytes))
    }

    /// The same, and the status has to be this.
    pub async fn expect(
        &mut self,
        status: u16,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Vec<u8>> {
        let (got, bytes) = self.ask(method, path, headers, body).await?;
        ensure!(got == status, "{method} {path}: {got} {}", String::from_utf8_lossy(&bytes));
        Ok(bytes)
    }

    /// A header of the last answer.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.wire.header(name)
    }

    /// Where the upload goes on.
    pub fn location(&self) -> Result<String> {
        self.wire.header("location").map(|text| target(text).to_owned()).context("no Location")
    }

    /// A blob as oras and helm push it: HEAD, POST, one PUT with everything.
    pub async fn push_whole(&mut self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::sha256(bytes);
        if self.ask("HEAD", &format!("blobs/{digest}"), &[], None).await?.0 == 200 {
            return Ok(digest);
        }
        self.expect(202, "POST", "blobs/uploads/", &[], Some(b"")).await?;
        let path = with_parameter(&self.location()?, "digest", &digest.to_string());
        self.expect(201, "PUT", &path, &[("content-type", "application/octet-stream")], Some(bytes)).await?;
        Ok(digest)
    }

    /// A blob as crane, ko and cosign push it: HEAD, POST that asks for a mount, PATCH of unknown length, PUT without a body.
    pub async fn push_stream(&mut self, bytes: &[u8], from: &str) -> Result<Digest> {
        let digest = Digest::sha256(bytes);
        self.ask("HEAD", &format!("blobs/{digest}"), &[], None).await?;
        let ask = format!("blobs/uploads/?from={from}&mount={digest}&origin=registry.example.com");
        let (status, _) = self.ask("POST", &ask, &[("content-type", "application/json")], Some(b"")).await?;
        if status == 201 {
            return Ok(digest);
        }
        ensure!(status == 202, "POST {ask}: {status}");
        let chunk = [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n0\r\n\r\n"].concat();
        let head = self.wire.request("PATCH", &self.location()?, &[("transfer-encoding", "chunked")], None);
        let received = self.wire.exchange(&[&head, &chunk]).await?;
        ensure!(received.status == 202, "PATCH: {}", received.status);
        let path = with_parameter(&self.location()?, "digest", &digest.to_string());
        self.expect(201, "PUT", &path, &[], Some(b"")).await?;
        Ok(digest)
    }

    /// A chunk as regctl sends it: PATCH with its range.
    pub async fn chunk(&mut self, upload: &str, start: usize, bytes: &[u8]) -> Result<u16> {
        let range = format!("{start}-{}", start + bytes.len() - 1);
        let headers = [("content-range", range.as_str()), ("content-type", "application/octet-stream")];
        Ok(self.ask("PATCH", upload, &headers, Some(bytes)).await?.0)
    }

    /// An artifact as oras makes it: the empty configuration, one layer, a type, annotations, and perhaps a subject. Put by its digest,
    /// as `oras attach` does, or under a tag. Its descriptor comes back.
    pub async fn attach(
        &mut self,
        kind: &str,
        layer: (&str, &[u8]),
        subject: Option<&Value>,
        tag: Option<&str>,
    ) -> Result<Value> {
        let config = self.push_whole(EMPTY).await?;
        let blob = self.push_whole(layer.1).await?;
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": kind,
            "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": config.to_string(), "size": 2, "data": "e30="},
            "layers": [{"mediaType": layer.0, "digest": blob.to_string(), "size": layer.1.len(),
                "annotations": {"org.opencontainers.image.title": "file"}}],
            "annotations": {"org.opencontainers.image.created": "2024-01-01T00:00:00Z", "of": kind},
        });
        if let Some(subject) = subject {
            manifest["subject"] = subject.clone();
        }
        self.put(&manifest, tag).await
    }

    /// Puts a manifest by digest or tag and gives its descriptor.
    pub async fn put(&mut self, manifest: &Value, tag: Option<&str>) -> Result<Value> {
        let bytes = serde_json::to_vec(manifest)?;
        let digest = Digest::sha256(&bytes).to_string();
        let path = format!("manifests/{}", tag.unwrap_or(&digest));
        self.ask("HEAD", &path, &[("accept", MANIFEST)], None).await?;
        self.expect(201, "PUT", &path, &[("content-type", MANIFEST)], Some(&bytes)).await?;
        Ok(json!({"mediaType": MANIFEST, "digest": digest, "size": bytes.len()}))
    }

    /// What refers to a manifest, as descriptors; with `kind` only artifacts of this type.
    pub async fn referrers(&mut self, subject: &Value, kind: Option<&str>) -> Result<Vec<Value>> {
        let mut path = format!("referrers/{}", subject["digest"].as_str().context("no digest")?);
        if let Some(kind) = kind {
            path = with_parameter(&path, "artifactType", &kind.replace('+', "%2B").replace('/', "%2F"));
        }
        let index: Value = serde_json::from_slice(&self.expect(200, "GET", &path, &[], None).await?)?;
        ensure!(
            self.header("content-type") == Some("application/vnd.oci.image.index.v1+json"),
            "{path}: no index"
        );
        if kind.is_some() {
            ensure!(self.header("oci-filters-applied") == Some("artifactType"), "{path}: not filtered");
        }
        Ok(index["manifests"].as_array().context("no manifests")?.clone())
    }
}

/// The type of a manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
