//! end-3, end-7 and end-9: manifests and tags.

use serde_json::json;
use shoal_oci::Digest;

use crate::documents::{
    CONFIG, DOCKER_IMAGE, DOCKER_LIST, IMAGE, INDEX, LAYER, bytes, descriptor, image, index, with,
};
use crate::talk::{Talk, sha512};

#[tokio::test]
async fn end_3_a_manifest_comes_back_byte_for_byte_by_tag_and_digest() {
    let talk = Talk::start().await;
    let (document, digest) = talk.push_image("team/app", "v1").await;
    for reference in ["v1".to_owned(), digest.to_string()] {
        let path = format!("/v2/team/app/manifests/{reference}");
        for accept in ["", "*/*", IMAGE, "text/html", DOCKER_LIST] {
            let get = talk.send("GET", &path, &[("accept", accept)], "").await;
            assert_eq!(get.expect(200).body, document);
            let head = talk.send("HEAD", &path, &[("accept", accept)], "").await;
            for reply in [&get, head.expect(200)] {
                assert_eq!(reply.header("content-type"), IMAGE);
                assert_eq!(reply.header("content-length"), document.len().to_string());
                assert_eq!(reply.header("docker-content-digest"), digest.to_string());
                assert_eq!(reply.header("etag"), format!("\"{digest}\""));
            }
        }
    }
}

#[tokio::test]
async fn end_3_what_is_not_there_is_404_and_what_is_no_reference_is_400() {
    let talk = Talk::start().await;
    talk.push_image("a", "v1").await;
    for path in
        ["/v2/a/manifests/v2", "/v2/b/manifests/v1", &format!("/v2/a/manifests/{}", Digest::sha256(b"x"))]
    {
        talk.get(path).await.expect_error(404, "MANIFEST_UNKNOWN");
        talk.head(path).await.expect(404);
    }
    talk.get("/v2/a/manifests/sha256:baddigeststring").await.expect_error(400, "DIGEST_INVALID");
    talk.get("/v2/a/manifests/.hidden").await.expect_error(400, "TAG_INVALID");
}

#[tokio::test]
async fn end_7a_a_push_by_digest_and_by_tag_tells_location_and_digest() {
    let talk = Talk::start().await;
    talk.push("a", "{}").await;
    let document = bytes(&image(&[]));
    for (reference, digest) in [
        ("v1".to_owned(), Digest::sha256(&document)),
        (Digest::sha256(&document).to_string(), Digest::sha256(&document)),
        (sha512(&document).to_string(), sha512(&document)),
    ] {
        let reply = talk.put_manifest(format!("/v2/a/manifests/{reference}"), IMAGE, &document).await;
        assert_eq!(reply.expect(201).header("docker-content-digest"), digest.to_string());
        assert_eq!(reply.header("location"), format!("/v2/a/manifests/{digest}"));
        assert_eq!(talk.get(reply.header("location")).await.expect(200).body, document);
    }
}

#[tokio::test]
async fn end_7a_a_digest_that_is_not_the_bodys_is_400() {
    let talk = Talk::start().await;
    talk.push("a", "{}").await;
    for digest in [Digest::sha256(b"x"), sha512(b"x")] {
        let path = format!("/v2/a/manifests/{digest}");
        talk.put_manifest(&path, IMAGE, &bytes(&image(&[]))).await.expect_error(400, "DIGEST_INVALID");
        talk.get(&path).await.expect(404);
    }
}

#[tokio::test]
async fn end_7a_four_mebibytes_are_taken_and_more_than_eight_are_413() {
    let talk = Talk::start().await;
    talk.push("a", "{}").await;
    let padded = |len: usize| {
        let document = image(&[]).to_string();
        bytes::Bytes::from(format!("{document}{}", " ".repeat(len - document.len())))
    };
    for len in [4 << 20, 8 << 20] {
        let reply = talk.put_manifest("/v2/a/manifests/large", IMAGE, &padded(len)).await;
        reply.expect(201);
        assert_eq!(talk.get("/v2/a/manifests/large").await.body.len(), len);
    }
    let reply = talk.put_manifest("/v2/a/manifests/larger", IMAGE, &padded((8 << 20) + 1)).await;
    reply.expect_error(413, "SIZE_INVALID");
}

