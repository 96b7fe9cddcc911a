//! A foreign registry with a token service, which can be told to misbehave: what an upstream does to whoever pulls through.
//!
//! It has what it is given in memory. Its port is a [`Proxy`], so that it can also be gone, or take connections and say nothing.

mod answer;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use async_trait::async_trait;
use bytes::Bytes;
use serde_json::Value;
use shoal_http::{Handler, Limits, Listener, Request, Response, Shutdown};
use shoal_oci::Digest;
use shoal_test_images::{Image, Layout};
use tokio::task::JoinSet;

use crate::proxy::{Manner, Proxy};
use answer::answer;

/// How it treats requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// Everything is given.
    #[default]
    Open,
    /// Who asks needs a token of its service, which everybody gets and which is good for so many requests.
    Tokens(u32),
    /// Everybody needs a password, and none is the right one.
    Closed,
    /// Every request is answered 429, and to come back in half a minute.
    Busy,
    /// The first request for a manifest and the first for a blob are answered 429, and to come back in a second.
    Pausing,
    /// Every request is answered 503.
    Broken,
    /// Every second request of a kind for the same thing is answered 503, beginning with the first.
    Faltering,
    /// Half a second passes before each answer, and bodies come at 2 MB/s.
    Slow,
    /// Bodies break off after 700 kB.
    Cutting,
    /// The first body of each thing breaks off after 700 kB, and there are no ranges.
    CuttingOnce,
    /// The largest layers are not there.
    Lacking,
    /// The largest layers have one wrong byte.
    Lying,
    /// No body states its size.
    Sizeless,
    /// Blobs are somewhere else.
    Redirecting,
}

/// The registry. Stops on drop.
pub struct Upstream {
    /// In front of it: where the cluster asks.
    pub port: Proxy,
    shared: Arc<Shared>,
    _task: JoinSet<()>,
}

/// What it has, and how it feels.
#[derive(Default)]
struct Shared {
    mood: Mutex<Mood>,
    /// By path below `/v2/`.
    contents: Mutex<HashMap<String, Content>>,
    /// How often each thing was asked for in this mood.
    asked: Mutex<HashMap<String, u32>>,
    tokens: Mutex<Tokens>,
}

/// The token that is good now.
#[derive(Default)]
struct Tokens {
    number: u32,
    left: u32,
}

/// A document or a blob.
#[derive(Clone)]
struct Content {
    media_type: String,
    digest: Digest,
    bytes: Bytes,
}

impl Upstream {
    /// Listens, and has nothing. Needs a runtime of tokio.
    pub async fn start() -> Result<Self> {
        let listener = Listener::bind("127.0.0.1:0".parse()?).await?;
        let port = Proxy::start(listener.local_addr()).await?;
        let shared = Arc::new(Shared::default());
        let handler = Arc::new(Face { shared: Arc::clone(&shared), addr: port.addr });
        let mut task = JoinSet::new();
        task.spawn(listener.serve(handler, Limits::default(), Shutdown::new()));
        Ok(Self { port, shared, _task: task })
    }

    /// Takes an image in, under a tag.
    pub fn add(&self, repository: &str, tag: &str, layout: &Layout, image: &Image) -> Result<()> {
        let read = |digest: &Digest| {
            let path = layout.blob_path(digest);
            std::fs::read(&path).with_context(|| path.display().to_string())
        };
        for blob in image.blobs() {
            let content = Content {
                media_type: "application/octet-stream".to_owned(),
                digest: blob.digest,
                bytes: read(&blob.digest)?.into(),
            };
            self.shared.contents().insert(format!("{repository}/blobs/{}", blob.digest), content);
        }
        for manifest in image.manifests() {
            self.put_manifest(repository, None, manifest.media_type, read(&manifest.digest)?.into());
        }
        self.put_manifest(repository, Some(tag), image.root.media_type, read(&image.root.digest)?.into());
        Ok(())
    }

    /// Puts a manifest under its digest, and under a tag.
    fn put_manifest(&self, repository: &str, tag: Option<&str>, media_type: &str, bytes: Bytes) {
        let digest = Digest::sha256(&bytes);
        let content = Content { media_type: media_type.to_owned(), digest, bytes };
        let mut contents = self.shared.contents();
        for reference in tag.map(str::to_owned).into_iter().chain([digest.to_string()]) {
            contents.insert(format!("{repository}/manifests/{reference}"), content.clone());
        }
    }

    /// Replaces the manifest under a tag by what `change` makes of it.
    pub fn change_manifest(
        &self,
        repository: &str,
        tag: &str,
        change: impl FnOnce(&mut Value),
    ) -> Result<()> {
        let former = self.shared.contents().get(&format!("{repository}/manifests/{tag}")).cloned();
        let former = former.context("there is no such manifest")?;
        let mut document: Value = serde_json::from_slice(&former.bytes)?;
        change(&mut document);
        let bytes = Bytes::from(serde_json::to_vec(&document)?);
        self.put_manifest(repository, Some(tag), &former.media_type, bytes);
        Ok(())
    }

    /// From now on.
    pub fn feel(&self, mood: Mood) {
        *self.shared.mood() = mood;
        self.shared.asked().clear();
    }

    /// All is well again.
    pub fn recover(&self) {
        self.port.behave(Manner::Pass);
        self.feel(Mood::Open);
    }
}

impl Shared {
    fn mood(&self) -> MutexGuard<'_, Mood> {
        self.mood.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn contents(&self) -> MutexGuard<'_, HashMap<String, Content>> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn asked(&self) -> MutexGuard<'_, HashMap<String, u32>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request for something; how many there were before.
    fn count(&self, what: &str) -> u32 {
        let mut asked = self.asked();
        let count = asked.entry(what.to_owned()).or_default();
        *count += 1;
        *count - 1
    }

    /// A token that is good for `uses` requests; those before it are good for nothing any more.
    fn token(&self, uses: u32) -> String {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        (tokens.number, tokens.left) = (tokens.number + 1, uses);
        format!("token-{}", tokens.number)
    }

    /// Whether this is the token that is good now; one use less is left of it then.
    fn spend(&self, shown: Option<&str>) -> bool {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let good = shown == Some(&format!("Bearer token-{}", tokens.number)) && tokens.left > 0;
        tokens.left -= u32::from(good);
        good
    }
}

/// What listens.
struct Face {
    shared: Arc<Shared>,
    /// Where it is reached.
    addr: SocketAddr,
}

#[async_trait]
impl Handler for Face {
    async fn handle(&self, request: Request, _peer: SocketAddr) -> Response {
        answer(&self.shared, self.addr, &request).await
    }
}
