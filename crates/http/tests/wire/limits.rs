//! Refusals with a body, and room for new connections when all places are taken.

use std::time::Duration;

use shoal_http::Limits;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::harness::{PATIENCE, Site, answer, content_length, head, rest, soon};

/// Head and body of a refusal, with the body checked against the OCI error format.
fn refusal(got: &[u8]) -> (String, serde_json::Value) {
    let text = String::from_utf8(got.to_vec()).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text}"));
    let json: serde_json::Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{text}"));
    assert!(head.contains("\r\ncontent-type: application/json\r\n"), "{head}");
    assert!(head.contains("connection: close"), "{head}");
    assert_eq!(content_length(head), body.len());
    let error = &json["errors"][0];
    assert!(error["code"].as_str().unwrap().bytes().all(|byte| byte == b'_' || byte.is_ascii_uppercase()));
    assert!(!error["message"].as_str().unwrap().is_empty());
    (head.to_owned(), json)
}

#[tokio::test]
async fn refusals_of_bad_http_have_an_oci_body_that_repeats_nothing() {
    let site = Site::plain(Limits { header_len_max: 8192, ..Limits::default() }).await;
    let long_header = format!("GET / HTTP/1.1\r\nhost: x\r\nsecret: {}\r\n\r\n", "secret".repeat(2000));
    let long_target = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "secret/".repeat(2000));
    let cases: &[(&str, &[u8])] = &[
        ("HTTP/1.1 400 ", b"GET /secret HTTP/1.1\r\nbad secret header\r\n\r\n"),
        ("HTTP/1.1 400 ", b"secret\r\n\r\n"),
        ("HTTP/1.1 400 ", b"GET /secret HTTP/9.9\r\n\r\n"),
        ("HTTP/1.1 400 ", b"POST /secret HTTP/1.1\r\nhost: x\r\ncontent-length: +5\r\n\r\nhello"),
        (
            "HTTP/1.1 400 ",
            b"POST /secret HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        ),
        ("HTTP/1.1 431 ", long_header.as_bytes()),
        ("HTTP/1.1 431 ", long_target.as_bytes()),
    ];
    for (status, request) in cases {
        let got = site.exchange(request).await;
        let (head, json) = refusal(&got);
        assert!(head.starts_with(status), "{head}");
        assert!(!format!("{head}{json}").contains("secret"), "{head}{json}");
    }
}

#[tokio::test]
async fn a_target_that_is_too_long_is_a_414_with_a_body() {
    let site =
        Site::plain(Limits { header_len_max: 200_000, buffer_max: 512 * 1024, ..Limits::default() }).await;
    let request = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(70_000));
    let (head, _) = refusal(&site.exchange(request.as_bytes()).await);
    assert!(head.starts_with("HTTP/1.1 414 "), "{head}");
}

#[tokio::test]
async fn a_bad_request_after_good_ones_is_refused_with_a_body_too() {
    let site = Site::plain(Limits::default()).await;
    let mut stream = site.connect().await;
    let good = "GET /file?len=300000 HTTP/1.1\r\nhost: x\r\n\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\n";
    stream.write_all(format!("{good}rubbish\r\n\r\n").as_bytes()).await.unwrap();
    assert!(answer(&mut stream).await.1 == site.paths.content[..300_000]);
    assert_eq!(answer(&mut stream).await.1, b"ok");
    refusal(&rest(&mut stream).await);
}

#[tokio::test]
async fn the_answers_of_handlers_are_left_alone() {
    let site = Site::plain(Limits::default()).await;
    let got = site.exchange(b"GET /empty-400 HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(got.starts_with(b"HTTP/1.1 400 ") && got.ends_with(b"\r\n\r\n"));
    // Not even when a body looks like a refusal.
    let body = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let request = format!(
        "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let got = site.exchange(request.as_bytes()).await;
    assert!(got.starts_with(b"HTTP/1.1 200 ") && got.ends_with(body.as_bytes()));
}

async fn idle(site: &Site) -> TcpStream {
    let mut stream = site.connect().await;
    served(&mut stream).await;
    stream
}

/// Whether the connection still serves.
async fn served(stream: &mut TcpStream) {
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert_eq!(answer(stream).await.1, b"ok");
}

#[tokio::test]
async fn the_longest_idle_connection_makes_room() {
    let site = Site::plain(Limits { connections_max: 3, ..Limits::default() }).await;
    let mut first = idle(&site).await;
    let mut second = idle(&site).await;
    let mut busy = site.connect().await;
    busy.write_all(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    soon(site.paths.entered.acquire()).await.unwrap().forget();
    served(&mut first).await;
    let mut fourth = idle(&site).await;
    // The second had waited longest.
    assert!(rest(&mut second).await.is_empty());
    served(&mut first).await;
    served(&mut fourth).await;
    site.paths.gate.add_permits(1);
    assert_eq!(answer(&mut busy).await.1, b"held");
}

#[tokio::test]
async fn connections_that_never_send_a_request_do_not_lock_others_out() {
    // Their own limits come too late.
    let header_timeout = 2 * PATIENCE;
    let site = Site::plain(Limits { connections_max: 8, header_timeout, ..Limits::default() }).await;
    let mut attackers = Vec::new();
    for index in 0..24 {
        let mut stream = site.connect().await;
        // Silent, a header that never ends, and half a preface of HTTP/2.
        let part: &[u8] = [&b""[..], b"GET / HTTP/1.1\r\nx: ", b"PRI * HT"][index % 3];
        let _ = stream.write_all(part).await;
        attackers.push(stream);
    }
    for _ in 0..3 {
        let mut good = site.connect().await;
        served(&mut good).await;
    }
    site.stopped().await;
}

#[tokio::test]
async fn an_idle_http2_connection_makes_room_as_well() {
    let site = Site::plain(Limits { connections_max: 1, ..Limits::default() }).await;
    let mut deaf = site.connect().await;
    deaf.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut good = site.connect().await;
    served(&mut good).await;
}

#[tokio::test]
async fn a_transfer_keeps_its_place() {
    let limits = Limits { connections_max: 1, ..Limits::default() };
    let options = shoal_http::server::SocketOptions { send_buffer: Some(65_536) };
    let site = Site::start(limits, options, None).await;
    let mut reading = site.connect().await;
    reading.write_all(b"GET /file HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let len = content_length(&head(&mut reading).await);
    let addr = site.addr;
    let second = tokio::spawn(async move {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        served(&mut stream).await;
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!second.is_finished());
    let mut body = vec![0; len];
    soon(tokio::io::AsyncReadExt::read_exact(&mut reading, &mut body)).await.unwrap();
    assert!(body == site.paths.content);
    soon(second).await.unwrap();
}
