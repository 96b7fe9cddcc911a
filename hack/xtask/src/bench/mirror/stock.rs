//! What is pulled: random bytes by seed, which need no file.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::Result;
use serde_json::json;
use shoal_e2e::Registry;
use shoal_oci::{Digest, Digester, media_type};
use shoal_test_images::random::RandomBytes;

/// Bytes hashed at once.
const BLOCK_LEN: usize = 1 << 20;

/// A blob on the server.
pub(super) struct Blob {
    pub(super) digest: Digest,
    pub(super) size: u64,
    seed: u64,
}

impl Blob {
    /// Makes and pushes one.
    pub(super) async fn push(registry: &Registry, repository: &str, seed: u64, size: u64) -> Result<Self> {
        let mut digester = Digester::new(shoal_oci::Algorithm::Sha256);
        let (mut source, mut block) = (content(seed, size), vec![0; BLOCK_LEN]);
        loop {
            let len = source.read(&mut block)?;
            if len == 0 {
                break;
            }
            digester.update(&block[..len]);
        }
        let blob = Self { digest: digester.finish(), size, seed };
        let source = Box::new(content(seed, size));
        registry.push_stream(repository, &blob.digest.to_string(), source).await?;
        Ok(blob)
    }

    /// Its path on any registry.
    pub(super) fn path(&self, repository: &str) -> String {
        format!("/v2/{repository}/blobs/{}", self.digest)
    }

    /// Its bytes as a file.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        std::io::copy(&mut content(self.seed, self.size), &mut File::create(path)?)?;
        Ok(())
    }
}

fn content(seed: u64, size: u64) -> std::io::Take<RandomBytes> {
    RandomBytes::new(seed, &[]).take(size)
}

/// Pushes an image of this one blob under the tag `v1`.
pub(super) async fn push_tag(registry: &Registry, repository: &str, blob: &Blob) -> Result<()> {
    let descriptor =
        json!({"mediaType": "application/octet-stream", "digest": blob.digest, "size": blob.size});
    let document = json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
        "config": descriptor, "layers": [descriptor],
    });
    let bytes = serde_json::to_vec(&document)?;
    registry.put_manifest(repository, "v1", media_type::OCI_MANIFEST, bytes.into()).await
}
