//! Manifests: by tag and by digest, byte for byte, and what is refused.

use bytes::Bytes;
use serde_json::{Value, json};
use shoal_http::Body;
use shoal_oci::Digest;
use shoal_registry::RegistryOptions;
use shoal_store::Options;

use crate::images::{
    CONFIG, DOCKER_MANIFEST, LAYER, OCI_INDEX, OCI_MANIFEST, descriptor, document, image, sha512,
};
use crate::world::{World, chunked};

/// A repository with the blobs `{}` and `layer`.
async fn world_with_blobs() -> World {
    let world = World::new();
    world.push("a", "{}").await;
    world.push("a", "layer").await;
    world
}

async fn put(world: &World, reference: &str, media_type: &str, value: &Value) -> crate::world::Reply {
    world.put_manifest(format!("/v2/a/manifests/{reference}"), media_type, &document(value)).await
}

#[tokio::test]
async fn a_manifest_comes_back_byte_for_byte_by_tag_and_by_digest() {
    let world = world_with_blobs().await;
    let bytes = document(&image(b"{}", &[b"layer"]));
    let digest = Digest::sha256(&bytes);
    let put = world.put_manifest("/v2/a/manifests/v1", OCI_MANIFEST, &bytes).await;
    put.expect(201);
    assert_eq!(put.header("location"), format!("/v2/a/manifests/{digest}"));
    assert_eq!(put.header("docker-content-digest"), digest.to_string());
    assert!(put.headers.get("oci-subject").is_none() && put.headers.get("oci-tag").is_none());
    for reference in ["v1".to_owned(), digest.to_string()] {
        let path = format!("/v2/a/manifests/{reference}");
        let get = world.get(&path).await;
        assert_eq!(get.expect(200).body(), &bytes);
        let head = world.head(&path).await;
        for reply in [&get, head.expect(200)] {
            assert_eq!(reply.header("content-type"), OCI_MANIFEST);
            assert_eq!(reply.header("docker-content-digest"), digest.to_string());
            assert_eq!(reply.header("content-length"), bytes.len().to_string());
            assert_eq!(reply.header("etag"), format!("\"{digest}\""));
        }
        let known = world
            .call("GET", &path)
            .header("if-none-match", format!("\"{digest}\""))
            .send(Body::empty())
            .await;
        assert!(known.expect(304).body().is_empty());
    }
    // What the client prefers does not change what is stored.
    let reply =
        world.call("GET", "/v2/a/manifests/v1").header("accept", DOCKER_MANIFEST).send(Body::empty()).await;
    assert_eq!(reply.expect(200).header("content-type"), OCI_MANIFEST);
}

#[tokio::test]
async fn docker_manifests_keep_their_type_and_parameters_are_dropped() {
    let world = world_with_blobs().await;
    let mut manifest = image(b"{}", &[b"layer"]);
    manifest["mediaType"] = DOCKER_MANIFEST.into();
    put(&world, "v1", &format!("{DOCKER_MANIFEST}; charset=utf-8"), &manifest).await.expect(201);
    assert_eq!(world.get("/v2/a/manifests/v1").await.header("content-type"), DOCKER_MANIFEST);
}

#[tokio::test]
async fn without_a_content_type_the_document_says_what_it_is() {
    let world = world_with_blobs().await;
    let bytes = document(&image(b"{}", &[b"layer"]));
    world.put("/v2/a/manifests/v1", bytes).await.expect(201);
    assert_eq!(world.get("/v2/a/manifests/v1").await.header("content-type"), OCI_MANIFEST);
}

#[tokio::test]
async fn a_manifest_pushed_by_digest_has_to_have_it() {
    let world = world_with_blobs().await;
    let manifest = image(b"{}", &[b"layer"]);
    let digest = Digest::sha256(&document(&manifest));
    put(&world, &digest.to_string(), OCI_MANIFEST, &manifest).await.expect(201);
    let wrong = Digest::sha256(b"wrong").to_string();
    put(&world, &wrong, OCI_MANIFEST, &manifest).await.expect_error(400, "DIGEST_INVALID");
    put(&world, "sha256:baddigeststring", OCI_MANIFEST, &manifest).await.expect_error(400, "DIGEST_INVALID");
    world.get(format!("/v2/a/manifests/{wrong}")).await.expect_error(404, "MANIFEST_UNKNOWN");
    world.get("/v2/a/manifests/v1").await.expect_error(404, "MANIFEST_UNKNOWN");
}

