//! Bodies from files: what arrives is the file, whatever the sizes, the clients and the connection.

use std::sync::Arc;
use std::time::Duration;

use shoal_http::server::SocketOptions;
use shoal_http::{Body, Limits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::harness::{FILE_LEN, Site, answer, assert_same, content, file_of, head, rest, soon};

fn get(query: &str) -> String {
    format!("GET /file?{query} HTTP/1.1\r\nhost: x\r\n\r\n")
}

/// Around the thresholds of copying (64 KiB), of one call (512 KiB) and of pages.
const SIZES: &[usize] = &[
    1, 2, 4095, 4096, 4097, 65_535, 65_536, 65_537, 524_287, 524_288, 524_289, 1_048_576, 2_100_001,
    6_000_000,
];

#[tokio::test]
async fn parts_of_all_sizes_arrive_on_one_connection() {
    let site = Site::plain(Limits::default()).await;
    let mut stream = site.connect().await;
    for offset in [0, 1, 4096, 12_345] {
        for &len in SIZES {
            stream.write_all(get(&format!("offset={offset}&len={len}")).as_bytes()).await.unwrap();
            let (_, body) = answer(&mut stream).await;
            assert_same(&body, &site.paths.content[offset..offset + len], &format!("{offset} {len}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelined_requests_for_files_and_bytes_keep_their_order() {
    let options = SocketOptions { send_buffer: Some(16_384) };
    let site = Site::start(Limits::default(), options, None).await;
    let (mut reading, mut writing) = site.connect().await.into_split();
    let sizes: Vec<usize> =
        SIZES.iter().copied().chain(SIZES.iter().rev().copied()).filter(|len| *len < 2_000_000).collect();
    let mut requests = String::new();
    for (index, len) in sizes.iter().enumerate() {
        let path = if index % 3 == 0 { "bytes" } else { "file" };
        requests += &format!("GET /{path}?len={len} HTTP/1.1\r\nhost: x\r\n\r\n");
    }
    writing.write_all(requests.as_bytes()).await.unwrap();
    for len in sizes {
        let (_, body) = answer(&mut reading).await;
        assert_same(&body, &site.paths.content[..len], &format!("{len}"));
    }
}

#[tokio::test]
async fn a_client_that_reads_in_small_steps_gets_the_file() {
    let options = SocketOptions { send_buffer: Some(4096) };
    let site = Site::start(Limits::default(), options, None).await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(site.addr).await.unwrap();
    stream.write_all(get("len=700001").as_bytes()).await.unwrap();
    head(&mut stream).await;
    let mut body = Vec::new();
    let mut step = [0; 777];
    while body.len() < 700_001 {
        let len = soon(stream.read(&mut step)).await.unwrap();
        assert!(len > 0);
        body.extend_from_slice(&step[..len]);
        if body.len() % 50 < 5 {
            tokio::task::yield_now().await;
        }
    }
    assert_same(&body, &site.paths.content[..700_001], "small steps");
}

#[tokio::test]
async fn many_clients_at_once_get_their_own_parts() {
    let site = Site::plain(Limits::default()).await;
    let mut clients = tokio::task::JoinSet::new();
    for index in 0..16_usize {
        let (addr, content) = (site.addr, site.paths.content.clone());
        clients.spawn(async move {
            let mut stream = tokio::net::TcpStream::connect(addr).await.unwrap();
            for round in 0..4 {
                let (offset, len) = (index * 10_007 + round, 1_000_000 + index * 333);
                stream.write_all(get(&format!("offset={offset}&len={len}")).as_bytes()).await.unwrap();
                let (_, body) = answer(&mut stream).await;
                assert_same(&body, &content[offset..offset + len], &format!("{index} {round}"));
            }
        });
    }
    while let Some(outcome) = clients.join_next().await {
        outcome.unwrap();
    }
}

#[tokio::test]
async fn head_has_the_length_and_no_body() {
    let site = Site::plain(Limits::default()).await;
    let mut stream = site.connect().await;
    for _ in 0..2 {
        stream.write_all(b"HEAD /file?len=300000 HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        assert!(head(&mut stream).await.contains("content-length: 300000\r\n"));
    }
    stream.write_all(get("len=300000").as_bytes()).await.unwrap();
    assert_same(&answer(&mut stream).await.1, &site.paths.content[..300_000], "after HEAD");
}

#[tokio::test]
async fn a_chunked_file_arrives() {
    let site = Site::plain(Limits::default()).await;
    let request = b"GET /file?len=1500000&chunked=1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let got = site.exchange(request).await;
    let text = String::from_utf8_lossy(&got[..400]);
    let start = got.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    assert!(text.contains("transfer-encoding: chunked"), "{text}");
    let mut rest = &got[start..];
    let mut body = Vec::new();
    loop {
        let line = rest.windows(2).position(|window| window == b"\r\n").unwrap();
        let len = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
        body.extend_from_slice(&rest[line + 2..line + 2 + len]);
        rest = &rest[line + 2 + len + 2..];
        if len == 0 {
            break;
        }
    }
    assert_same(&body, &site.paths.content[..1_500_000], "chunked");
}

#[tokio::test]
async fn http_1_0_gets_the_file() {
    let site = Site::plain(Limits::default()).await;
    let got = site.exchange(b"GET /file?len=1000000 HTTP/1.0\r\n\r\n").await;
    let start = got.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    assert_same(&got[start..], &site.paths.content[..1_000_000], "HTTP/1.0");
}

#[tokio::test]
async fn a_file_that_is_shorter_than_promised_cuts_the_connection() {
    let site = Site::plain(Limits::default()).await;
    // One that goes out by itself and one that is copied.
    for (offset, len) in [(FILE_LEN - 1_000_000, 2_000_000), (FILE_LEN - 5000, 9000)] {
        let got = site.exchange(get(&format!("offset={offset}&len={len}")).as_bytes()).await;
        let start = got.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        let body = &got[start..];
        assert!(body.len() < len, "{} bytes", body.len());
        assert_same(body, &site.paths.content[offset..offset + body.len()], "short file");
    }
    let got = site.exchange(get(&format!("offset={}&len=100000", FILE_LEN + 1)).as_bytes()).await;
    assert!(got.ends_with(b"\r\n\r\n") || got.is_empty());
    assert!(!site.exchange(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.is_empty());
}

#[tokio::test]
async fn a_file_that_is_not_in_memory_arrives() {
    let site = Site::plain(Limits::default()).await;
    let mut stream = site.connect().await;
    for _ in 0..2 {
        site.paths.file.sync_all().unwrap();
        rustix::fs::fadvise(&*site.paths.file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        stream.write_all(get("").as_bytes()).await.unwrap();
        assert_same(&answer(&mut stream).await.1, &site.paths.content, "cold");
    }
}

#[tokio::test]
async fn a_client_that_goes_away_inside_a_file_leaves_nothing_behind() {
    let site = Site::plain(Limits::default()).await;
    for _ in 0..5 {
        let mut stream = site.connect().await;
        stream.write_all(get("").as_bytes()).await.unwrap();
        head(&mut stream).await;
        drop(stream);
    }
    assert_eq!(answer_of(&site).await, site.paths.content[..100_000]);
    site.stopped().await;
}

async fn answer_of(site: &Site) -> Vec<u8> {
    let mut stream = site.connect().await;
    stream.write_all(get("len=100000").as_bytes()).await.unwrap();
    answer(&mut stream).await.1
}

#[tokio::test]
async fn a_connection_that_is_kept_keeps_no_file_open() {
    let site = Site::plain(Limits::default()).await;
    let held = Arc::strong_count(&site.paths.file);
    let mut stream = site.connect().await;
    stream.write_all(get("").as_bytes()).await.unwrap();
    answer(&mut stream).await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    answer(&mut stream).await;
    assert_eq!(Arc::strong_count(&site.paths.file), held);
}

#[tokio::test]
async fn a_drain_waits_for_a_file_that_is_being_read() {
    let options = SocketOptions { send_buffer: Some(65_536) };
    let site = Site::start(Limits::default(), options, None).await;
    let content = site.paths.content.clone();
    let mut stream = site.connect().await;
    stream.write_all(get("").as_bytes()).await.unwrap();
    head(&mut stream).await;
    let stopped = tokio::spawn(site.stopped());
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!stopped.is_finished());
    assert_same(&rest(&mut stream).await, &content, "drained");
    soon(stopped).await.unwrap();
}

#[tokio::test]
async fn a_client_that_does_not_read_a_file_is_cut() {
    let limits = Limits { stall_timeout: Duration::from_millis(300), ..Limits::default() };
    let site = Site::start(limits, SocketOptions { send_buffer: Some(4096) }, None).await;
    let mut stream = site.connect().await;
    stream.write_all(get("").as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1000)).await;
    soon(site.stopped()).await;
    assert!(rest(&mut stream).await.len() < FILE_LEN);
}

#[tokio::test]
async fn an_idle_limit_does_not_cut_a_file_that_is_read_slowly() {
    let limits = Limits { idle_timeout: Duration::from_millis(200), ..Limits::default() };
    let site = Site::start(limits, SocketOptions { send_buffer: Some(65_536) }, None).await;
    let mut stream = site.connect().await;
    stream.write_all(get("").as_bytes()).await.unwrap();
    let head = head(&mut stream).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    let mut body = vec![0; super::harness::content_length(&head)];
    soon(stream.read_exact(&mut body)).await.unwrap();
    assert_same(&body, &site.paths.content, "slowly");
}

#[tokio::test]
async fn a_file_can_be_read_as_a_body() {
    let bytes = content(700_000);
    let body = Body::file(file_of(&bytes), 100, 600_000);
    assert_eq!(body.size(), Some(600_000));
    assert_same(&body.collect(1 << 20).await.unwrap(), &bytes[100..600_100], "collected");
    let mut short = Body::file(file_of(&bytes), 699_000, 2000);
    assert_eq!(short.frame_data().await.unwrap().unwrap(), bytes[699_000..]);
    let missing = short.frame_data().await.unwrap().unwrap_err();
    assert!(missing.to_string().contains("1000 bytes too early"), "{missing}");
    assert!(short.frame_data().await.is_none());
    assert_eq!(Body::file(file_of(&bytes), 0, 0).collect(0).await.unwrap(), "");
}
