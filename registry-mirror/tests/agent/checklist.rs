//! What a mirror must do so that every runtime can live with it: M1 to M20, each measured on real clients, each with its test.
//!
//! Letters say who breaks otherwise: C containerd, D Docker with its own image store, E Docker with containerd's, P podman, buildah,
//! skopeo and CRI-O, K crane, O oras and helm, R regctl. Other files have the cases beyond the bare list.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use shoal_agent::namespace::Namespace;
use shoal_oci::{Digest, media_type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::cluster::{Answer, Cluster, PATIENCE, Wish, answer, content, eventually};

const MANIFEST: &str = "{ \"schemaVersion\": 2,\n  \"mediaType\": \"x\" }";
const TAG: &str = "/v2/team/app/manifests/v1";

fn blob_path(digest: &Digest) -> String {
    format!("/v2/team/app/blobs/{digest}")
}

async fn cached(len: usize) -> (Cluster, Bytes, String) {
    let blob = content(len, 1);
    let cluster = Cluster::start_with(Wish { cached: vec![blob.clone()], ..Wish::default() }).await;
    let path = blob_path(&Digest::sha256(&blob));
    (cluster, blob, path)
}

/// Writes `bytes` to the mirror and reads until it has answered `enough`.
async fn raw(cluster: &Cluster, bytes: &[u8], enough: impl Fn(&[u8]) -> bool) -> (TcpStream, Vec<u8>) {
    let mut stream = TcpStream::connect(cluster.agent.registry).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut received = Vec::new();
    while !enough(&received) {
        let read = tokio::time::timeout(PATIENCE, stream.read_buf(&mut received)).await.unwrap().unwrap();
        assert!(read > 0, "it hung up after {:?}", String::from_utf8_lossy(&received));
    }
    (stream, received)
}

fn contains(bytes: &[u8], text: &str) -> bool {
    String::from_utf8_lossy(bytes).contains(text)
}

/// D, P, K: the version check, without a question about who one is.
#[tokio::test]
async fn m01_the_base_is_200_for_everybody() {
    let cluster = Cluster::start().await;
    for path in ["/v2", "/v2/"] {
        for method in ["GET", "HEAD"] {
            let base = answer(cluster.send(method, path, &[]).await).await;
            assert_eq!((base.status, base.header("www-authenticate")), (200, None), "{method} {path}");
            assert_eq!(base.header("docker-distribution-api-version"), Some("registry/2.0"));
        }
    }
}

/// C and E say `ns`, P and R a path, D nothing; the name is otherwise left as it is.
#[tokio::test]
async fn m02_the_registry_is_told_by_parameter_path_or_not_at_all() {
    let listed = Wish {
        config: Some(|config| {
            let entry = |host: &str, prefix: &str| Namespace { host: host.into(), prefix: prefix.into() };
            config.namespaces = vec![entry("reg.example.com:5000", "a"), entry("docker.io", "hub")];
        }),
        ..Wish::default()
    };
    let cluster = Cluster::start_with(listed).await;
    cluster.push("a/team/app:v1", "{\"a\":1}");
    cluster.push("hub/library/nginx:v1", "{\"hub\":1}");
    cluster.push("library/nginx:v1", "{\"plain\":1}");
    for (path, body) in [
        ("/v2/team/app/manifests/v1?ns=reg.example.com%3A5000", "{\"a\":1}"),
        ("/v2/reg.example.com:5000/team/app/manifests/v1", "{\"a\":1}"),
        ("/v2/library/nginx/manifests/v1?ns=docker.io", "{\"hub\":1}"),
        ("/v2/library/nginx/manifests/v1?ns=registry-1.docker.io", "{\"hub\":1}"),
        ("/v2/library/nginx/manifests/v1", "{\"plain\":1}"),
    ] {
        assert_eq!(cluster.get(path).await.body, body, "{path}");
    }
    let other = cluster.get("/v2/nginx/manifests/v1?ns=reg.example.com:5000").await;
    assert_eq!(other.status, 404, "no `library/` is made up for other registries");
}

/// C asks again or fails on a wrong media type; D, O compare digests.
#[tokio::test]
async fn m03_manifests_come_byte_for_byte_with_every_header() {
    let cluster = Cluster::start().await;
    let digest = cluster.push("team/app:v1", MANIFEST);
    let by_digest = format!("/v2/team/app/manifests/{digest}");
    for path in [TAG, &by_digest] {
        let get = cluster.get(path).await;
        let head = cluster.head(path).await;
        assert_eq!((get.status, &get.body[..]), (200, MANIFEST.as_bytes()), "{path}");
        assert_eq!((head.status, head.body.len()), (200, 0));
        for answer in [&get, &head] {
            assert_eq!(answer.header("content-type"), Some(media_type::OCI_MANIFEST));
            assert_eq!(answer.header("content-length"), Some(MANIFEST.len().to_string().as_str()));
            assert_eq!(answer.header("docker-content-digest"), Some(digest.to_string().as_str()));
            assert_eq!(answer.header("etag"), Some(format!("\"{digest}\"").as_str()));
            assert_eq!(answer.header("transfer-encoding"), None);
        }
    }
}

/// D and P send a line for each media type.
#[tokio::test]
async fn m04_several_accept_lines_change_nothing() {
    let cluster = Cluster::start().await;
    cluster.push("team/app:v1", MANIFEST);
    for accept in [
        "",
        "accept: */*\r\n",
        "accept: application/vnd.docker.distribution.manifest.v1+json\r\naccept: application/json\r\n",
        "accept: application/vnd.oci.image.index.v1+json\r\naccept: application/vnd.oci.image.manifest.v1+json, */*\r\n",
    ] {
        let request = format!("GET {TAG} HTTP/1.1\r\nhost: x\r\n{accept}\r\n");
        let (_, received) = raw(&cluster, request.as_bytes(), |got| got.ends_with(MANIFEST.as_bytes())).await;
        assert!(received.starts_with(b"HTTP/1.1 200 OK\r\n"), "{accept}");
        assert!(contains(&received, &format!("content-type: {}\r\n", media_type::OCI_MANIFEST)), "{accept}");
    }
}

/// C from 2.1 on asks for `bytes=0-` of manifests too.
#[tokio::test]
async fn m05_a_range_of_a_manifest_is_the_manifest() {
    let cluster = Cluster::start().await;
    cluster.push("team/app:v1", MANIFEST);
    for range in ["bytes=0-", "bytes=0-99999", "bytes=99999-", "bytes=1-2,4-5"] {
        let got = cluster.get_with(TAG, &[("range", range)]).await;
        assert_eq!((got.status, &got.body[..]), (200, MANIFEST.as_bytes()), "{range}");
    }
}

/// D asks for the length again after a pull, O seeks.
#[tokio::test]
async fn m06_blobs_have_length_digest_and_type() {
    let (cluster, blob, path) = cached(100_003).await;
    let (get, head) = (cluster.get(&path).await, cluster.head(&path).await);
    assert!(get.status == 200 && get.body == blob);
    assert_eq!((head.status, head.body.len()), (200, 0));
    for answer in [&get, &head] {
        assert_eq!(answer.header("content-length"), Some("100003"));
        assert_eq!(answer.header("accept-ranges"), Some("bytes"));
        assert_eq!(answer.header("content-type"), Some("application/octet-stream"));
        let digest = Digest::sha256(&blob).to_string();
        assert_eq!(answer.header("docker-content-digest"), Some(digest.as_str()));
    }
}

/// C, D, P resume; D compares the end of the range with the size.
#[tokio::test]
async fn m07_one_range_is_exact_or_416() {
    let (cluster, blob, path) = cached(100_003).await;
    for (range, start, end) in [
        ("bytes=0-", 0, 100_003),
        ("bytes=70000-", 70_000, 100_003),
        ("bytes=5-9", 5, 10),
        ("bytes=-3", 100_000, 100_003),
    ] {
        let part = cluster.get_with(&path, &[("range", range)]).await;
        assert!(part.status == 206 && part.body == blob.slice(start..end), "{range}: {}", part.status);
        let stated = format!("bytes {start}-{}/100003", end - 1);
        assert_eq!(part.header("content-range"), Some(stated.as_str()));
    }
    let beyond = cluster.get_with(&path, &[("range", "bytes=100003-")]).await;
    assert_eq!((beyond.status, beyond.header("content-range")), (416, Some("bytes */100003")));
}

/// P asks for up to 1024 ranges of a zstd:chunked layer.
#[tokio::test]
async fn m08_many_ranges_get_the_whole_blob() {
    let (cluster, blob, path) = cached(100_003).await;
    let ranges = |step: usize| -> String {
        let each = (0..1024).map(|number| format!("{}-{}", number * step, number * step + step / 2));
        format!("bytes={}", each.collect::<Vec<_>>().join(","))
    };
    // The second list reaches beyond the blob, and has the length of the longest that podman sends.
    for range in ["bytes=0-1,5-6".to_owned(), ranges(90), ranges(1_234_567_890)] {
        let got = cluster.get_with(&path, &[("range", &range)]).await;
        assert!(got.status == 200 && got.body == blob, "{}: {}", &range[..20], got.status);
        assert_eq!(got.header("content-range"), None);
    }
}

/// C from 2.0 on would take compressed answers, of which lengths, ranges and digests are others.
#[tokio::test]
async fn m09_nothing_is_compressed_on_the_way() {
    let (cluster, blob, path) = cached(100_003).await;
    cluster.push("team/app:v1", MANIFEST);
    let accepts = [("accept-encoding", "zstd;q=1.0, gzip;q=0.8, deflate;q=0.5")];
    for (path, body) in [(path.as_str(), &blob[..]), (TAG, MANIFEST.as_bytes()), ("/v2/", b"{}")] {
        let got = cluster.get_with(path, &accepts).await;
        assert!(got.body == body, "{path}");
        assert_eq!((got.header("content-encoding"), got.header("vary")), (None, None), "{path}");
        assert_eq!(got.header("content-length"), Some(body.len().to_string().as_str()));
    }
}

/// C fails the whole pull after a 200 without bytes, and hangs where nothing comes.
#[tokio::test]
async fn m10_no_head_before_the_first_verified_byte_and_no_endless_wait() {
    let impatient = Wish {
        config: Some(|config| {
            config.registry.first_byte_timeout = shoal_config::Duration::secs(2);
            config.peer.stall_timeout = shoal_config::Duration::secs(3);
        }),
        ..Wish::default()
    };
    let cluster = Cluster::start_with(impatient).await;
    let blob = content(3_000_000, 3);
    let path = blob_path(&cluster.push_blob(&blob));
    cluster.state.lock().unwrap().blob_gate = Some((0, Arc::new(Semaphore::new(0))));
    let asked = Instant::now();
    let silent = cluster.get(&path).await;
    assert_eq!((silent.status, silent.error_code().as_str()), (404, "BLOB_UNKNOWN"));
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());

    // Some bytes, and then nothing: the body is cut short, and who resumes is sent elsewhere.
    let other = content(3_000_000, 4);
    let path = blob_path(&cluster.push_blob(&other));
    cluster.state.lock().unwrap().blob_gate = Some((1_500_000, Arc::new(Semaphore::new(0))));
    let response = cluster.send("GET", &path, &[]).await;
    assert_eq!(response.status().as_u16(), 200);
    let (mut body, mut received) = (response.into_body(), BytesMut::new());
    let begun = Instant::now();
    while let Some(Ok(bytes)) = tokio::time::timeout(PATIENCE, body.frame_data()).await.unwrap() {
        received.extend_from_slice(&bytes);
    }
    assert!(!received.is_empty() && received.len() < other.len() && received[..] == other[..received.len()]);
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    let resume = format!("bytes={}-", received.len());
    assert_eq!(cluster.get_with(&path, &[("range", &resume)]).await.status, 404);
}