#[tokio::test]
async fn end_7a_what_is_referenced_must_be_there() {
    let talk = Talk::start().await;
    talk.push("a", "{}").await;
    let child = descriptor(IMAGE, b"child");
    for (media_type, document) in [
        (IMAGE, image(&[b"missing"])),
        (IMAGE, with(image(&[]), "config", descriptor(CONFIG, b"missing"))),
        (INDEX, index(&[child])),
    ] {
        let reply = talk.put_manifest("/v2/a/manifests/v1", media_type, &bytes(&document)).await;
        reply.expect_error(400, "MANIFEST_BLOB_UNKNOWN");
        assert!(reply.json()["errors"][0]["detail"][0]["digest"].is_string());
    }
    talk.get("/v2/a/manifests/v1").await.expect(404);
}

#[tokio::test]
async fn end_7a_sparse_content_is_taken_where_it_is_allowed() {
    let options = shoal_registry::RegistryOptions { sparse_allowed: true, ..Default::default() };
    let talk = Talk::with(options).await;
    for (media_type, document) in
        [(IMAGE, image(&[b"missing"])), (INDEX, index(&[descriptor(IMAGE, b"child")]))]
    {
        talk.put_manifest("/v2/a/manifests/v1", media_type, &bytes(&document)).await.expect(201);
    }
}

#[tokio::test]
async fn end_7a_unusual_manifests_are_taken() {
    let talk = Talk::start().await;
    let (_, child) = talk.push_image("a", "child").await;
    let layers = |layer| with(image(&[]), "layers", json!([layer]));
    let foreign = with(
        descriptor("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", b"elsewhere"),
        "urls",
        json!(["https://example.com/layer"]),
    );
    let listed = json!({"mediaType": IMAGE, "digest": child, "size": 1, "platform": {"os": "plan9", "architecture": "z80"}});
    for (name, media_type, document) in [
        ("empty layers", IMAGE, image(&[])),
        ("unknown fields", IMAGE, with(image(&[]), "org.example", json!([1, {"a": null}]))),
        ("a missing subject", IMAGE, with(image(&[]), "subject", descriptor(IMAGE, b"nowhere"))),
        ("a foreign layer", IMAGE, layers(foreign)),
        ("data", IMAGE, with(image(&[]), "config", with(descriptor(CONFIG, b"{}"), "data", json!("e30=")))),
        ("an empty index", INDEX, index(&[])),
        ("an unknown platform", INDEX, index(&[listed])),
        ("an artifact", IMAGE, with(image(&[]), "artifactType", json!("application/vnd.example"))),
        ("Docker's image", DOCKER_IMAGE, with(image(&[]), "mediaType", json!(DOCKER_IMAGE))),
        ("Docker's list", DOCKER_LIST, with(index(&[]), "mediaType", json!(DOCKER_LIST))),
    ] {
        let document = bytes(&document);
        let reply = talk.put_manifest("/v2/a/manifests/v1", media_type, &document).await;
        assert_eq!(reply.status, 201, "{name}: {reply:?}");
        let reply = talk.get("/v2/a/manifests/v1").await;
        assert_eq!((reply.header("content-type"), &reply.body), (media_type, &document), "{name}");
    }
}

#[tokio::test]
async fn end_7a_manifests_that_clients_would_read_differently_are_400() {
    let talk = Talk::start().await;
    talk.push("a", "{}").await;
    let sized = |size| with(image(&[]), "config", with(descriptor(CONFIG, b"{}"), "size", size));
    for (name, media_type, document) in [
        ("both", IMAGE, with(image(&[]), "manifests", json!([]))),
        ("another type", INDEX, image(&[])),
        ("negative", IMAGE, sized(json!(-1))),
        ("wrong size", IMAGE, sized(json!(3))),
        (
            "wrong layer size",
            IMAGE,
            with(image(&[]), "layers", json!([with(descriptor(LAYER, b"{}"), "size", json!(9))])),
        ),
        ("data", IMAGE, with(image(&[]), "config", with(descriptor(CONFIG, b"{}"), "data", json!("W10=")))),
        ("schema 3", IMAGE, with(image(&[]), "schemaVersion", json!(3))),
        ("no config", IMAGE, with(image(&[]), "config", json!(null))),
    ] {
        let reply = talk.put_manifest("/v2/a/manifests/v1", media_type, &bytes(&document)).await;
        assert_eq!(reply.status, 400, "{name}");
        reply.expect_error(400, "MANIFEST_INVALID");
    }
    let schema1 = bytes(&json!({"schemaVersion": 1, "fsLayers": []}));
    let prettyjws = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    talk.put_manifest("/v2/a/manifests/v1", prettyjws, &schema1).await.expect_error(400, "UNSUPPORTED");
}

