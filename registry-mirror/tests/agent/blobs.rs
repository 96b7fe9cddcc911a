//! Blobs from the cache and from the swarm, whole and in part, and what happens when the bytes stop coming.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use shoal_oci::Digest;
use tokio::sync::Semaphore;

use crate::cluster::{Cluster, PATIENCE, Wish, content, eventually};

fn path(digest: &Digest) -> String {
    format!("/v2/team/app/blobs/{digest}?ns=r.example.com")
}

/// An agent with one cached blob of a few pieces, none of which ends at a round number.
async fn cached() -> (Cluster, Bytes, String) {
    let blob = content(200_001, 1);
    let cluster = Cluster::start_with(Wish { cached: vec![blob.clone()], ..Wish::default() }).await;
    let path = path(&Digest::sha256(&blob));
    (cluster, blob, path)
}

#[tokio::test]
async fn a_cached_blob_is_served_whole_with_every_header() {
    let (mut cluster, blob, path) = cached().await;
    cluster.stop_server().await;
    let get = cluster.get(&path).await;
    assert_eq!(get.status, 200);
    assert!(get.body == blob);
    assert_eq!(get.header("content-length"), Some("200001"));
    assert_eq!(get.header("accept-ranges"), Some("bytes"));
    assert_eq!(get.header("content-type"), Some("application/octet-stream"));
    assert_eq!(get.header("docker-content-digest"), Some(Digest::sha256(&blob).to_string().as_str()));
    assert_eq!((get.header("content-encoding"), get.header("transfer-encoding")), (None, None));
    let head = cluster.head(&path).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    for name in ["content-length", "accept-ranges", "content-type", "docker-content-digest"] {
        assert_eq!(head.header(name), get.header(name), "{name}");
    }
}

#[tokio::test]
async fn single_ranges_are_exact() {
    let (cluster, blob, path) = cached().await;
    for (range, start, end) in [
        ("bytes=0-", 0, 200_001),
        ("bytes=0-0", 0, 1),
        ("bytes=65535-65536", 65_535, 65_537),
        ("bytes=131072-", 131_072, 200_001),
        ("bytes=-1", 200_000, 200_001),
        ("bytes=-999999", 0, 200_001),
        ("bytes=200000-999999", 200_000, 200_001),
        ("bytes=70000-140000", 70_000, 140_001),
    ] {
        let part = cluster.get_with(&path, &[("range", range)]).await;
        assert_eq!(part.status, 206, "{range}");
        assert!(part.body == blob.slice(start..end), "{range}");
        let stated = format!("bytes {start}-{}/200001", end - 1);
        assert_eq!(part.header("content-range"), Some(stated.as_str()));
        assert_eq!(part.header("content-length"), Some((end - start).to_string().as_str()));
    }
}

#[tokio::test]
async fn other_ranges_are_416_or_whole() {
    let (cluster, blob, path) = cached().await;
    for range in ["bytes=200001-", "bytes=999999-", "bytes=-0"] {
        let refused = cluster.get_with(&path, &[("range", range)]).await;
        assert_eq!((refused.status, refused.body.len()), (416, 0), "{range}");
        assert_eq!(refused.header("content-range"), Some("bytes */200001"));
    }
    for range in ["bytes=0-1,5-6", "bytes=x-", "pieces=0-1", "bytes=-1,0-0"] {
        let whole = cluster.get_with(&path, &[("range", range)]).await;
        assert_eq!(whole.status, 200, "{range}");
        assert!(whole.body == blob, "{range}");
    }
    let condition = [("range", "bytes=0-1"), ("if-range", "\"other\"")];
    assert_eq!(cluster.get_with(&path, &condition).await.status, 200);
    let head = cluster.send("HEAD", &path, &[("range", "bytes=0-1")]).await;
    assert_eq!(
        (head.status().as_u16(), &head.headers()["content-length"]),
        (200, &"200001".parse().unwrap())
    );
}

#[tokio::test]
async fn an_empty_blob_is_a_blob() {
    let cluster = Cluster::start_with(Wish { cached: vec![Bytes::new()], ..Wish::default() }).await;
    let empty = cluster.get(&path(&Digest::sha256(b""))).await;
    assert_eq!((empty.status, empty.header("content-length")), (200, Some("0")));
}

