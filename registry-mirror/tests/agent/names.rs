//! Which repository a request means, and everything that is neither manifest nor blob.

use shoal_agent::namespace::Namespace;
use shoal_api::tracker::AnnounceItem;

use crate::cluster::{Cluster, Wish};

fn listed() -> Wish {
    Wish {
        config: Some(|config| {
            let entry = |host: &str, prefix: &str| Namespace { host: host.into(), prefix: prefix.into() };
            config.namespaces = vec![entry("r.example.com:5000", ""), entry("docker.io", "hub")];
        }),
        ..Wish::default()
    }
}

#[tokio::test]
async fn without_a_list_the_host_is_tried_as_a_prefix_first() {
    let cluster = Cluster::start().await;
    cluster.push("team/app:v1", "{\"plain\":1}");
    let manifest = "/v2/team/app/manifests/v1";
    assert_eq!(cluster.get(&format!("{manifest}?ns=r.example.com")).await.body, "{\"plain\":1}");
    assert_eq!(cluster.asked(), ["/v2/r.example.com/team/app/manifests/v1", manifest]);
    cluster.push("r.example.com/team/app:v1", "{\"prefixed\":1}");
    for path in [&format!("{manifest}?ns=r.example.com"), "/v2/r.example.com/team/app/manifests/v1"] {
        assert_eq!(cluster.get(path).await.body, "{\"prefixed\":1}", "{path}");
    }
    assert_eq!(cluster.get(manifest).await.body, "{\"plain\":1}");
    cluster.asked();
    // A colon is not in the grammar of repository names; an underscore stands for it.
    let prefixed = "/v2/localhost_5000/team/app/manifests/v1";
    for path in [&format!("{manifest}?ns=localhost%3A5000"), "/v2/localhost:5000/team/app/manifests/v1"] {
        assert_eq!(cluster.get(path).await.status, 200, "{path}");
        let mut asked = cluster.asked();
        asked.sort();
        assert_eq!(asked, [prefixed, manifest], "{path}");
    }
}

#[tokio::test]
async fn with_a_list_hosts_are_mapped_and_others_are_404_without_a_question() {
    let cluster = Cluster::start_with(listed()).await;
    cluster.push("team/app:v1", "{\"plain\":1}");
    cluster.push("hub/library/nginx:v1", "{\"hub\":1}");
    let blob = format!("/v2/team/app/blobs/{}?ns=other.example.com", shoal_oci::Digest::sha256(b""));
    assert_eq!(cluster.get("/v2/team/app/manifests/v1?ns=r.example.com%3A5000").await.body, "{\"plain\":1}");
    assert_eq!(cluster.get("/v2/library/nginx/manifests/v1?ns=docker.io").await.body, "{\"hub\":1}");
    assert_eq!(cluster.get("/v2/docker.io/library/nginx/manifests/v1").await.body, "{\"hub\":1}");
    cluster.asked();
    for (path, code) in [
        ("/v2/team/app/manifests/v1?ns=other.example.com", "MANIFEST_UNKNOWN"),
        ("/v2/other.example.com/team/app/manifests/v1", "MANIFEST_UNKNOWN"),
        ("/v2/team/app/manifests/v1?ns=169.254.169.254", "MANIFEST_UNKNOWN"),
        ("/v2/team/app/tags/list?ns=other.example.com", "NAME_UNKNOWN"),
        (&blob, "BLOB_UNKNOWN"),
    ] {
        let answer = cluster.get(path).await;
        assert_eq!((answer.status, answer.error_code().as_str()), (404, code), "{path}");
    }
    assert_eq!(cluster.asked(), [""; 0]);
}

#[tokio::test]
async fn the_base_answers_get_and_head() {
    let cluster = Cluster::start().await;
    for path in ["/v2", "/v2/", "/v2/?ns=docker.io"] {
        let get = cluster.get(path).await;
        assert_eq!((get.status, &get.body[..]), (200, &b"{}"[..]), "{path}");
        assert_eq!(get.header("docker-distribution-api-version"), Some("registry/2.0"));
        assert_eq!(cluster.head(path).await.header("content-length"), Some("2"));
    }
}

#[tokio::test]
async fn a_push_is_told_that_this_is_a_mirror() {
    let cluster = Cluster::start().await;
    for (method, path) in [
        ("POST", "/v2/team/app/blobs/uploads/"),
        ("PUT", "/v2/team/app/manifests/v1"),
        ("PATCH", "/v2/team/app/blobs/uploads/x"),
        ("DELETE", "/v2/team/app/manifests/v1"),
        ("GET", "/v2/team/app/blobs/uploads/x"),
    ] {
        let answer = crate::cluster::answer(cluster.send(method, path, &[]).await).await;
        assert_eq!((answer.status, answer.error_code().as_str()), (405, "UNSUPPORTED"), "{method} {path}");
        assert_eq!(answer.header("allow"), Some("GET, HEAD"));
    }
    assert_eq!(cluster.asked(), [""; 0]);
}