#[tokio::test]
async fn end_7a_a_manifest_without_content_type_is_taken_with_a_warning() {
    let talk = Talk::start().await;
    talk.push("a", "{}").await;
    let reply = talk.put("/v2/a/manifests/v1", bytes(&image(&[]))).await;
    let warning = reply.expect(201).header("warning").to_owned();
    assert!(warning.starts_with("299 - \"") && warning.ends_with('"') && warning.len() <= 4096, "{warning}");
    assert_eq!(talk.get("/v2/a/manifests/v1").await.header("content-type"), IMAGE);
}

#[tokio::test]
async fn end_7b_tags_as_parameters_are_set_and_confirmed() {
    let talk = Talk::start().await;
    talk.push("a", "{}").await;
    let document = bytes(&image(&[]));
    let tags: Vec<String> = (0..10).map(|number| format!("t{number}")).collect();
    let query: String = tags.iter().map(|tag| format!("tag={tag}&")).collect();
    for digest in [Digest::sha256(&document), sha512(&document)] {
        let reply = talk.put_manifest(format!("/v2/a/manifests/{digest}?{query}"), IMAGE, &document).await;
        let confirmed: Vec<_> = reply.expect(201).headers.get_all("oci-tag").iter().collect();
        assert_eq!(confirmed, tags.iter().map(String::as_str).collect::<Vec<_>>());
        for tag in &tags {
            let reply = talk.head(format!("/v2/a/manifests/{tag}")).await;
            assert_eq!(reply.expect(200).header("docker-content-digest"), digest.to_string());
        }
    }
}

#[tokio::test]
async fn end_7b_too_many_tags_are_414_and_a_bad_one_is_400() {
    let talk = Talk::start().await;
    talk.push("a", "{}").await;
    let document = bytes(&image(&[]));
    let path = format!("/v2/a/manifests/{}", Digest::sha256(&document));
    let query: String = (0..51).map(|number| format!("tag=t{number}&")).collect();
    talk.put_manifest(format!("{path}?{query}"), IMAGE, &document).await.expect(414);
    talk.put_manifest(format!("{path}?tag=.x"), IMAGE, &document).await.expect_error(400, "TAG_INVALID");
    talk.get(&path).await.expect(404);
}

#[tokio::test]
async fn end_9_a_deleted_tag_leaves_its_manifest_and_a_deleted_manifest_no_tag() {
    let talk = Talk::start().await;
    let (document, digest) = talk.push_image("a", "v1").await;
    talk.put_manifest("/v2/a/manifests/v2", IMAGE, &document).await.expect(201);
    talk.put_manifest("/v2/a/manifests/v3", IMAGE, &document).await.expect(201);
    talk.delete("/v2/a/manifests/v1").await.expect(202);
    talk.head("/v2/a/manifests/v1").await.expect(404);
    talk.delete("/v2/a/manifests/v1").await.expect_error(404, "MANIFEST_UNKNOWN");
    talk.head(format!("/v2/a/manifests/{digest}")).await.expect(200);
    talk.delete(format!("/v2/a/manifests/{digest}")).await.expect(202);
    for reference in ["v2".to_owned(), "v3".to_owned(), digest.to_string()] {
        talk.head(format!("/v2/a/manifests/{reference}")).await.expect(404);
    }
    assert_eq!(talk.get("/v2/a/tags/list").await.expect(200).json()["tags"], json!([]));
}
