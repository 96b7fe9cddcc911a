//! Error bodies and statuses. Their form is checked with every answer, see `talk.rs`.

use shoal_oci::Digest;

use crate::talk::Talk;

#[tokio::test]
async fn errors_have_the_specified_form_on_every_path() {
    let talk = Talk::start().await;
    for path in [
        "/",
        "/v1/",
        "/v3/x",
        "/v2/a",
        "/v2/a/unknown/x",
        "/favicon.ico",
        "/v2/_oci/ext/other",
        "/v2/_unknown",
    ] {
        for method in ["GET", "PUT", "POST", "DELETE"] {
            let reply = talk.send(method, path, &[], "").await;
            assert_eq!(reply.status, 404, "{method} {path}");
        }
        talk.head(path).await.expect(404);
    }
}

#[tokio::test]
async fn errors_of_method_name_the_methods() {
    let talk = Talk::start().await;
    let blob = format!("/v2/a/blobs/{}", Digest::sha256(b""));
    for (path, method, allow) in [
        ("/v2/", "POST", "GET, HEAD"),
        ("/v2/_catalog", "DELETE", "GET, HEAD"),
        ("/v2/_oci/ext/discover", "PUT", "GET, HEAD"),
        (&blob, "PUT", "GET, HEAD, DELETE"),
        ("/v2/a/manifests/v1", "PATCH", "GET, HEAD, PUT, DELETE"),
        ("/v2/a/blobs/uploads/", "GET", "POST"),
        ("/v2/a/tags/list", "OPTIONS", "GET, HEAD"),
        ("/v2/a/tags/list", "TRACE", "GET, HEAD"),
        ("/v2/a/tags/list", "BREW", "GET, HEAD"),
    ] {
        let reply = talk.send(method, path, &[], "").await;
        assert_eq!(reply.expect_error(405, "UNSUPPORTED").header("allow"), allow, "{method} {path}");
    }
}

#[tokio::test]
async fn errors_of_names_are_400_at_any_length() {
    let talk = Talk::start().await;
    for name in ["A", "a..b", "-a", &"a".repeat(256), &"a".repeat(3000), &vec!["a"; 500].join("/")] {
        talk.get(format!("/v2/{name}/tags/list")).await.expect_error(400, "NAME_INVALID");
        talk.post(format!("/v2/{name}/blobs/uploads/"), "").await.expect_error(400, "NAME_INVALID");
    }
    talk.post(format!("/v2/{}/blobs/uploads/", "a".repeat(255)), "").await.expect(202);
}

#[tokio::test]
async fn errors_of_contradicting_parameters_are_400() {
    let talk = Talk::start().await;
    let (one, other) = (Digest::sha256(b"1"), Digest::sha256(b"2"));
    let session = talk.session("a").await;
    talk.put(format!("{session}?digest={one}&digest={other}"), "1").await.expect_error(400, "DIGEST_INVALID");
    let path = format!("/v2/a/blobs/uploads/?digest={one}&digest={other}");
    talk.post(path, "1").await.expect_error(400, "DIGEST_INVALID");
    talk.put(format!("{session}?digest={one}&digest={one}"), "1").await.expect(201);
}

#[tokio::test]
async fn paths_are_read_from_the_right() {
    let talk = Talk::start().await;
    for repository in ["blobs/uploads", "manifests/tags", "a/blobs/uploads/b", "referrers", "tags/list"] {
        talk.push_image(repository, "list").await;
        talk.get(format!("/v2/{repository}/tags/list")).await.expect(200);
        talk.get(format!("/v2/{repository}/manifests/list")).await.expect(200);
    }
}

#[tokio::test]
async fn a_namespace_parameter_changes_nothing_on_a_registry_that_is_no_proxy() {
    let talk = Talk::start().await;
    let (document, _) = talk.push_image("a", "v1").await;
    let reply = talk.get("/v2/a/manifests/v1?ns=registry.example.com").await;
    assert_eq!(reply.expect(200).body, document);
    assert!(reply.header("oci-namespace").is_empty());
}
