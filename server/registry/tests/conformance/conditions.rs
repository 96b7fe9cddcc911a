//! Conditional requests (RFC 9110 §13), and with them tags that two writers cannot move past each other.

use shoal_oci::Digest;

use crate::documents::{IMAGE, bytes, image};
use crate::talk::{Reply, Talk, content};

/// An image that exists in `a`, different for each layer.
async fn version(talk: &Talk, layer: &str) -> (bytes::Bytes, String) {
    talk.push("a", "{}").await;
    talk.push("a", layer.to_owned()).await;
    let document = bytes(&image(&[layer.as_bytes()]));
    let tag = format!("\"{}\"", Digest::sha256(&document));
    (document, tag)
}

async fn put(talk: &Talk, document: &bytes::Bytes, header: &str, value: &str) -> Reply {
    let headers = [("content-type", IMAGE), (header, value)];
    talk.send("PUT", "/v2/a/manifests/latest", &headers, document.clone()).await
}

#[tokio::test]
async fn if_none_match_saves_the_transfer() {
    let talk = Talk::start().await;
    let (_, digest) = talk.push_image("a", "v1").await;
    let (small, large) = (talk.push("a", "small").await, talk.push("a", content(1, 100_000)).await);
    for (path, digest) in [
        ("/v2/a/manifests/v1".to_owned(), digest),
        (format!("/v2/a/manifests/{digest}"), digest),
        (format!("/v2/a/blobs/{small}"), small),
        (format!("/v2/a/blobs/{large}"), large),
    ] {
        for method in ["GET", "HEAD"] {
            for tags in [
                format!("\"{digest}\""),
                format!("W/\"{digest}\""),
                format!("\"a\", \"{digest}\""),
                "*".to_owned(),
            ] {
                let reply = talk.send(method, &path, &[("if-none-match", &tags)], "").await;
                assert_eq!(reply.expect(304).header("etag"), format!("\"{digest}\""));
                assert!(reply.body.is_empty());
            }
            talk.send(method, &path, &[("if-none-match", "\"sha256:other\"")], "").await.expect(200);
        }
    }
}

#[tokio::test]
async fn if_match_on_a_read_is_412_for_other_content() {
    let talk = Talk::start().await;
    let (_, digest) = talk.push_image("a", "v1").await;
    let blob = talk.push("a", "small").await;
    for (path, digest) in [("/v2/a/manifests/v1".to_owned(), digest), (format!("/v2/a/blobs/{blob}"), blob)] {
        talk.send("GET", &path, &[("if-match", &format!("\"{digest}\""))], "").await.expect(200);
        talk.send("GET", &path, &[("if-match", "*")], "").await.expect(200);
        for other in [format!("\"{}\"", Digest::sha256(b"x")), format!("W/\"{digest}\""), "words".to_owned()]
        {
            let reply = talk.send("GET", &path, &[("if-match", &other)], "").await;
            reply.expect_error(412, "PRECONDITION_FAILED");
        }
    }
}

#[tokio::test]
async fn if_range_gives_a_part_of_the_same_content_only() {
    let talk = Talk::start().await;
    for bytes in [content(1, 1000), content(1, 100_000)] {
        let digest = talk.push("a", bytes.clone()).await;
        let path = format!("/v2/a/blobs/{digest}");
        let ranged = |tag: String| {
            let path = path.clone();
            let talk = &talk;
            async move { talk.send("GET", path, &[("range", "bytes=0-9"), ("if-range", &tag)], "").await }
        };
        assert_eq!(ranged(format!("\"{digest}\"")).await.expect(206).body, bytes.slice(..10));
        for other in [
            "\"sha256:other\"".to_owned(),
            format!("W/\"{digest}\""),
            "Sat, 01 Jan 2000 00:00:00 GMT".to_owned(),
        ] {
            assert_eq!(ranged(other).await.expect(200).body, bytes);
        }
    }
}

