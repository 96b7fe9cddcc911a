//! Manifests by tag and by digest, fresh, remembered and stale.

use std::time::{Duration, Instant};

use shoal_oci::{Digest, media_type};

use crate::cluster::Cluster;

const MANIFEST: &str = "{ \"schemaVersion\": 2,\n  \"odd\":   \"spacing\" }";

#[tokio::test]
async fn a_tag_gives_the_exact_bytes_and_every_header() {
    let cluster = Cluster::start().await;
    let digest = cluster.push("team/app:v1", MANIFEST);
    let get = cluster.get("/v2/team/app/manifests/v1").await;
    assert_eq!((get.status, &get.body[..]), (200, MANIFEST.as_bytes()));
    assert_eq!(get.header("content-type"), Some(media_type::OCI_MANIFEST));
    assert_eq!(get.header("content-length"), Some(MANIFEST.len().to_string().as_str()));
    assert_eq!(get.header("docker-content-digest"), Some(digest.to_string().as_str()));
    assert_eq!(get.header("etag"), Some(format!("\"{digest}\"").as_str()));
    assert_eq!(get.header("docker-distribution-api-version"), Some("registry/2.0"));
    assert_eq!((get.header("warning"), get.header("transfer-encoding")), (None, None));
    let head = cluster.head("/v2/team/app/manifests/v1").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    for name in ["content-type", "content-length", "docker-content-digest", "etag"] {
        assert_eq!(head.header(name), get.header(name), "{name}");
    }
}

#[tokio::test]
async fn conditions_hold_and_ranges_are_ignored() {
    let cluster = Cluster::start().await;
    let digest = cluster.push("team/app:v1", MANIFEST);
    let etag = format!("\"{digest}\"");
    let same = cluster.get_with("/v2/team/app/manifests/v1", &[("if-none-match", &etag)]).await;
    assert_eq!((same.status, same.body.len()), (304, 0));
    assert_eq!(same.header("etag"), Some(etag.as_str()));
    let other = cluster.get_with("/v2/team/app/manifests/v1", &[("if-none-match", "\"x\"")]).await;
    assert_eq!(other.status, 200);
    for range in ["bytes=0-", "bytes=5-6", "bytes=99999-"] {
        let whole = cluster.get_with("/v2/team/app/manifests/v1", &[("range", range)]).await;
        assert_eq!((whole.status, &whole.body[..]), (200, MANIFEST.as_bytes()), "{range}");
    }
}

#[tokio::test]
async fn a_moved_tag_is_seen_at_once() {
    let cluster = Cluster::start().await;
    cluster.push("team/app:v1", "{}");
    assert_eq!(cluster.get("/v2/team/app/manifests/v1").await.body, "{}");
    let moved = cluster.push("team/app:v1", "{ }");
    let answer = cluster.get("/v2/team/app/manifests/v1").await;
    assert_eq!(answer.body, "{ }");
    assert_eq!(answer.header("docker-content-digest"), Some(moved.to_string().as_str()));
    cluster.state.lock().unwrap().manifests.clear();
    assert_eq!(cluster.get("/v2/team/app/manifests/v1").await.status, 404);
}

#[tokio::test]
async fn a_digest_is_asked_for_once() {
    let mut cluster = Cluster::start().await;
    let digest = cluster.push("team/app:v1", MANIFEST);
    let path = format!("/v2/team/app/manifests/{digest}");
    assert_eq!(cluster.get("/v2/team/app/manifests/v1").await.status, 200);
    cluster.asked();
    assert_eq!(cluster.get(&path).await.status, 200);
    assert_eq!(cluster.asked(), [""; 0]);
    cluster.stop_server().await;
    let cached = cluster.get(&path).await;
    assert_eq!((cached.status, &cached.body[..]), (200, MANIFEST.as_bytes()));
    assert_eq!((cached.header("warning"), cached.header("age")), (None, None));
}

#[tokio::test]
async fn without_the_server_a_known_tag_is_stale_and_an_unknown_one_is_404() {
    let mut cluster = Cluster::start().await;
    cluster.push("team/app:v1", MANIFEST);
    assert_eq!(cluster.get("/v2/team/app/manifests/v1").await.status, 200);
    cluster.stop_server().await;
    let stale = cluster.get("/v2/team/app/manifests/v1").await;
    assert_eq!((stale.status, &stale.body[..]), (200, MANIFEST.as_bytes()));
    assert!(stale.header("warning").unwrap().starts_with("110 "), "{stale:?}");
    assert!(stale.header("age").unwrap().parse::<u64>().unwrap() < 60, "{stale:?}");
    let unknown = cluster.get("/v2/team/app/manifests/v2").await;
    assert_eq!((unknown.status, unknown.error_code().as_str()), (404, "MANIFEST_UNKNOWN"));
}

#[tokio::test]
async fn a_server_that_hangs_costs_three_seconds_at_most() {
    let cluster = Cluster::start().await;
    cluster.push("team/app:v1", MANIFEST);
    assert_eq!(cluster.get("/v2/team/app/manifests/v1").await.status, 200);
    cluster.state.lock().unwrap().hangs = true;
    let started = Instant::now();
    let (known, unknown) = tokio::join!(
        cluster.get("/v2/team/app/manifests/v1?ns=r.example.com"),
        cluster.get("/v2/team/app/manifests/v2?ns=r.example.com"),
    );
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert_eq!((known.status, known.header("warning").is_some()), (200, true));
    assert_eq!((unknown.status, unknown.error_code().as_str()), (404, "MANIFEST_UNKNOWN"));
}

#[tokio::test]
async fn bytes_that_are_not_what_was_asked_for_are_refused() {
    let cluster = Cluster::start().await;
    let digest = cluster.push("team/app:v1", MANIFEST);
    cluster.state.lock().unwrap().stated_digest = Some(Digest::sha256(b"something else"));
    let by_tag = cluster.get("/v2/team/app/manifests/v1").await;
    assert_eq!((by_tag.status, by_tag.error_code().as_str()), (404, "MANIFEST_UNKNOWN"));
    let name = format!("team/app:{digest}");
    let lie = ("application/json".to_owned(), bytes::Bytes::from_static(b"{}"));
    cluster.state.lock().unwrap().manifests.insert(name, lie);
    let by_digest = cluster.get(&format!("/v2/team/app/manifests/{digest}")).await;
    assert_eq!((by_digest.status, by_digest.error_code().as_str()), (404, "MANIFEST_UNKNOWN"));
}

#[tokio::test]
async fn a_manifest_beyond_the_limit_is_refused() {
    let cluster = Cluster::start().await;
    cluster.push("team/app:v1", &" ".repeat(9 << 20));
    assert_eq!(cluster.get("/v2/team/app/manifests/v1").await.status, 404);
}

#[tokio::test]
async fn a_damaged_manifest_on_disk_is_asked_for_again() {
    let cluster = Cluster::start().await;
    let digest = cluster.push("team/app:v1", MANIFEST);
    let path = format!("/v2/team/app/manifests/{digest}");
    assert_eq!(cluster.get(&path).await.status, 200);
    for file in std::fs::read_dir(cluster.directory().join("manifests")).unwrap() {
        std::fs::write(file.unwrap().path(), b"rotten").unwrap();
    }
    let again = cluster.get(&path).await;
    assert_eq!((again.status, &again.body[..]), (200, MANIFEST.as_bytes()));
}
