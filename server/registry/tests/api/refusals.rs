//! Requests that are wrong before any handler sees them: paths, methods, queries, headers.

use shoal_http::Body;
use shoal_oci::Digest;

use crate::world::World;

#[tokio::test]
async fn the_base_says_that_this_is_a_registry() {
    let world = World::new();
    for path in ["/v2/", "/v2"] {
        assert_eq!(world.get(path).await.expect(200).json(), serde_json::json!({}));
        world.head(path).await.expect(200);
    }
}

#[tokio::test]
async fn paths_that_name_nothing_are_404_in_oci_form() {
    let world = World::new();
    for path in [
        "/",
        "/v1/",
        "/v2x",
        "/v2/a",
        "/v2/a/b",
        "/v2/a/tags",
        "/v2/a/tags/lists",
        "/health/x",
        "/v2/a/nonsense/b",
    ] {
        let reply = world.get(path).await;
        reply.expect(404);
        world.head(path).await.expect(404);
        world.put(path, "body").await.expect(404);
    }
}

#[tokio::test]
async fn methods_that_a_route_does_not_know_are_405_with_allow() {
    let world = World::new();
    let digest = Digest::sha256(b"");
    let session = world.session("a").await;
    let reading = "GET, HEAD";
    for (path, allow, refused) in [
        (
            "/v2/".to_owned(),
            reading,
            &["PUT", "POST", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW"][..],
        ),
        ("/v2/_catalog".to_owned(), reading, &["POST", "DELETE"]),
        ("/v2/a/tags/list".to_owned(), reading, &["POST", "DELETE"]),
        (format!("/v2/a/referrers/{digest}"), reading, &["PUT"]),
        (format!("/v2/a/blobs/{digest}"), "GET, HEAD, DELETE", &["PUT", "POST", "PATCH"]),
        ("/v2/a/blobs/uploads/".to_owned(), "POST", &["GET", "HEAD", "PUT", "DELETE"]),
        (session, "GET, HEAD, PATCH, PUT, DELETE", &["POST", "TRACE"]),
        ("/v2/a/manifests/v1".to_owned(), "GET, HEAD, PUT, DELETE", &["POST", "PATCH", "TRACE"]),
    ] {
        for method in refused {
            let reply = world.call(method, &path).send(Body::empty()).await;
            reply.expect(405);
            assert_eq!(reply.header("allow"), allow, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn names_outside_the_grammar_are_refused_wherever_they_stand() {
    let world = World::new();
    let digest = Digest::sha256(b"");
    let long = "a".repeat(3000);
    let deep = vec!["a"; 500].join("/");
    for name in [
        "A",
        "a//b",
        ".a",
        "a/../b",
        "..",
        "a%2fb",
        "a%2Fb",
        "%61",
        "a_-b",
        "a%00b",
        long.as_str(),
        deep.as_str(),
    ] {
        for path in [
            format!("/v2/{name}/blobs/{digest}"),
            format!("/v2/{name}/manifests/v1"),
            format!("/v2/{name}/tags/list"),
            format!("/v2/{name}/referrers/{digest}"),
        ] {
            world.get(&path).await.expect_error(400, "NAME_INVALID");
        }
        let post = world.post(format!("/v2/{name}/blobs/uploads/"), Body::empty()).await;
        post.expect_error(400, "NAME_INVALID");
    }
}

#[tokio::test]
async fn digests_and_tags_outside_the_grammar_are_refused() {
    let world = World::new();
    let digest = Digest::sha256(b"").to_string();
    let upper = digest.to_uppercase().replace("SHA256", "sha256");
    for bad in [
        "sha256:",
        "sha256:abc",
        "md5:d41d8cd98f00b204e9800998ecf8427e",
        &upper,
        &digest.replace(':', "%3A"),
        "latest",
    ] {
        world.get(format!("/v2/a/blobs/{bad}")).await.expect_error(400, "DIGEST_INVALID");
        world.delete(format!("/v2/a/blobs/{bad}")).await.expect_error(400, "DIGEST_INVALID");
    }
    for bad in [".a", "-a", "a%20b", "..", "%2e%2e", &"a".repeat(129)] {
        world.get(format!("/v2/a/manifests/{bad}")).await.expect_error(400, "TAG_INVALID");
        world.put(format!("/v2/a/manifests/{bad}"), "{}").await.expect_error(400, "TAG_INVALID");
    }
}

#[tokio::test]
async fn sessions_that_we_never_gave_do_not_exist() {
    let world = World::new();
    for id in
        ["x", "..", "%2e%2e", "..%2f..%2fetc%2fpasswd", "00000000000000000000000000000000", &"f".repeat(5000)]
    {
        let path = format!("/v2/a/blobs/uploads/{id}");
        world.get(&path).await.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
        world.patch(&path, "x").await.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
        world.delete(&path).await.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
        let put = world.put(format!("{path}?digest={}", Digest::sha256(b"x")), "x").await;
        put.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    }
}

#[tokio::test]
async fn queries_that_cannot_be_read_are_refused() {
    let world = World::new();
    for query in ["%", "a=%zz", "n=%ff"] {
        world.get(format!("/v2/_catalog?{query}")).await.expect(400);
    }
    world.get(format!("/v2/_catalog?{}", "a=b&".repeat(1000))).await.expect(414);
}

#[tokio::test]
async fn forwarded_hosts_are_not_reflected() {
    let world = World::new();
    let call = world.call("POST", "/v2/a/blobs/uploads/").header("host", "evil.example.com");
    let reply = call.header("x-forwarded-host", "evil.example.com").header("x-forwarded-proto", "https");
    let reply = reply.send(Body::empty()).await;
    reply.expect(202);
    assert!(reply.headers.values().all(|value| !value.to_str().unwrap().contains("evil")), "{reply:?}");
}

#[tokio::test]
async fn names_may_look_like_routes() {
    let world = World::new();
    for repository in ["blobs/uploads", "manifests/tags", "tags/list", "referrers", "a/blobs/uploads/b"] {
        let digest = world.push(repository, "content").await;
        world.get(format!("/v2/{repository}/blobs/{digest}")).await.expect(200);
        world.push_image(repository, "list").await;
        world.get(format!("/v2/{repository}/manifests/list")).await.expect(200);
        world.get(format!("/v2/{repository}/tags/list")).await.expect(200);
    }
}