/// D waits 75 s after a 503, C asks six times after a 429, P fails: only 404 sends everybody on at once.
#[tokio::test]
async fn m11_whatever_cannot_be_given_is_404_in_the_words_of_oci() {
    let mut cluster = Cluster::start_with(Wish {
        config: Some(|config| config.registry.first_byte_timeout = shoal_config::Duration::secs(2)),
        ..Wish::default()
    })
    .await;
    let blob = blob_path(&cluster.push_blob(&content(200_000, 7)));
    let expect = |answer: Answer, code: &str, what: &str| {
        assert_eq!((answer.status, answer.error_code().as_str()), (404, code), "{what}");
    };
    let absent = blob_path(&Digest::sha256(b"absent"));
    expect(cluster.get(TAG).await, "MANIFEST_UNKNOWN", "an unknown tag");
    expect(cluster.get(&absent).await, "BLOB_UNKNOWN", "an unknown blob");
    cluster.state.lock().unwrap().blob_end = Some(0);
    expect(cluster.get(&blob).await, "BLOB_UNKNOWN", "an origin that answers 500");
    cluster.stop_server().await;
    expect(cluster.get(TAG).await, "MANIFEST_UNKNOWN", "no server");
    expect(cluster.get(&absent).await, "BLOB_UNKNOWN", "no tracker");
    expect(cluster.get("/v2/team/app/tags/list").await, "NAME_UNKNOWN", "no server for a list");
}

