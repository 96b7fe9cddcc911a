//! end-13 and end-14: how far an upload is, and giving it up.

use crate::talk::{Talk, content};

#[tokio::test]
async fn end_13_the_status_tells_location_and_last_byte() {
    let talk = Talk::start().await;
    let session = talk.session("a").await;
    for (part, range) in [(1000, "0-999"), (70_000, "0-70999"), (1, "0-71000")] {
        talk.patch(&session, content(1, part)).await.expect(202);
        let reply = talk.get(&session).await;
        assert_eq!(reply.expect(204).header("range"), range);
        assert_eq!(reply.header("location"), session);
        assert!(reply.body.is_empty());
    }
}

#[tokio::test]
async fn end_13_a_session_belongs_to_its_repository() {
    let talk = Talk::start().await;
    let session = talk.session("a").await;
    let foreign = session.replace("/v2/a/", "/v2/b/");
    talk.get(&foreign).await.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    talk.patch(&foreign, "x").await.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    talk.delete(&foreign).await.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    let digest = shoal_oci::Digest::sha256(b"x");
    talk.put(format!("{foreign}?digest={digest}"), "x").await.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    talk.get(&session).await.expect(204);
}

#[tokio::test]
async fn end_14_a_cancelled_upload_is_gone() {
    let talk = Talk::start().await;
    for size in [0, 100, 100_000] {
        let session = talk.session("a").await;
        if size > 0 {
            talk.patch(&session, content(1, size)).await.expect(202);
        }
        assert!(talk.delete(&session).await.expect(204).body.is_empty());
        talk.get(&session).await.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
        talk.patch(&session, "x").await.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
        talk.delete(&session).await.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    }
}