#[tokio::test]
async fn tags_can_be_set_with_parameters_also_for_sha512() {
    let world = world_with_blobs().await;
    let bytes = document(&image(b"{}", &[b"layer"]));
    for digest in [Digest::sha256(&bytes), sha512(&bytes)] {
        let names: Vec<_> = (0..12).map(|index| format!("{}-{index}", digest.algorithm().as_str())).collect();
        let path = format!("/v2/a/manifests/{digest}?tag={}", names.join("&tag="));
        let reply = world.put_manifest(path, OCI_MANIFEST, &bytes).await;
        reply.expect(201);
        assert_eq!(reply.header("docker-content-digest"), digest.to_string());
        let confirmed: Vec<_> =
            reply.headers.get_all("oci-tag").iter().map(|tag| tag.to_str().unwrap()).collect();
        assert_eq!(confirmed, names);
        for reference in names.iter().map(String::as_str).chain([digest.to_string().as_str()]) {
            let get = world.get(format!("/v2/a/manifests/{reference}")).await;
            assert_eq!(get.expect(200).body(), &bytes);
            assert_eq!(get.header("docker-content-digest"), digest.to_string());
        }
    }
    let digest = Digest::sha256(&bytes);
    let many = "&tag=x".to_owned() + &(0..60).map(|index| format!("&tag=t{index}")).collect::<String>();
    world.put_manifest(format!("/v2/a/manifests/{digest}?{many}"), OCI_MANIFEST, &bytes).await.expect(414);
    let bad = world.put_manifest(format!("/v2/a/manifests/{digest}?tag=.bad"), OCI_MANIFEST, &bytes).await;
    bad.expect_error(400, "TAG_INVALID");
}

#[tokio::test]
async fn missing_blobs_are_named() {
    let world = world_with_blobs().await;
    world.push("elsewhere", "other layer").await;
    let manifest = image(b"{}", &[b"layer", b"other layer", b"no layer"]);
    let reply = put(&world, "v1", OCI_MANIFEST, &manifest).await;
    reply.expect_error(400, "MANIFEST_BLOB_UNKNOWN");
    let text = reply.json()["errors"][0]["detail"].to_string();
    assert!(text.contains(&Digest::sha256(b"no layer").to_string()), "{text}");
    assert!(!text.contains(&Digest::sha256(b"layer").to_string()), "{text}");
    world.push("a", "no layer").await;
    let reply = put(&world, "v1", OCI_MANIFEST, &manifest).await;
    reply.expect_error(400, "MANIFEST_BLOB_UNKNOWN");
    assert_eq!(reply.json()["errors"][0]["detail"][0]["digest"], Digest::sha256(b"other layer").to_string());
    world.get("/v2/a/manifests/v1").await.expect(404);
    world.push("a", "other layer").await;
    put(&world, "v1", OCI_MANIFEST, &manifest).await.expect(201);
}

#[tokio::test]
async fn an_index_needs_its_manifests_and_may_be_empty_or_nested() {
    let world = world_with_blobs().await;
    let child = document(&image(b"{}", &[b"layer"]));
    let index = |children: &[(&str, &Bytes)]| {
        let manifests: Vec<_> =
            children.iter().map(|(media_type, bytes)| descriptor(media_type, bytes)).collect();
        json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests})
    };
    let outer = index(&[(OCI_MANIFEST, &child)]);
    let reply = put(&world, "multi", OCI_INDEX, &outer).await;
    reply.expect_error(400, "MANIFEST_BLOB_UNKNOWN");
    assert_eq!(reply.json()["errors"][0]["detail"][0]["digest"], Digest::sha256(&child).to_string());
    put(&world, &Digest::sha256(&child).to_string(), OCI_MANIFEST, &image(b"{}", &[b"layer"]))
        .await
        .expect(201);
    put(&world, "multi", OCI_INDEX, &outer).await.expect(201);
    put(&world, "nested", OCI_INDEX, &index(&[(OCI_INDEX, &document(&outer))])).await.expect(201);
    put(&world, "empty", OCI_INDEX, &index(&[])).await.expect(201);
    assert_eq!(world.get("/v2/a/manifests/nested").await.header("content-type"), OCI_INDEX);
}

