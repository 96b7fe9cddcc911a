//! end-2 and end-10: blobs.

use shoal_oci::Digest;

use crate::talk::{Talk, content, sha512};

#[tokio::test]
async fn end_1_the_base_answers_200_to_get_and_head_with_and_without_slash() {
    let talk = Talk::start().await;
    for path in ["/v2/", "/v2"] {
        assert_eq!(talk.get(path).await.expect(200).body, "{}");
        talk.head(path).await.expect(200);
    }
}

#[tokio::test]
async fn end_2_get_and_head_tell_digest_length_and_entity_tag() {
    let talk = Talk::start().await;
    let large = content(1, 300_000);
    for bytes in ["small".into(), "".into(), large] {
        for digest in [Digest::sha256(&bytes), sha512(&bytes)] {
            talk.post(format!("/v2/a/blobs/uploads/?digest={digest}"), bytes.clone()).await.expect(201);
            let path = format!("/v2/a/blobs/{digest}");
            let (get, head) = (talk.get(&path).await, talk.head(&path).await);
            assert_eq!(get.expect(200).body, bytes);
            assert!(head.expect(200).body.is_empty());
            for reply in [get, head] {
                assert_eq!(reply.header("docker-content-digest"), digest.to_string());
                assert_eq!(reply.header("content-length"), bytes.len().to_string());
                assert_eq!(reply.header("etag"), format!("\"{digest}\""));
                assert_eq!(reply.header("accept-ranges"), "bytes");
            }
        }
    }
}

#[tokio::test]
async fn end_2_a_blob_that_is_not_in_the_repository_is_404() {
    let talk = Talk::start().await;
    let digest = talk.push("a", "x").await;
    for path in [format!("/v2/b/blobs/{digest}"), format!("/v2/a/blobs/{}", Digest::sha256(b"y"))] {
        talk.get(&path).await.expect_error(404, "BLOB_UNKNOWN");
        talk.head(&path).await.expect(404);
    }
}

#[tokio::test]
async fn end_2_ranges_follow_rfc_9110() {
    let talk = Talk::start().await;
    // In a pack and in a file of its own.
    for size in [2000_usize, 200_000] {
        let bytes = content(2, size);
        let path = format!("/v2/a/blobs/{}", talk.push("a", bytes.clone()).await);
        for (range, part) in [
            ("bytes=500-1499", 500..1500),
            ("bytes=500-", 500..size),
            ("bytes=-500", size - 500..size),
            ("bytes=-999999", 0..size),
            ("bytes=1500-999999", 1500..size),
            ("bytes=0-0", 0..1),
            ("BYTES=0-0", 0..1),
        ] {
            let reply = talk.send("GET", &path, &[("range", range)], "").await;
            assert_eq!(reply.expect(206).body, bytes.slice(part.clone()), "{range}");
            let stated = format!("bytes {}-{}/{size}", part.start, part.end - 1);
            assert_eq!(reply.header("content-range"), stated, "{range}");
            assert_eq!(reply.header("content-length"), part.len().to_string(), "{range}");
        }
        for range in ["bytes=500-0", "bytes=999999-", "bytes=999999-9999999", "bytes=-0"] {
            let reply = talk.send("GET", &path, &[("range", range)], "").await;
            reply.expect_error(416, "RANGE_INVALID");
            assert_eq!(reply.header("content-range"), format!("bytes */{size}"), "{range}");
        }
        for range in ["lines=0-1", "bytes=0-1,5-9", "bytes=a-b", "bytes"] {
            assert_eq!(
                talk.send("GET", &path, &[("range", range)], "").await.expect(200).body,
                bytes,
                "{range}"
            );
        }
        let head = talk.send("HEAD", &path, &[("range", "bytes=0-0")], "").await;
        assert_eq!(head.expect(200).header("content-length"), size.to_string());
    }
}

#[tokio::test]
async fn end_10_a_deleted_blob_is_gone_at_once_and_only_from_its_repository() {
    let talk = Talk::start().await;
    for bytes in [content(3, 100), content(3, 100_000)] {
        let digest = talk.push("a", bytes.clone()).await;
        talk.push("b", bytes.clone()).await;
        let path = format!("/v2/a/blobs/{digest}");
        talk.get(&path).await.expect(200);
        talk.delete(&path).await.expect(202);
        talk.head(&path).await.expect(404);
        talk.get(&path).await.expect(404);
        talk.delete(&path).await.expect_error(404, "BLOB_UNKNOWN");
        assert_eq!(talk.get(format!("/v2/b/blobs/{digest}")).await.expect(200).body, bytes);
        talk.push("a", bytes).await;
        talk.head(&path).await.expect(200);
    }
}

#[tokio::test]
async fn end_10_deleting_can_be_switched_off() {
    let options = shoal_registry::RegistryOptions { delete_enabled: false, ..Default::default() };
    let talk = Talk::with(options).await;
    let digest = talk.push("a", "x").await;
    for path in [format!("/v2/a/blobs/{digest}"), "/v2/a/manifests/v1".to_owned()] {
        assert!(
            !talk.delete(&path).await.expect_error(405, "UNSUPPORTED").header("allow").contains("DELETE")
        );
    }
    talk.head(format!("/v2/a/blobs/{digest}")).await.expect(200);
}