/// P never leaves a mirror that gave it the manifest.
#[tokio::test]
async fn m12_a_manifest_is_given_only_when_its_layers_can_be() {
    let blobs = [content(70_000, 1), content(80_000, 2)];
    let [config, layer] = blobs.each_ref().map(|bytes| Digest::sha256(bytes));
    let descriptor = |digest: &Digest, len: usize| serde_json::json!({"mediaType": "application/octet-stream", "digest": digest, "size": len});
    let image = serde_json::json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
        "config": descriptor(&config, 70_000), "layers": [descriptor(&layer, 80_000)],
    });
    let mut cluster = Cluster::start().await;
    for bytes in &blobs {
        cluster.push_blob(bytes);
    }
    let manifest = cluster.push("team/app:v1", &image.to_string());
    let by_digest = format!("/v2/team/app/manifests/{manifest}");
    assert_eq!(cluster.get(TAG).await.status, 200);
    assert!(cluster.get(&blob_path(&config)).await.body == blobs[0]);
    cluster.stop_server().await;
    cluster.restart().await;
    eventually("known to be alone", async || cluster.admin("/health").await.body == "degraded\n").await;
    for path in [TAG, &by_digest] {
        let refused = cluster.get(path).await;
        assert_eq!((refused.status, refused.error_code().as_str()), (404, "MANIFEST_UNKNOWN"), "{path}");
        assert!(refused.error_message().contains("its layers are not"), "{refused:?}");
        // What a tag means is told all the same: a runtime that has the layers asks nothing else.
        assert_eq!(cluster.head(path).await.status, 200, "{path}");
    }
    let complete = Cluster::start_with(Wish { cached: blobs.to_vec(), ..Wish::default() }).await;
    complete.push("team/app:v1", &image.to_string());
    let mut complete = complete;
    assert_eq!(complete.get(TAG).await.status, 200);
    complete.stop_server().await;
    complete.restart().await;
    eventually("known to be alone", async || complete.admin("/health").await.body == "degraded\n").await;
    assert_eq!(complete.get(TAG).await.status, 200);
    assert!(complete.get(&blob_path(&layer)).await.body == blobs[1]);
}

