//! A client that fetches a layer in parallel by open ranges, as containerd from 2.1 on: what it is sent, and what it reads.

use shoal_oci::Digest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::cluster::{Cluster, Wish, content};

const LAYER: usize = 20_000_000;
const CHUNK: usize = 1 << 20;
/// containerd's default of downloads at once.
const CONNECTIONS: usize = 3;

/// `Range: bytes=K-`, reads a chunk, and hangs up with the rest on its way.
async fn chunk(cluster: std::net::SocketAddr, path: String, start: usize) -> (usize, Vec<u8>) {
    let mut stream = TcpStream::connect(cluster).await.unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: x\r\nuser-agent: containerd/2.1.4\r\nrange: bytes={start}-\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut received = Vec::new();
    let head = loop {
        stream.read_buf(&mut received).await.unwrap();
        if let Some(end) = received.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break end + 4;
        }
    };
    assert!(received.starts_with(b"HTTP/1.1 206 "), "{}", String::from_utf8_lossy(&received[..head]));
    let mut body = received.split_off(head);
    let wanted = CHUNK.min(LAYER - start);
    while body.len() < wanted {
        assert!(stream.read_buf(&mut body).await.unwrap() > 0, "cut after {} bytes", body.len());
    }
    body.truncate(wanted);
    (start, body)
}

/// Fetches the layer and gives how many bytes were written for it, in parts of the layer.
async fn fetch(cluster: &Cluster, layer: &[u8]) -> f64 {
    let sent = async || {
        let metrics = String::from_utf8(cluster.admin("/metrics").await.body.to_vec()).unwrap();
        let line = metrics.lines().find_map(|line| line.strip_prefix("shoal_mirror_sent_bytes_total "));
        line.unwrap().parse::<f64>().unwrap()
    };
    let before = sent().await;
    let path = format!("/v2/team/app/blobs/{}?ns=r.example.com", Digest::sha256(layer));
    let mut tasks = JoinSet::new();
    let mut got = vec![0; LAYER];
    let mut starts = (0..LAYER).step_by(CHUNK);
    for start in starts.by_ref().take(CONNECTIONS) {
        tasks.spawn(chunk(cluster.agent.registry, path.clone(), start));
    }
    while let Some(done) = tasks.join_next().await {
        let (start, bytes) = done.unwrap();
        got[start..start + bytes.len()].copy_from_slice(&bytes);
        if let Some(start) = starts.next() {
            tasks.spawn(chunk(cluster.agent.registry, path.clone(), start));
        }
    }
    assert!(got == layer, "the chunks are not the layer");
    (sent().await - before) / LAYER as f64
}

#[tokio::test(flavor = "multi_thread")]
async fn little_more_is_written_than_parallel_clients_read() {
    let layers = [content(LAYER, 1), content(LAYER, 2)];
    let cluster = Cluster::start_with(Wish { cached: vec![layers[0].clone()], ..Wish::default() }).await;
    cluster.push_blob(&layers[1]);
    for (layer, what) in [(&layers[0], "from the cache"), (&layers[1], "while it arrives")] {
        let ratio = fetch(&cluster, layer).await;
        assert!(ratio <= 1.2, "{ratio} times the layer was written {what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_on_where_a_chunk_was_expected_to_end_gets_everything() {
    let layer = content(LAYER, 3);
    let cluster = Cluster::start_with(Wish { cached: vec![layer.clone()], ..Wish::default() }).await;
    assert!(fetch(&cluster, &layer).await <= 1.2);
    let path = format!("/v2/team/app/blobs/{}", Digest::sha256(&layer));
    let agent = [("range", "bytes=1048576-"), ("user-agent", "containerd/2.1.4")];
    let whole = cluster.get_with(&path, &agent).await;
    assert!(whole.status == 206 && whole.body == layer.slice(CHUNK..));
}
