//! The JSON documents around the layers: configuration, manifest, index.

use serde_json::{Map, Value, json};

use crate::image::Descriptor;
use crate::layer::Layer;
use crate::media_type;
use crate::spec::{Format, ImageSpec, Platform};

/// A fixed creation time, because the same spec must give the same bytes.
const CREATED: &str = "2020-01-01T00:00:00Z";

/// The image configuration (OCI image-spec "Image Configuration", equal in Docker's schema).
pub(crate) fn config(spec: &ImageSpec, platform: &Platform, layers: &[Layer]) -> Vec<u8> {
    let diff_ids: Vec<String> = layers.iter().map(|layer| layer.diff_id.to_string()).collect();
    let history: Vec<Value> =
        layers.iter().map(|_| json!({"created": CREATED, "created_by": "shoal-test-images"})).collect();
    let mut inner = json!({"Env": ["PATH=/bin"], "WorkingDir": "/"});
    if spec.rootfs.is_some() {
        inner["Cmd"] = json!(["/bin/busybox", "cat", "/marker"]);
    }
    let mut config = platform_fields(platform);
    config.insert("created".to_owned(), json!(CREATED));
    config.insert("config".to_owned(), inner);
    config.insert("rootfs".to_owned(), json!({"type": "layers", "diff_ids": diff_ids}));
    config.insert("history".to_owned(), json!(history));
    Value::Object(config).to_string().into_bytes()
}

/// The manifest of one platform.
pub(crate) fn manifest(format: Format, config: &Descriptor, layers: &[Descriptor]) -> Vec<u8> {
    json!({
        "schemaVersion": 2,
        "mediaType": media_type::manifest(format),
        "config": descriptor(config),
        "layers": layers.iter().map(descriptor).collect::<Vec<_>>(),
    })
    .to_string()
    .into_bytes()
}

/// The index over the manifests of several platforms.
pub(crate) fn index<'a>(
    format: Format,
    manifests: impl Iterator<Item = (&'a Platform, &'a Descriptor)>,
) -> Vec<u8> {
    let entries: Vec<Value> = manifests
        .map(|(platform, manifest)| {
            let mut entry = descriptor(manifest);
            entry["platform"] = Value::Object(platform_fields(platform));
            entry
        })
        .collect();
    json!({"schemaVersion": 2, "mediaType": media_type::index(format), "manifests": entries})
        .to_string()
        .into_bytes()
}

/// A descriptor as documents hold it.
pub(crate) fn descriptor(descriptor: &Descriptor) -> Value {
    json!({
        "mediaType": descriptor.media_type,
        "digest": descriptor.digest.to_string(),
        "size": descriptor.size,
    })
}

fn platform_fields(platform: &Platform) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("architecture".to_owned(), json!(platform.architecture));
    fields.insert("os".to_owned(), json!(platform.os));
    if let Some(variant) = &platform.variant {
        fields.insert("variant".to_owned(), json!(variant));
    }
    fields
}