/// Nodes may reach nothing but their agent, and credentials do not follow to another host.
#[tokio::test]
async fn m13_nobody_is_sent_elsewhere() {
    let cluster = Cluster::start().await;
    cluster.push("team/app:v1", MANIFEST);
    let blob = content(2_000_000, 5);
    let path = blob_path(&cluster.push_blob(&blob));
    for path in [path.as_str(), TAG, "/v2/", "/v2/team/app/tags/list"] {
        let got = cluster.get(path).await;
        assert_eq!((got.status, got.header("location")), (200, None), "{path}");
    }
}

/// D opens a connection for each request, C one for each chunk; Go's clients try TLS first and want to be told in HTTP.
#[tokio::test]
async fn m14_connections_are_kept_are_many_and_learn_that_the_port_is_plain() {
    let (cluster, blob, path) = cached(1000).await;
    assert!(shoal_http::Limits::default().idle_timeout >= Duration::from_secs(60));
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
    let (mut kept, _) = raw(&cluster, request.as_bytes(), |got| got.ends_with(&blob)).await;
    for _ in 0..1000 {
        drop(TcpStream::connect(cluster.agent.registry).await.unwrap());
    }
    let many = (0..200).map(|_| raw(&cluster, request.as_bytes(), |got| got.ends_with(&blob)));
    for one in many {
        one.await;
    }
    kept.write_all(request.as_bytes()).await.unwrap();
    let mut again = Vec::new();
    while !again.ends_with(&blob) {
        assert!(kept.read_buf(&mut again).await.unwrap() > 0, "the kept connection was closed");
    }
    // A ClientHello as Go writes it: record of a handshake, TLS 1.0, 512 bytes.
    let mut hello = vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    hello.resize(517, 0x5a);
    let (_, refusal) = raw(&cluster, &hello, |got| contains(got, "\r\n\r\n")).await;
    assert!(refusal.starts_with(b"HTTP/1.1 400 "), "{:?}", String::from_utf8_lossy(&refusal));
}

