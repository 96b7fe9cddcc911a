//! Which documents are accepted, what is read from them, and that no bytes make the parser panic.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::media_type::{DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST};

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const FOREIGN: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";

fn descriptor(media_type: &str, content: &str) -> Value {
    json!({"mediaType": media_type, "digest": Digest::sha256(content.as_bytes()), "size": content.len()})
}

fn image() -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", "config"),
        "layers": [descriptor(LAYER, "one"), descriptor(LAYER, "two"), descriptor(LAYER, "one")],
    })
}

fn with(mut document: Value, key: &str, value: Value) -> Value {
    document[key] = value;
    document
}

fn without(mut document: Value, key: &str) -> Value {
    document.as_object_mut().unwrap().remove(key);
    document
}

fn parse(document: &Value, content_type: Option<&str>) -> Result<Manifest, OciError> {
    Manifest::parse(document.to_string().as_bytes(), content_type)
}

fn digest(content: &str) -> Digest {
    Digest::sha256(content.as_bytes())
}

#[test]
fn an_image_names_its_blobs_once_each() {
    let manifest = parse(&image(), Some(OCI_MANIFEST)).unwrap();
    assert_eq!(manifest.blobs(), [digest("config"), digest("one"), digest("two")]);
    assert!(manifest.children().is_empty() && manifest.subject().is_none());
    assert_eq!(manifest.artifact_type(), Some("application/vnd.oci.image.config.v1+json"));
    assert_eq!(manifest.media_type(), ManifestType::OciManifest);
}

#[test]
fn an_index_names_manifests_and_a_build_cache_also_blobs() {
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "artifactType": "", "manifests": [
        descriptor(OCI_MANIFEST, "amd64"), descriptor(OCI_INDEX, "nested"), descriptor(DOCKER_MANIFEST, "arm64"),
        descriptor(LAYER, "cached"), descriptor("application/vnd.buildkit.cacheconfig.v0", "cacheconfig"),
    ]});
    let manifest = parse(&index, None).unwrap();
    assert_eq!(manifest.children(), [digest("amd64"), digest("nested"), digest("arm64")]);
    assert_eq!(manifest.blobs(), [digest("cached"), digest("cacheconfig")]);
    assert_eq!(manifest.artifact_type(), None);
}

#[test]
fn foreign_layers_may_be_missing() {
    let layers = json!([
        descriptor(LAYER, "own"),
        with(descriptor(FOREIGN, "far"), "urls", json!(["https://example.com/"]))
    ]);
    let manifest = parse(&with(image(), "layers", layers), None).unwrap();
    assert_eq!(manifest.blobs(), [digest("config"), digest("own")]);
    assert_eq!(manifest.blobs_optional(), [digest("far")]);
}

#[test]
fn subject_artifact_type_and_annotations_are_read() {
    let document = with(image(), "subject", descriptor(OCI_MANIFEST, "subject"));
    let document = with(document, "artifactType", json!("application/example"));
    let document = with(document, "annotations", json!({"a": "b"}));
    let manifest = parse(&document, None).unwrap();
    assert_eq!(manifest.subject().unwrap().digest, digest("subject"));
    assert_eq!(manifest.artifact_type(), Some("application/example"));
    assert_eq!(manifest.annotations()["a"], "b");
}

#[test]
fn the_type_comes_from_the_header_the_document_or_the_shape() {
    let untyped = without(image(), "mediaType");
    for (document, header, expected) in [
        (&untyped, None, ManifestType::OciManifest),
        (&untyped, Some(DOCKER_MANIFEST), ManifestType::DockerManifest),
        (&image(), Some(""), ManifestType::OciManifest),
        (
            &image(),
            Some("application/vnd.oci.image.manifest.v1+json; charset=utf-8"),
            ManifestType::OciManifest,
        ),
        (&json!({"schemaVersion": 2, "manifests": []}), None, ManifestType::OciIndex),
        (&json!({"schemaVersion": 2, "manifests": null}), Some(DOCKER_LIST), ManifestType::DockerList),
    ] {
        assert_eq!(parse(document, header).unwrap().media_type(), expected, "{document}");
    }
}

#[test]
fn what_the_specification_allows_is_accepted() {
    for layers in [json!([]), json!(null)] {
        assert!(parse(&with(image(), "layers", layers), None).is_ok());
    }
    assert!(parse(&without(image(), "layers"), None).is_ok());
    assert!(parse(&with(image(), "org.example.custom", json!({"x": [1]})), None).is_ok());
    assert!(parse(&with(image(), "layers", json!([descriptor("application/x-anything", "")])), None).is_ok());
    let inline = with(descriptor("application/vnd.oci.empty.v1+json", "{}"), "data", json!("e30="));
    assert!(parse(&with(image(), "config", inline), None).is_ok());
}