#[tokio::test]
async fn sparse_manifests_are_taken_where_that_is_allowed() {
    let options = RegistryOptions { sparse_allowed: true, ..RegistryOptions::default() };
    let world = World::with(Options::durable(), options);
    put(&world, "v1", OCI_MANIFEST, &image(b"{}", &[b"layer"])).await.expect(201);
}

#[tokio::test]
async fn foreign_layers_custom_fields_and_artifacts_are_taken() {
    let world = world_with_blobs().await;
    let mut foreign = image(b"{}", &[b"layer"]);
    let mut layer = descriptor("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", b"not here");
    layer["urls"] = json!(["https://example.com/layer"]);
    foreign["layers"].as_array_mut().unwrap().push(layer);
    put(&world, "foreign", OCI_MANIFEST, &foreign).await.expect(201);
    let mut custom = image(b"{}", &[]);
    custom["org.example.custom"] = json!({"deep": [1, 2, {"x": null}]});
    custom["config"]["data"] = "e30=".into();
    put(&world, "custom", OCI_MANIFEST, &custom).await.expect(201);
    let mut artifact = image(b"{}", &[b"layer"]);
    artifact["artifactType"] = "application/vnd.example+type".into();
    artifact["subject"] = descriptor(OCI_MANIFEST, b"a manifest that is not here");
    let reply = put(&world, "artifact", OCI_MANIFEST, &artifact).await;
    reply.expect(201);
    assert_eq!(reply.header("oci-subject"), Digest::sha256(b"a manifest that is not here").to_string());
}

#[tokio::test]
async fn a_manifest_of_four_mebibytes_is_taken_and_more_than_the_limit_is_413() {
    let world = world_with_blobs().await;
    let with_annotations = |count: usize| {
        let mut manifest = image(b"{}", &[b"layer"]);
        manifest["annotations"] =
            (0..count).map(|index| (format!("k{index}"), Value::from("x".repeat(10_000)))).collect();
        document(&manifest)
    };
    let large = with_annotations(420);
    assert!(large.len() > 4 << 20);
    world.put_manifest("/v2/a/manifests/large", OCI_MANIFEST, &large).await.expect(201);
    assert_eq!(world.get("/v2/a/manifests/large").await.body(), &large);
    let too_large = with_annotations(900);
    assert!(too_large.len() > 8 << 20);
    world.put_manifest("/v2/a/manifests/x", OCI_MANIFEST, &too_large).await.expect_error(413, "SIZE_INVALID");
    let chunks = too_large.chunks(1 << 20).map(Bytes::copy_from_slice).collect();
    let streamed = world.call("PUT", "/v2/a/manifests/x").header("content-type", OCI_MANIFEST);
    streamed.send(chunked(chunks)).await.expect_error(413, "SIZE_INVALID");
    // Refused by what the client states, without reading: this body never comes.
    let (_sender, never) = Body::channel(1);
    let stated = world.call("PUT", "/v2/a/manifests/x").header("content-length", "99999999999");
    stated.send(never).await.expect_error(413, "SIZE_INVALID");
}