#[tokio::test]
async fn if_none_match_star_creates_a_tag_and_never_moves_one() {
    let talk = Talk::start().await;
    let ((one, one_tag), (two, _)) = (version(&talk, "1").await, version(&talk, "2").await);
    put(&talk, &one, "if-none-match", "*").await.expect(201);
    let refused = put(&talk, &two, "if-none-match", "*").await;
    assert_eq!(refused.expect_error(412, "PRECONDITION_FAILED").header("etag"), one_tag);
    assert_eq!(talk.get("/v2/a/manifests/latest").await.body, one);
}

#[tokio::test]
async fn if_match_moves_a_tag_only_from_where_the_client_saw_it() {
    let talk = Talk::start().await;
    let ((one, one_tag), (two, two_tag), (three, _)) =
        (version(&talk, "1").await, version(&talk, "2").await, version(&talk, "3").await);
    put(&talk, &one, "if-match", &one_tag).await.expect_error(412, "PRECONDITION_FAILED");
    put(&talk, &one, "if-match", "*").await.expect_error(412, "PRECONDITION_FAILED");
    talk.get("/v2/a/manifests/latest").await.expect(404);
    assert_eq!(put(&talk, &one, "if-none-match", "*").await.expect(201).header("etag"), one_tag);
    put(&talk, &two, "if-match", &one_tag).await.expect(201);
    put(&talk, &three, "if-match", &one_tag).await.expect_error(412, "PRECONDITION_FAILED");
    put(&talk, &three, "if-match", &format!("W/{two_tag}")).await.expect(412);
    assert_eq!(talk.get("/v2/a/manifests/latest").await.body, two);
    put(&talk, &three, "if-match", &format!("{one_tag}, {two_tag}")).await.expect(201);
}

#[tokio::test]
async fn if_match_guards_a_delete() {
    let talk = Talk::start().await;
    let ((one, one_tag), (_, other)) = (version(&talk, "1").await, version(&talk, "2").await);
    put(&talk, &one, "if-none-match", "*").await.expect(201);
    let delete = |tag: String| {
        let talk = &talk;
        async move { talk.send("DELETE", "/v2/a/manifests/latest", &[("if-match", &tag)], "").await }
    };
    delete(other).await.expect_error(412, "PRECONDITION_FAILED");
    delete(one_tag.clone()).await.expect(202);
    // Nothing is there, so nothing matches.
    delete(one_tag).await.expect_error(412, "PRECONDITION_FAILED");
}

#[tokio::test]
async fn a_guard_that_cannot_be_read_refuses_the_write() {
    let talk = Talk::start().await;
    let (one, one_tag) = version(&talk, "1").await;
    for header in ["if-match", "if-none-match"] {
        for bad in [one_tag.trim_matches('"'), "latest", "\"a", ""] {
            put(&talk, &one, header, bad).await.expect_error(400, "UNSUPPORTED");
        }
    }
    talk.get("/v2/a/manifests/latest").await.expect(404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_writers_with_one_guard_exactly_one_wins() {
    let talk = std::sync::Arc::new(Talk::start().await);
    let (base, base_tag) = version(&talk, "base").await;
    put(&talk, &base, "if-none-match", "*").await.expect(201);
    let mut versions = Vec::new();
    for number in 0..8 {
        versions.push(version(&talk, &number.to_string()).await.0);
    }
    let writers: Vec<_> = versions
        .into_iter()
        .map(|document| {
            let (talk, base_tag) = (talk.clone(), base_tag.clone());
            tokio::spawn(async move {
                let reply = put(&talk, &document, "if-match", &base_tag).await;
                (reply.status, document)
            })
        })
        .collect();
    let mut winners = Vec::new();
    for writer in writers {
        match writer.await.unwrap() {
            (201, document) => winners.push(document),
            (status, _) => assert_eq!(status, 412),
        }
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(talk.get("/v2/a/manifests/latest").await.body, winners[0]);
}
