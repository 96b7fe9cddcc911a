//! Small images to push.

use bytes::Bytes;
use serde_json::{Value, json};
use shoal_oci::{Algorithm, Digest};

use crate::world::{Reply, World};

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

pub(crate) fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": Digest::sha256(content), "size": content.len()})
}

/// The bytes of a document, in a layout that no JSON writer gives by itself: they must come back as they are.
pub(crate) fn document(value: &Value) -> Bytes {
    format!("\n{value:#} \n").into()
}

/// An image manifest over a config and layers.
pub(crate) fn image(config: &[u8], layers: &[&[u8]]) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(CONFIG, config),
        "layers": layers.iter().map(|layer| descriptor(LAYER, layer)).collect::<Vec<_>>(),
    })
}

impl World {
    pub(crate) async fn put_manifest(&self, path: impl AsRef<str>, media_type: &str, bytes: &Bytes) -> Reply {
        self.call("PUT", path).header("content-type", media_type).send(bytes.clone()).await
    }

    /// Pushes a whole image under a tag; the manifest's bytes and digest.
    pub(crate) async fn push_image(&self, repository: &str, tag: &str) -> (Bytes, Digest) {
        let (config, layer) = (format!("{{\"tag\":\"{tag}\"}}"), format!("layer of {tag}"));
        self.push(repository, config.clone()).await;
        self.push(repository, layer.clone()).await;
        let bytes = document(&image(config.as_bytes(), &[layer.as_bytes()]));
        let reply =
            self.put_manifest(format!("/v2/{repository}/manifests/{tag}"), OCI_MANIFEST, &bytes).await;
        reply.expect(201);
        (bytes.clone(), Digest::sha256(&bytes))
    }
}

pub(crate) fn sha512(bytes: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha512, bytes)
}
