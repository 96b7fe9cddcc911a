//! What the HTTP face answers, to good questions and to bad ones.

use bytes::Bytes;
use serde_json::{Value, json};
use shoal_api::tags::{Condition, PutManifest, PutOutcome, References};
use shoal_http::Body;
use shoal_metadata::Embedded;
use shoal_oci::{Annotations, Digest};
use tempfile::TempDir;

use super::*;
use crate::LocalTags;

/// A handler over a repository `team/app` with the given tags, and a repository `bare` with a blob only.
async fn handler(tags: &[&str]) -> (TagsHandler, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let local = LocalTags::new(Embedded::open(directory.path()).unwrap());
    let manifest = PutManifest {
        repository: "team/app".parse().unwrap(),
        digest: Digest::sha256(b"{}"),
        media_type: "a/b".to_owned(),
        bytes: Bytes::from_static(b"{}"),
        blobs: Vec::new(),
        blobs_optional: Vec::new(),
        children: Vec::new(),
        subject: None,
        artifact_type: None,
        annotations: Annotations::new(),
        tags: tags.iter().map(|tag| tag.parse().unwrap()).collect(),
        references: References::Required,
        condition: Condition::default(),
        immutable: Vec::new(),
        overwrite: true,
        outbox: Vec::new(),
    };
    assert!(matches!(local.put_manifest(manifest).await, Ok(PutOutcome::Stored { .. })));
    local.link_blob(&"bare".parse().unwrap(), &Digest::sha256(b"x"), 1, Vec::new()).await.unwrap();
    (TagsHandler::new(Arc::new(local)), directory)
}

async fn ask(handler: &TagsHandler, method: Method, path: &str) -> (StatusCode, header::HeaderMap, Bytes) {
    let request = http::Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
    let response = handler.handle(request, "127.0.0.1:1".parse().unwrap()).await;
    let (parts, body) = response.into_parts();
    (parts.status, parts.headers, body.collect(1 << 20).await.unwrap())
}

async fn get_json(handler: &TagsHandler, path: &str) -> (StatusCode, Value) {
    let (status, headers, body) = ask(handler, Method::GET, path).await;
    assert_eq!(headers[header::CONTENT_TYPE], json::JSON, "{path}");
    (status, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn a_tag_is_answered_with_its_digest() {
    let (handler, _directory) = handler(&["v1"]).await;
    let digest = Digest::sha256(b"{}").to_string();
    for path in
        ["/tags/team%2Fapp:v1", "/tags/team%2fapp%3Av1", "/tags/team/app:v1", "/tags/team%2Fapp:v1?x=y"]
    {
        for method in [Method::GET, Method::HEAD] {
            let (status, headers, body) = ask(&handler, method, path).await;
            assert_eq!((status, body), (StatusCode::OK, Bytes::from(digest.clone())), "{path}");
            assert_eq!(headers[header::CONTENT_LENGTH], digest.len().to_string());
        }
    }
}

#[tokio::test]
async fn what_is_not_there_and_what_is_not_a_tag_are_told_apart() {
    let (handler, _directory) = handler(&["v1"]).await;
    for (path, expected) in [
        ("/tags/team%2Fapp:v2", StatusCode::NOT_FOUND),
        ("/tags/other:v1", StatusCode::NOT_FOUND),
        ("/tags/team%2Fapp", StatusCode::BAD_REQUEST),
        ("/tags/", StatusCode::BAD_REQUEST),
        ("/tags/:v1", StatusCode::BAD_REQUEST),
        ("/tags/team%2Fapp:", StatusCode::BAD_REQUEST),
        ("/tags/Team:v1", StatusCode::BAD_REQUEST),
        ("/tags/..%2F..%2Fetc:v1", StatusCode::BAD_REQUEST),
        ("/tags/%ff:v1", StatusCode::BAD_REQUEST),
        ("/tags/%zz:v1", StatusCode::BAD_REQUEST),
        ("/repositories/other/tags", StatusCode::NOT_FOUND),
        ("/repositories/Team/tags", StatusCode::BAD_REQUEST),
        ("/repositories//tags", StatusCode::BAD_REQUEST),
        ("/repositories/team%2Fapp/tags?limit=0", StatusCode::BAD_REQUEST),
        ("/repositories/team%2Fapp/tags?limit=-1", StatusCode::BAD_REQUEST),
        ("/repositories/team%2Fapp/tags?limit=x", StatusCode::BAD_REQUEST),
        ("/repositories/tags", StatusCode::NOT_FOUND),
        ("/", StatusCode::NOT_FOUND),
    ] {
        let (status, body) = get_json(&handler, path).await;
        assert_eq!(status, expected, "{path}");
        assert!(body["error"].is_string(), "{path}");
    }
    for path in ["/tags/team%2Fapp:v1", "/repositories/team%2Fapp/tags"] {
        let (status, headers, _) = ask(&handler, Method::PUT, path).await;
        assert_eq!(
            (status, &headers[header::ALLOW]),
            (StatusCode::METHOD_NOT_ALLOWED, &"GET, HEAD".parse().unwrap())
        );
    }
}

#[tokio::test]
async fn tags_are_listed_page_by_page() {
    let (handler, _directory) = handler(&["a", "b", "c"]).await;
    let first = "/repositories/team%2Fapp/tags?limit=2";
    let (status, page) = get_json(&handler, first).await;
    let next = "/repositories/team%2Fapp/tags?limit=2&offset=b";
    assert_eq!(status, StatusCode::OK);
    assert_eq!(page, json!({"links": {"next": next, "self": first}, "size": 2, "result": ["a", "b"]}));
    let (_, page) = get_json(&handler, next).await;
    assert_eq!(page, json!({"links": {"next": "", "self": next}, "size": 1, "result": ["c"]}));
    let (_, page) = get_json(&handler, "/repositories/team/app/tags").await;
    assert_eq!(page["result"], json!(["a", "b", "c"]));
    let (_, page) = get_json(&handler, "/repositories/bare/tags?offset=").await;
    assert_eq!((&page["result"], &page["size"]), (&json!([]), &json!(0)));
}

#[test]
fn an_outage_is_not_an_absence() {
    let answer = Refusal::from(TagsError::new(TagsErrorKind::Unavailable, "later")).into_response();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers().contains_key(header::RETRY_AFTER));
    let fault = Refusal::from(TagsError::new(TagsErrorKind::Internal, "x"));
    assert_eq!(fault.into_response().status(), StatusCode::INTERNAL_SERVER_ERROR);
}