/// C's parallel fetch hangs up once for each chunk.
#[tokio::test]
async fn m15_interest_ends_with_the_client_and_the_fill_does_not() {
    let cluster = Cluster::start().await;
    let blob = content(3_000_000, 9);
    let path = blob_path(&cluster.push_blob(&blob));
    let gate = Arc::new(Semaphore::new(0));
    cluster.state.lock().unwrap().blob_gate = Some((1_500_000, Arc::clone(&gate)));
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nrange: bytes=0-\r\n\r\n");
    let (client, _) = raw(&cluster, request.as_bytes(), |got| got.len() > 500_000).await;
    let swarm = async || {
        let status: serde_json::Value = serde_json::from_slice(&cluster.admin("/status").await.body).unwrap();
        status
    };
    eventually("read", async || swarm().await["swarm"][0]["readers"] == 1).await;
    drop(client);
    let left = Instant::now();
    eventually("forgotten", async || swarm().await["swarm"][0]["readers"] == 0).await;
    assert!(left.elapsed() < Duration::from_secs(5), "{:?}", left.elapsed());
    gate.add_permits(1);
    eventually("complete", async || swarm().await["cache"]["bytes"] == 3_000_000).await;
}

/// C, D, P: a challenge that nobody configured would send the user's Docker Hub password in clear (D), or an empty one (P).
#[tokio::test]
async fn m16_nobody_is_asked_who_they_are() {
    let (cluster, blob, path) = cached(1000).await;
    cluster.push("team/app:v1", MANIFEST);
    for word in ["Basic Og==", "Basic dXNlcjpwYXNz", "Bearer x.y.z", "nonsense"] {
        for (path, body) in [(path.as_str(), &blob[..]), (TAG, MANIFEST.as_bytes()), ("/v2/", b"{}")] {
            let got = cluster.get_with(path, &[("authorization", word)]).await;
            assert!(got.status == 200 && got.body == body, "{word} {path}");
            assert_eq!(got.header("www-authenticate"), None);
        }
    }
}