#[tokio::test]
async fn bad_manifests_are_refused_and_leave_nothing() {
    let world = world_with_blobs().await;
    let good = image(b"{}", &[b"layer"]);
    let change = |key: &str, value: Value| {
        let mut manifest = good.clone();
        manifest[key] = value;
        document(&manifest)
    };
    let layer = |field: &str, value: Value| {
        let mut layer = descriptor(LAYER, b"layer");
        layer[field] = value;
        change("layers", json!([layer]))
    };
    let cases: Vec<(&str, &str, Bytes)> = vec![
        ("empty", OCI_MANIFEST, "".into()),
        ("no JSON", OCI_MANIFEST, "hello".into()),
        ("null", OCI_MANIFEST, "null".into()),
        ("a list", OCI_MANIFEST, "[]".into()),
        ("an empty object", OCI_MANIFEST, "{}".into()),
        ("deeply nested", OCI_MANIFEST, "[".repeat(100_000).into()),
        (
            "deeply nested inside",
            OCI_MANIFEST,
            format!("{{\"schemaVersion\":2,\"x\":{}", "[".repeat(100_000)).into(),
        ),
        ("not UTF-8", OCI_MANIFEST, Bytes::from_static(b"{\"schemaVersion\":2,\"mediaType\":\"\xff\"}")),
        ("layers and manifests", OCI_MANIFEST, change("manifests", json!([]))),
        ("another type in the document", OCI_MANIFEST, change("mediaType", DOCKER_MANIFEST.into())),
        ("another type in the header", OCI_INDEX, document(&good)),
        ("an unknown type", "text/plain", document(&good)),
        ("schema version 3", OCI_MANIFEST, change("schemaVersion", 3.into())),
        ("negative size", OCI_MANIFEST, layer("size", (-1).into())),
        ("size beyond 2^63", OCI_MANIFEST, layer("size", (1_u64 << 63).into())),
        ("fractional size", OCI_MANIFEST, layer("size", 1.5.into())),
        ("traversal as digest", OCI_MANIFEST, layer("digest", "sha256:../../../etc/passwd".into())),
        ("no digest", OCI_MANIFEST, layer("digest", Value::Null)),
        ("data that is something else", OCI_MANIFEST, layer("data", "e30=".into())),
        ("a config that is no descriptor", OCI_MANIFEST, change("config", "x".into())),
        ("a subject that is no descriptor", OCI_MANIFEST, change("subject", json!({"mediaType": CONFIG}))),
    ];
    for (what, media_type, bytes) in cases {
        let reply = world.put_manifest("/v2/a/manifests/bad", media_type, &bytes).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "MANIFEST_INVALID"), "{what}: {reply:?}");
    }
    world.get("/v2/a/manifests/bad").await.expect_error(404, "MANIFEST_UNKNOWN");
}

#[tokio::test]
async fn schema_1_is_refused_with_words_that_help() {
    let world = World::new();
    let media_type = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    let reply = put(&world, "old", media_type, &json!({"schemaVersion": 1, "fsLayers": []})).await;
    reply.expect_error(400, "UNSUPPORTED");
    assert!(reply.json()["errors"][0]["message"].as_str().unwrap().contains("schema 1"));
}

#[tokio::test]
async fn a_tag_moves_and_its_former_manifest_stays() {
    let world = world_with_blobs().await;
    let (old, new) = (image(b"{}", &[b"layer"]), image(b"{}", &[]));
    put(&world, "v1", OCI_MANIFEST, &old).await.expect(201);
    put(&world, "v1", OCI_MANIFEST, &new).await.expect(201);
    assert_eq!(world.get("/v2/a/manifests/v1").await.body(), &document(&new));
    world.get(format!("/v2/a/manifests/{}", Digest::sha256(&document(&old)))).await.expect(200);
}

#[tokio::test]
async fn deleting_a_tag_leaves_the_manifest_and_deleting_the_manifest_takes_its_tags() {
    let world = World::new();
    let (bytes, digest) = world.push_image("a", "v1").await;
    for tag in ["v2", "v3"] {
        world.put_manifest(format!("/v2/a/manifests/{tag}"), OCI_MANIFEST, &bytes).await.expect(201);
    }
    let by_digest = format!("/v2/a/manifests/{digest}");
    world.delete("/v2/a/manifests/v1").await.expect(202);
    world.head("/v2/a/manifests/v1").await.expect(404);
    world.delete("/v2/a/manifests/v1").await.expect_error(404, "MANIFEST_UNKNOWN");
    world.head(&by_digest).await.expect(200);
    world.delete(&by_digest).await.expect(202);
    for path in [by_digest.as_str(), "/v2/a/manifests/v2", "/v2/a/manifests/v3"] {
        world.head(path).await.expect(404);
    }
    world.delete(&by_digest).await.expect_error(404, "MANIFEST_UNKNOWN");
    assert_eq!(world.get("/v2/a/tags/list").await.expect(200).json()["tags"], json!([]));
}

#[tokio::test]
async fn deleting_can_be_switched_off() {
    let options = RegistryOptions { delete_enabled: false, ..RegistryOptions::default() };
    let world = World::with(Options::durable(), options);
    let (_, digest) = world.push_image("a", "v1").await;
    let blob = Digest::sha256(b"layer of v1");
    for path in
        [format!("/v2/a/manifests/{digest}"), "/v2/a/manifests/v1".to_owned(), format!("/v2/a/blobs/{blob}")]
    {
        world.delete(&path).await.expect_error(405, "UNSUPPORTED");
        world.head(&path).await.expect(200);
    }
    // Giving up an upload is no deletion.
    let session = world.session("a").await;
    world.delete(&session).await.expect(204);
}