#[tokio::test]
async fn an_unknown_blob_is_404_without_delay() {
    let cluster = Cluster::start().await;
    let started = Instant::now();
    for method in ["GET", "HEAD"] {
        let answer = cluster.send(method, &path(&Digest::sha256(b"nobody has this")), &[]).await;
        assert_eq!(answer.status().as_u16(), 404);
    }
    let answer = cluster.get(&path(&Digest::sha256(b"nobody has this"))).await;
    assert_eq!(answer.error_code(), "BLOB_UNKNOWN");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test]
async fn without_a_tracker_an_unknown_blob_is_404_within_the_bound() {
    let blob = content(1000, 1);
    let cached = path(&Digest::sha256(&blob));
    let impatient = Wish {
        cached: vec![blob.clone()],
        config: Some(|config| config.registry.first_byte_timeout = shoal_config::Duration::secs(2)),
    };
    let mut cluster = Cluster::start_with(impatient).await;
    cluster.stop_server().await;
    let started = Instant::now();
    let answer = cluster.get(&path(&Digest::sha256(b"nobody can know this"))).await;
    assert_eq!((answer.status, answer.error_code().as_str()), (404, "BLOB_UNKNOWN"));
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    assert!(cluster.get(&cached).await.body == blob);
}

#[tokio::test]
async fn a_blob_comes_through_the_swarm_and_stays() {
    let mut cluster = Cluster::start().await;
    let blob = content(3_000_000, 2);
    let path = path(&cluster.push_blob(&blob));
    let tail = cluster.get_with(&path, &[("range", "bytes=2999990-")]).await;
    assert_eq!((tail.status, &tail.body), (206, &blob.slice(2_999_990..)));
    assert!(cluster.get(&path).await.body == blob);
    cluster.stop_server().await;
    assert!(cluster.get(&path).await.body == blob);
}

#[tokio::test]
async fn a_stream_that_cannot_go_on_is_cut_and_its_resume_is_404() {
    let impatient = Wish {
        config: Some(|config| config.peer.stall_timeout = shoal_config::Duration::secs(3)),
        ..Wish::default()
    };
    let cluster = Cluster::start_with(impatient).await;
    let blob = content(3_000_000, 3);
    let digest = cluster.push_blob(&blob);
    cluster.state.lock().unwrap().blob_end = Some(1_000_000);
    let response = cluster.send("GET", &path(&digest), &[]).await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["content-length"]),
        (200, &"3000000".parse().unwrap())
    );
    let mut body = response.into_body();
    let mut received = BytesMut::new();
    let broken = loop {
        match tokio::time::timeout(Duration::from_secs(120), body.frame_data()).await.unwrap() {
            Some(Ok(bytes)) => received.extend_from_slice(&bytes),
            Some(Err(_)) => break true,
            None => break false,
        }
    };
    assert!(broken, "the body ended well after {} bytes", received.len());
    assert!(!received.is_empty() && received[..] == blob[..received.len()]);
    let rest = format!("bytes={}-", received.len());
    let resumed = cluster.get_with(&path(&digest), &[("range", &rest)]).await;
    assert_eq!((resumed.status, resumed.error_code().as_str()), (404, "BLOB_UNKNOWN"));
}

#[tokio::test]
async fn a_blob_damaged_on_disk_is_fetched_again_and_never_served() {
    let blob = content(400_000, 4);
    let cluster = Cluster::start_with(Wish { cached: vec![blob.clone()], ..Wish::default() }).await;
    let digest = cluster.push_blob(&blob);
    assert_eq!(damage(&cluster.directory().join("blobs"), 400_000), 1);
    assert!(cluster.get(&path(&digest)).await.body == blob);
}

/// Overwrites bytes in the middle of every file of at least `size` bytes below `directory`; returns how many.
fn damage(directory: &std::path::Path, size: u64) -> usize {
    use std::os::unix::fs::FileExt;
    let mut count = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let metadata = entry.metadata().unwrap();
        if metadata.is_dir() {
            count += damage(&entry.path(), size);
        } else if metadata.len() >= size {
            let file = std::fs::File::options().write(true).open(entry.path()).unwrap();
            file.write_all_at(b"rotten bytes", size / 2).unwrap();
            count += 1;
        }
    }
    count
}