#[tokio::test]
async fn what_is_not_there_is_an_oci_error() {
    let cluster = Cluster::start().await;
    for (path, status) in [
        ("/v1/", 404),
        ("/", 404),
        ("/v2/team/app", 404),
        ("/v2/team/app/layers/x", 404),
        ("/v2/TEAM/app/manifests/v1", 400),
        ("/v2/team/app/manifests/sha256:abc", 400),
        ("/v2/team/app/manifests/v1?ns=a%20b", 400),
        ("/v2/../../etc/passwd/manifests/v1", 400),
    ] {
        let answer = cluster.get(path).await;
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        assert!(!answer.error_code().is_empty());
    }
    assert_eq!(cluster.asked(), [""; 0]);
}

#[tokio::test]
async fn lists_are_the_servers() {
    let mut cluster = Cluster::start().await;
    let digest = shoal_oci::Digest::sha256(b"x");
    let referrers = format!("/v2/team/app/referrers/{digest}");
    for (path, asked) in [
        (
            "/v2/team/app/tags/list?n=5&last=a&ns=localhost%3A1",
            "/v2/localhost_1/team/app/tags/list?n=5&last=a",
        ),
        ("/v2/_catalog?n=2", "/v2/_catalog?n=2"),
        (&format!("{referrers}?artifactType=a%2Fb"), &format!("{referrers}?artifactType=a%2Fb")),
    ] {
        let answer = cluster.get(path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.body.starts_with(b"{\"path\":\"/v2/"), "{answer:?}");
        assert!(answer.header("link").unwrap().ends_with(">; rel=\"next\""));
        assert_eq!(cluster.asked(), [asked]);
    }
    cluster.stop_server().await;
    assert_eq!(cluster.get("/v2/team/app/tags/list").await.status, 404);
}

#[tokio::test]
async fn a_list_that_the_server_lacks_is_told_from_a_server_that_is_away() {
    let mut cluster = Cluster::start().await;
    let missing = cluster.get("/v2/missing/app/tags/list").await;
    assert_eq!((missing.status, missing.error_code().as_str()), (404, "NAME_UNKNOWN"));
    assert!(missing.error_message().contains("the server has no such repository"), "{missing:?}");
    cluster.stop_server().await;
    let away = cluster.get("/v2/missing/app/tags/list").await;
    assert_eq!((away.status, away.error_code().as_str()), (404, "NAME_UNKNOWN"));
    assert!(away.error_message().contains("the server cannot be asked"), "{away:?}");
}

#[tokio::test]
async fn a_server_that_hangs_costs_a_list_five_seconds_whatever_the_names_that_may_be_meant() {
    let cluster = Cluster::start().await;
    cluster.state.lock().unwrap().hangs = true;
    let asked = std::time::Instant::now();
    let answer = cluster.get("/v2/team/app/tags/list?ns=r.example.com").await;
    assert_eq!((answer.status, answer.error_code().as_str()), (404, "NAME_UNKNOWN"));
    assert!(asked.elapsed() < std::time::Duration::from_secs(8), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn a_blob_is_asked_for_in_the_name_of_the_repository_that_is_pulled() {
    let cluster = Cluster::start().await;
    let bytes = bytes::Bytes::from(vec![7; 200_000]);
    let digest = cluster.push_blob(&bytes);
    cluster.state.lock().unwrap().private = Some("team/app".to_owned());
    let refused = cluster.get(&format!("/v2/team/other/blobs/{digest}")).await;
    assert_eq!((refused.status, refused.error_code().as_str()), (404, "BLOB_UNKNOWN"));
    // The host in front is part of the name for a registry that has such a repository; this one has not.
    let path = format!("/v2/team/app/blobs/{digest}?ns=r.example.com");
    assert!(cluster.get(&path).await.body == bytes, "the web seed asks in the same name");
    let state = cluster.state.lock().unwrap();
    let wanted = |item: &&AnnounceItem| item.need_metainfo && item.digest == digest;
    let downloads = state.announced.iter().filter(wanted);
    let named: Vec<_> = downloads.map(|item| item.repository.as_ref().unwrap().to_string()).collect();
    assert_eq!(named[..3], ["team/other", "r.example.com/team/app", "team/app"]);
    assert!(state.announced.iter().all(|item| !item.complete || item.repository.is_none()));
}

#[tokio::test]
async fn after_a_manifest_its_blobs_are_asked_for_where_it_was_found() {
    let mut cluster = Cluster::start().await;
    let manifest = cluster.push("team/app:v1", "{\"plain\":1}");
    let blobs = [1, 2].map(|seed| bytes::Bytes::from(vec![seed; 100_000]));
    let digests = blobs.each_ref().map(|bytes| cluster.push_blob(bytes));
    cluster.state.lock().unwrap().private = Some("team/app".to_owned());
    for (digest, reference) in digests.iter().zip(["v1".to_owned(), manifest.to_string()]) {
        let asked = cluster.get(&format!("/v2/team/app/manifests/{reference}?ns=r.example.com")).await;
        assert_eq!(asked.status, 200);
        assert_eq!(cluster.get(&format!("/v2/team/app/blobs/{digest}?ns=r.example.com")).await.status, 200);
        // By digest the manifest is at hand, and nobody is asked where it is.
        cluster.restart().await;
    }
    let state = cluster.state.lock().unwrap();
    let asked = state.announced.iter().filter_map(|item| item.repository.as_ref());
    assert!(
        asked.clone().count() >= 2 && asked.clone().all(|name| name.as_str() == "team/app"),
        "{:?}",
        state.announced
    );
}
