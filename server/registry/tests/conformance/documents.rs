//! Manifests to push.

use bytes::Bytes;
use serde_json::{Value, json};
use shoal_oci::Digest;

use crate::talk::Talk;

pub(crate) const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const DOCKER_IMAGE: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

pub(crate) fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": Digest::sha256(content), "size": content.len()})
}

/// The bytes of a document, in a layout that no JSON writer gives by itself: they must come back as they are.
pub(crate) fn bytes(document: &Value) -> Bytes {
    format!("\n{document:#} \n").into()
}

/// An image of the config `{}` and layers.
pub(crate) fn image(layers: &[&[u8]]) -> Value {
    json!({
        "schemaVersion": 2, "mediaType": IMAGE, "config": descriptor(CONFIG, b"{}"),
        "layers": layers.iter().map(|layer| descriptor(LAYER, layer)).collect::<Vec<_>>(),
    })
}

pub(crate) fn index(manifests: &[Value]) -> Value {
    json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests})
}

/// The document with another value for one key.
pub(crate) fn with(mut document: Value, key: &str, value: Value) -> Value {
    document[key] = value;
    document
}

impl Talk {
    /// Pushes an image of one layer under a tag; its bytes and digest.
    pub(crate) async fn push_image(&self, repository: &str, tag: &str) -> (Bytes, Digest) {
        let layer = format!("layer of {tag}");
        self.push(repository, "{}").await;
        self.push(repository, layer.clone()).await;
        let document = bytes(&image(&[layer.as_bytes()]));
        self.put_manifest(format!("/v2/{repository}/manifests/{tag}"), IMAGE, &document).await.expect(201);
        (document.clone(), Digest::sha256(&document))
    }
}