#[tokio::test]
async fn little_is_sent_to_a_client_that_reads_its_share_and_hangs_up() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let blob = content(32 << 20, 5);
    let cluster = Cluster::start_with(Wish { cached: vec![blob.clone()], ..Wish::default() }).await;
    let share = 1 << 20;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    // What the kernel takes in for the client is not the agent's doing.
    socket.set_recv_buffer_size(64 * 1024).unwrap();
    let mut stream = socket.connect(cluster.agent.registry).await.unwrap();
    let request =
        format!("GET {} HTTP/1.1\r\nhost: x\r\nrange: bytes=0-\r\n\r\n", path(&Digest::sha256(&blob)));
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut received = vec![0; share];
    stream.read_exact(&mut received).await.unwrap();
    // The agent writes as much as it can before it learns that the client is gone.
    tokio::time::sleep(Duration::from_millis(300)).await;
    drop(stream);
    let metrics = String::from_utf8(cluster.admin("/metrics").await.body.to_vec()).unwrap();
    let sent = metrics.lines().find_map(|line| line.strip_prefix("shoal_mirror_sent_bytes_total ")).unwrap();
    let ahead = sent.parse::<usize>().unwrap() - share;
    assert!(ahead <= 640 * 1024, "{ahead} bytes were written ahead");
}

#[tokio::test]
async fn bytes_are_streamed_while_the_rest_has_not_arrived() {
    let cluster = Cluster::start().await;
    let blob = content(3_000_000, 6);
    let digest = cluster.push_blob(&blob);
    let gate = Arc::new(Semaphore::new(0));
    cluster.state.lock().unwrap().blob_gate = Some((1_500_000, Arc::clone(&gate)));
    let mut body = cluster.send("GET", &path(&digest), &[]).await.into_body();
    let mut received = BytesMut::new();
    while received.len() < 1_000_000 {
        let bytes = tokio::time::timeout(PATIENCE, body.frame_data()).await.unwrap().unwrap().unwrap();
        received.extend_from_slice(&bytes);
    }
    assert_eq!(gate.available_permits(), 0);
    gate.add_permits(1);
    received.extend_from_slice(&body.collect(blob.len()).await.unwrap());
    assert!(received == blob);
}

#[tokio::test]
async fn a_download_goes_on_when_its_client_hangs_up() {
    let cluster = Cluster::start().await;
    let blob = content(3_000_000, 9);
    let digest = cluster.push_blob(&blob);
    let gate = Arc::new(Semaphore::new(0));
    cluster.state.lock().unwrap().blob_gate = Some((1_500_000, Arc::clone(&gate)));
    let mut body = cluster.send("GET", &path(&digest), &[]).await.into_body();
    body.frame_data().await.unwrap().unwrap();
    drop(body);
    gate.add_permits(1);
    eventually("complete", async || {
        let status: serde_json::Value = serde_json::from_slice(&cluster.admin("/status").await.body).unwrap();
        status["cache"]["bytes"] == 3_000_000
    })
    .await;
}

#[tokio::test]
async fn an_unfinished_download_is_taken_up_by_the_next_process() {
    let mut cluster = Cluster::start().await;
    let blob = content(3_000_000, 10);
    let digest = cluster.push_blob(&blob);
    cluster.state.lock().unwrap().blob_gate = Some((1_500_000, Arc::new(Semaphore::new(0))));
    let mut body = cluster.send("GET", &path(&digest), &[]).await.into_body();
    let mut received = 0;
    while received < 1_000_000 {
        received += body.frame_data().await.unwrap().unwrap().len();
    }
    drop(body);
    cluster.restart().await;
    cluster.state.lock().unwrap().blob_gate = None;
    assert!(cluster.get(&path(&digest)).await.body == blob);
    let metrics = String::from_utf8(cluster.admin("/metrics").await.body.to_vec()).unwrap();
    let line = r#"shoal_swarm_received_bytes_total{source="web"} "#;
    let fetched: u64 = metrics.lines().find_map(|text| text.strip_prefix(line)).unwrap().parse().unwrap();
    assert!(fetched <= 2_000_000, "{fetched} bytes were fetched again");
}