#[test]
fn what_clients_would_disagree_about_is_refused() {
    let wrong_data = with(descriptor("a/b", "{}"), "data", json!("W10="));
    for document in [
        with(image(), "manifests", json!([])),
        json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [], "layers": []}),
        json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [], "config": descriptor("a/b", "")}),
        with(image(), "fsLayers", json!([])),
        with(image(), "mediaType", json!("application/json")),
        with(image(), "mediaType", json!("")),
        with(image(), "mediaType", json!(OCI_INDEX)),
        with(image(), "schemaVersion", json!(3)),
        with(image(), "schemaVersion", json!("2")),
        without(image(), "schemaVersion"),
        without(image(), "config"),
        with(image(), "config", json!([])),
        with(image(), "config", with(descriptor("a/b", ""), "size", json!(-1))),
        with(image(), "config", with(descriptor("a/b", ""), "digest", json!("sha256:bad"))),
        with(image(), "config", with(descriptor("a/b", ""), "mediaType", json!(""))),
        with(image(), "layers", json!([without(descriptor("a/b", ""), "mediaType")])),
        with(image(), "layers", json!([wrong_data])),
        with(image(), "layers", json!({})),
        with(image(), "subject", json!("x")),
        with(image(), "annotations", json!({"a": 1})),
        json!(null),
        json!([2]),
        json!({}),
    ] {
        let error = parse(&document, None).unwrap_err();
        assert_eq!((error.code, error.status), (ErrorCode::ManifestInvalid, 400), "{document}");
    }
    assert_eq!(parse(&image(), Some(DOCKER_MANIFEST)).unwrap_err().code, ErrorCode::ManifestInvalid);
    assert_eq!(parse(&image(), Some("text/html")).unwrap_err().code, ErrorCode::ManifestInvalid);
}

#[test]
fn schema1_is_named_in_the_refusal() {
    let schema1 = json!({"schemaVersion": 1, "fsLayers": [], "history": []});
    for error in [
        parse(&schema1, None).unwrap_err(),
        parse(&image(), Some("application/vnd.docker.distribution.manifest.v1+prettyjws")).unwrap_err(),
    ] {
        assert_eq!((error.code, error.status), (ErrorCode::Unsupported, 400));
        assert!(error.message.contains("schema 1"));
    }
}

#[test]
fn size_nesting_and_count_are_bounded() {
    let large = vec![b' '; MANIFEST_SIZE_MAX as usize + 1];
    assert_eq!(Manifest::parse(&large, None).unwrap_err().status, 413);
    let deep = format!(r#"{{"schemaVersion":2,"x":{}"#, "[".repeat(1 << 20));
    assert_eq!(Manifest::parse(deep.as_bytes(), None).unwrap_err().code, ErrorCode::ManifestInvalid);
    let many = vec![descriptor(LAYER, "x"); DESCRIPTORS_MAX + 1];
    assert!(parse(&with(image(), "layers", json!(many)), None).is_err());
    assert!(parse(&with(image(), "layers", json!(many[1..])), None).is_ok());
}

#[test]
fn refusals_do_not_quote_the_document() {
    for (field, value) in [
        ("schemaVersion", json!("zqzmarker, expected zqzmarker")),
        ("config", json!("zqzmarker")),
        ("config", json!({"mediaType": "a/b", "digest": "zqzmarker:00", "size": 1})),
        ("config", json!({"mediaType": "a/b", "digest": "sha256:zqzmarker", "size": 1})),
        ("mediaType", json!("application/zqzmarker")),
        ("annotations", json!({"zqzmarker": ["zqzmarker"]})),
    ] {
        let message = parse(&with(image(), field, value), None).unwrap_err().message;
        assert!(!message.contains("zqzmarker") && message.len() > 10, "{message}");
    }
}

#[test]
fn four_mebibytes_of_annotations_are_accepted() {
    let annotations: serde_json::Map<_, _> =
        (0..390).map(|index| (format!("k{index}"), json!("x".repeat(10_000)))).collect();
    assert_eq!(
        parse(&with(image(), "annotations", annotations.into()), None).unwrap().annotations().len(),
        390
    );
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Manifest::parse(&bytes, None);
    }

    #[test]
    fn no_damaged_manifest_makes_it_panic(position in 0..400_usize, replacement in any::<u8>(), cut in 0..400_usize) {
        let mut bytes = image().to_string().into_bytes();
        let end = bytes.len() - cut.min(bytes.len());
        if let Some(byte) = bytes.get_mut(position) {
            *byte = replacement;
        }
        let _ = Manifest::parse(&bytes, None);
        let _ = Manifest::parse(&bytes[..end], Some(OCI_MANIFEST));
    }
}