/// O, K, R, C from 2.2 on, and cosign, which falls back to a tag made of the digest.
#[tokio::test]
async fn m17_referrers_and_their_fallback_tags_are_the_servers() {
    let cluster = Cluster::start().await;
    let subject = Digest::sha256(b"subject");
    let referrers = format!("/v2/team/app/referrers/{subject}");
    let listed = cluster.get(&format!("{referrers}?artifactType=a%2Fb")).await;
    assert_eq!((listed.status, cluster.asked()), (200, vec![format!("{referrers}?artifactType=a%2Fb")]));
    assert_eq!(listed.header("oci-filters-applied"), Some("artifactType"));
    assert_eq!(listed.header("content-type"), Some(media_type::OCI_INDEX));
    let tag = format!("sha256-{}", subject.to_hex());
    let fallback = format!("/v2/team/app/manifests/{tag}");
    assert_eq!(cluster.get(&fallback).await.status, 404);
    cluster.push(&format!("team/app:{tag}"), "{\"one\":1}");
    assert_eq!(cluster.get(&fallback).await.body, "{\"one\":1}", "that it was not there is not remembered");
    cluster.push(&format!("team/app:{tag}"), "{\"two\":2}");
    assert_eq!(cluster.get(&fallback).await.body, "{\"two\":2}", "and it may change");
}

/// K and P list tags, page by page, and follow the link as they are given it.
#[tokio::test]
async fn m18_tags_and_the_catalog_come_in_pages_under_the_name_that_was_asked_for() {
    let cluster = Cluster::start_with(Wish {
        config: Some(|config| {
            config.namespaces = vec![Namespace { host: "r.example.com".into(), prefix: "team".into() }];
        }),
        ..Wish::default()
    })
    .await;
    for (path, asked, next) in [
        (
            "/v2/app/tags/list?n=2&last=a&ns=r.example.com",
            "/v2/team/app/tags/list?n=2&last=a",
            "</v2/app/tags/list?n=2&last=z&ns=r.example.com>; rel=\"next\"",
        ),
        (
            "/v2/r.example.com/app/tags/list?n=2",
            "/v2/team/app/tags/list?n=2",
            "</v2/r.example.com/app/tags/list?n=2&last=z>; rel=\"next\"",
        ),
        ("/v2/_catalog?n=2", "/v2/_catalog?n=2", "</v2/_catalog?n=2&last=z>; rel=\"next\""),
    ] {
        let page = cluster.get(path).await;
        assert_eq!((page.status, cluster.asked()), (200, vec![asked.to_owned()]), "{path}");
        assert_eq!(page.header("link"), Some(next), "{path}");
    }
}

/// Everybody: 404 would read as a missing repository.
#[tokio::test]
async fn m19_pushes_are_405() {
    let cluster = Cluster::start().await;
    for (method, path) in [
        ("POST", "/v2/team/app/blobs/uploads/"),
        ("POST", "/v2/team/app/blobs/uploads/?mount=sha256:x&from=y&ns=r.example.com"),
        ("PATCH", "/v2/team/app/blobs/uploads/x"),
        ("PUT", "/v2/team/app/blobs/uploads/x?digest=y"),
        ("PUT", TAG),
        ("DELETE", TAG),
    ] {
        let refused = answer(cluster.send(method, path, &[]).await).await;
        assert_eq!((refused.status, refused.error_code().as_str()), (405, "UNSUPPORTED"), "{method} {path}");
        assert_eq!(refused.header("allow"), Some("GET, HEAD"));
    }
    assert!(cluster.asked().is_empty());
}

/// C: a catch-all entry (`_default`) is harmless only when the answer to a foreign name is quick.
#[tokio::test]
async fn m20_an_unknown_registry_is_404_at_once() {
    let cluster = Cluster::start_with(Wish {
        config: Some(|config| {
            config.namespaces = vec![Namespace { host: "r.example.com".into(), prefix: String::new() }];
        }),
        ..Wish::default()
    })
    .await;
    cluster.state.lock().unwrap().hangs = true;
    let asked = Instant::now();
    let blob = blob_path(&Digest::sha256(b"x"));
    for ns in ["quay.io", "169.254.169.254", "localhost%3A5000", "%5B::1%5D", "metadata.google.internal"] {
        for path in [TAG, &blob, "/v2/team/app/tags/list"] {
            let refused = cluster.get(&format!("{path}?ns={ns}")).await;
            assert!(matches!(refused.status, 404 | 400), "{path} {ns}: {}", refused.status);
            assert!(!refused.error_code().is_empty());
        }
    }
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
}
