//! end-11: mounts.

use shoal_oci::Digest;

use crate::talk::{Talk, content};

#[tokio::test]
async fn end_11_a_blob_is_mounted_with_and_without_from() {
    let talk = Talk::start().await;
    for bytes in [content(1, 10), content(1, 100_000)] {
        let digest = talk.push("team/source", bytes.clone()).await;
        for (to, from) in [("b", "&from=team/source"), ("c", "&from=team%2Fsource"), ("d", "")] {
            let reply = talk.post(format!("/v2/{to}/blobs/uploads/?mount={digest}{from}"), "").await;
            assert_eq!(reply.expect(201).header("location"), format!("/v2/{to}/blobs/{digest}"));
            assert_eq!(reply.header("docker-content-digest"), digest.to_string());
            assert_eq!(talk.get(reply.header("location")).await.expect(200).body, bytes);
        }
    }
}

#[tokio::test]
async fn end_11_what_cannot_be_mounted_becomes_a_session() {
    let talk = Talk::start().await;
    let (here, missing) = (talk.push("a", "x").await, Digest::sha256(b"y"));
    for query in [
        format!("mount={missing}&from=a"),
        format!("mount={missing}"),
        format!("mount={here}&from=nowhere"),
        format!("mount={here}&from=Not%20A%20Name"),
    ] {
        let reply = talk.post(format!("/v2/b/blobs/uploads/?{query}"), "").await;
        let session = reply.expect(202).header("location").to_owned();
        talk.put(format!("{session}?digest={missing}"), "y").await.expect(201);
        talk.delete(format!("/v2/b/blobs/{missing}")).await.expect(202);
    }
}

#[tokio::test]
async fn end_11_a_bad_digest_is_400() {
    let talk = Talk::start().await;
    talk.post("/v2/b/blobs/uploads/?mount=sha256:no&from=a", "").await.expect_error(400, "DIGEST_INVALID");
}
