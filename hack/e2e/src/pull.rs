//! Pulling as containerd does: HEAD of the tag, the manifest by digest, then configuration and layers in parallel.
//!
//! Every byte is hashed and then forgotten, so that a pull measures the other side and not our disk.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use shoal_http::StatusCode;
use shoal_oci::{Digest, Digester};
use tokio::task::JoinSet;

use crate::push::Watch;
use crate::registry::{Registry, expect};

/// The longest silence inside a body. Longer than the stall limit of an agent, which should give up first and say so.
const SILENCE_MAX: Duration = Duration::from_secs(120);

/// Pulls images through one registry or mirror.
#[derive(Clone)]
pub struct Puller {
    registry: Registry,
    watch: Arc<Watch>,
}

/// One pulled blob.
#[derive(Clone, Debug)]
pub struct BlobReport {
    /// The digest that was asked for.
    pub digest: Digest,
    /// The digest of the bytes that came.
    pub got: Digest,
    /// Bytes that came.
    pub size: u64,
    /// From the start of the pull to the first byte of this blob.
    pub first_byte: Duration,
    /// From the start of the pull to the last byte of this blob.
    pub done: Duration,
}

/// One pulled image.
#[derive(Clone, Debug)]
pub struct PullReport {
    /// Configuration and layers.
    pub blobs: Vec<BlobReport>,
    /// From the start to the last byte.
    pub duration: Duration,
    /// From the start to the first byte of any blob.
    pub first_byte: Duration,
}

impl PullReport {
    /// Bytes of all blobs.
    pub fn bytes(&self) -> u64 {
        self.blobs.iter().map(|blob| blob.size).sum()
    }

    /// Blobs whose bytes are not those of their digest.
    pub fn wrong(&self) -> impl Iterator<Item = &BlobReport> {
        self.blobs.iter().filter(|blob| blob.got != blob.digest)
    }
}

impl Puller {
    /// Pulls through `registry`; `watch` hears of every byte of a blob.
    pub fn new(registry: Registry, watch: Arc<Watch>) -> Self {
        Self { registry, watch }
    }

    /// Pulls the image behind a tag: for an index, its first platform.
    pub async fn pull(&self, repository: &str, tag: &str) -> Result<PullReport> {
        let started = Instant::now();
        let resolved = self.registry.resolve(repository, tag).await?;
        let (digest, _) = resolved.with_context(|| format!("there is no {repository}:{tag}"))?;
        let mut document = self.document(repository, &digest).await?;
        if let Some(first) = document["manifests"][0]["digest"].as_str().map(str::to_owned) {
            document = self.document(repository, &first).await?;
        }
        let layers = document["layers"].as_array().context("a manifest without layers")?;
        let mut tasks = JoinSet::new();
        for blob in layers.iter().chain([&document["config"]]) {
            let digest: Digest = blob["digest"].as_str().context("a descriptor without digest")?.parse()?;
            let (puller, repository) = (self.clone(), repository.to_owned());
            tasks.spawn(async move { puller.blob(&repository, &digest, started).await });
        }
        let mut blobs = Vec::new();
        while let Some(blob) = tasks.join_next().await {
            blobs.push(blob??);
        }
        let first_byte = blobs.iter().map(|blob| blob.first_byte).min().unwrap_or_default();
        Ok(PullReport { blobs, duration: started.elapsed(), first_byte })
    }

    async fn document(&self, repository: &str, digest: &str) -> Result<Value> {
        let document = self.registry.manifest(repository, digest).await?;
        let got = Digest::sha256(&document.bytes).to_string();
        ensure!(got == digest, "asked for manifest {digest} and got the bytes of {got}");
        Ok(serde_json::from_slice(&document.bytes)?)
    }

    /// Pulls one blob; times count from `started`. A body that breaks is an error, wrong bytes are in the report.
    pub async fn blob(&self, repository: &str, digest: &Digest, started: Instant) -> Result<BlobReport> {
        let path = format!("{repository}/blobs/{digest}");
        let response = self.registry.get(&path).await?;
        let mut body = expect(response, StatusCode::OK, &path).await?.into_body();
        let mut digester = Digester::new(digest.algorithm());
        let (mut size, mut first_byte) = (0, None);
        loop {
            let frame = tokio::time::timeout(SILENCE_MAX, body.frame_data()).await;
            let Some(bytes) = frame.with_context(|| format!("{path}: silence after {size} bytes"))? else {
                break;
            };
            let bytes = bytes.with_context(|| format!("{path}: broken after {size} bytes"))?;
            first_byte.get_or_insert_with(|| started.elapsed());
            digester.update(&bytes);
            size += bytes.len() as u64;
            (self.watch)(bytes.len() as u64);
        }
        let done = started.elapsed();
        let first_byte = first_byte.unwrap_or(done);
        Ok(BlobReport { digest: *digest, got: digester.finish(), size, first_byte, done })
    }
}
