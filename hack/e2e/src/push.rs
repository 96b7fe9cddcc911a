//! Pushing as `docker push` does: HEAD, POST, one streamed PATCH, PUT; manifests last.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bytes::{Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use shoal_http::{Body, BodySender, Method, StatusCode};
use shoal_test_images::{Image, Layout};
use tokio::fs::File;
use tokio::io::AsyncReadExt;

use crate::registry::{Registry, expect, request};

/// Bytes read from a file at once.
const CHUNK_LEN: usize = 256 * 1024;
/// Chunks between the reader of the file and the socket: enough that neither waits for the other's next turn.
const CHUNKS_IN_FLIGHT: usize = 4;

/// Hears how many more bytes went over the wire.
pub type Watch = dyn Fn(u64) + Send + Sync;

impl Registry {
    /// Pushes an image from a layout under a tag.
    pub async fn push(
        &self,
        repository: &str,
        tag: &str,
        layout: &Layout,
        image: &Image,
        watch: &Watch,
    ) -> Result<()> {
        for blob in image.blobs() {
            self.push_blob(repository, &blob.digest.to_string(), &layout.blob_path(&blob.digest), watch)
                .await?;
        }
        for manifest in image.manifests() {
            let bytes = tokio::fs::read(layout.blob_path(&manifest.digest)).await?;
            let digest = manifest.digest.to_string();
            let reference = if manifest.digest == image.root.digest { tag } else { &digest };
            self.put_manifest(repository, reference, manifest.media_type, bytes.into()).await?;
        }
        Ok(())
    }

    /// Pushes one blob from a file, unless the repository has it.
    pub async fn push_blob(&self, repository: &str, digest: &str, path: &Path, watch: &Watch) -> Result<()> {
        if self.blob_size(repository, digest).await?.is_some() {
            return Ok(());
        }
        let upload = self.start_upload(repository).await?;
        let upload = self.patch(&upload, path, watch).await?;
        self.finish_upload(&upload, digest).await
    }

    /// Pushes one blob from a source that is read in multiples of 8 bytes, and never needs a file.
    pub async fn push_stream(
        &self,
        repository: &str,
        digest: &str,
        source: Box<dyn Read + Send>,
    ) -> Result<()> {
        let upload = self.start_upload(repository).await?;
        let (sender, body) = Body::channel(CHUNKS_IN_FLIGHT);
        let request = request(Method::PATCH, &upload, body)?;
        let (response, fed) = tokio::join!(self.send(request), feed_stream(sender, source));
        let response = expect(response?, StatusCode::ACCEPTED, &upload).await?;
        fed?;
        self.finish_upload(&self.location(&response)?, digest).await
    }

    /// Opens an upload and returns its URL.
    pub async fn start_upload(&self, repository: &str) -> Result<String> {
        let url = self.url(&format!("{repository}/blobs/uploads/"));
        let response = self.send(request(Method::POST, &url, Body::empty())?).await?;
        self.location(&expect(response, StatusCode::ACCEPTED, &url).await?)
    }

    /// Streams a file into an upload with one PATCH and returns where the upload goes on.
    pub async fn patch(&self, upload: &str, path: &Path, watch: &Watch) -> Result<String> {
        let (sender, body) = Body::channel(CHUNKS_IN_FLIGHT);
        let mut request = request(Method::PATCH, upload, body)?;
        request
            .headers_mut()
            .insert(CONTENT_TYPE, http::HeaderValue::from_static("application/octet-stream"));
        let (response, fed) = tokio::join!(self.send(request), feed(sender, path.to_owned(), watch));
        // The server's answer says more than the pipe that broke because of it.
        let response = expect(response?, StatusCode::ACCEPTED, upload).await?;
        fed?;
        self.location(&response)
    }

    /// Ends an upload: the server answers 201 only when the blob is there to stay.
    pub async fn finish_upload(&self, upload: &str, digest: &str) -> Result<()> {
        let separator = if upload.contains('?') { '&' } else { '?' };
        let url = format!("{upload}{separator}digest={digest}");
        let response = self.send(request(Method::PUT, &url, Body::empty())?).await?;
        expect(response, StatusCode::CREATED, &url).await.map(drop)
    }

    /// Puts a manifest under a tag or its digest.
    pub async fn put_manifest(
        &self,
        repository: &str,
        reference: &str,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<()> {
        let url = self.url(&format!("{repository}/manifests/{reference}"));
        let mut request = request(Method::PUT, &url, Body::from(bytes))?;
        request.headers_mut().insert(CONTENT_TYPE, media_type.parse()?);
        let response = self.send(request).await?;
        expect(response, StatusCode::CREATED, &url).await.map(drop)
    }
}

async fn feed(sender: BodySender, path: PathBuf, watch: &Watch) -> Result<()> {
    let mut file = File::open(&path).await.with_context(|| format!("cannot read {}", path.display()))?;
    loop {
        let mut chunk = BytesMut::with_capacity(CHUNK_LEN);
        while chunk.len() < CHUNK_LEN && file.read_buf(&mut chunk).await? > 0 {}
        if chunk.is_empty() {
            return Ok(sender.finish().await?);
        }
        let len = chunk.len() as u64;
        sender.send(chunk.freeze()).await?;
        watch(len);
    }
}

/// The source is quick, such as memory or a generator: it is read in place.
async fn feed_stream(sender: BodySender, mut source: Box<dyn Read + Send>) -> Result<()> {
    loop {
        let mut chunk = BytesMut::zeroed(CHUNK_LEN);
        let mut len = 0;
        while len < CHUNK_LEN {
            match source.read(&mut chunk[len..])? {
                0 => break,
                count => len += count,
            }
        }
        if len == 0 {
            return Ok(sender.finish().await?);
        }
        chunk.truncate(len);
        sender.send(chunk.freeze()).await?;
    }
}
