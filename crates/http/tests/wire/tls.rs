//! Listeners and clients over TLS.

use std::net::SocketAddr;
use std::time::Duration;

use shoal_http::server::SocketOptions;
use shoal_http::{
    Body, Client, ClientError, ClientOptions, ClientTls, ClientTlsFiles, Limits, Tls, TlsFiles,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::authority::{Authority, replace};
use super::harness::{FILE_LEN, PATIENCE, Site, assert_same, rest, soon};

async fn site(files: TlsFiles) -> Site {
    site_of(Tls::server(files).unwrap()).await
}

async fn site_of(tls: Tls) -> Site {
    Site::start(Limits::default(), SocketOptions::default(), Some(tls)).await
}

fn client(tls: ClientTls) -> Client {
    Client::new(&ClientOptions { tls: Some(tls), ..ClientOptions::default() })
}

async fn get(client: &Client, addr: SocketAddr, path: &str) -> Result<String, ClientError> {
    let url = format!("https://localhost:{}{path}", addr.port());
    let bytes = client.get_bytes(&url, 64 << 20, PATIENCE).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[tokio::test]
async fn a_client_that_trusts_the_authority_is_served() {
    let authority = Authority::new();
    let site = site(authority.server("server")).await;
    let client = client(authority.trusted_by(None));
    let who = get(&client, site.addr, "/who").await.unwrap();
    assert_eq!(who, "Connection { secure: true, certificate: None }");
    let by_address = format!("https://{}/who", site.addr);
    assert!(client.get_bytes(&by_address, 100, PATIENCE).await.is_ok());
    let plain = Site::plain(Limits::default()).await;
    let who = client.get_bytes(&format!("http://{}/who", plain.addr), 100, PATIENCE).await.unwrap();
    assert_eq!(who, "Connection { secure: false, certificate: None }");
}

#[tokio::test]
async fn files_and_uploads_go_over_tls_as_they_are() {
    let authority = Authority::new();
    let site = site(authority.server("server")).await;
    let client = client(authority.trusted_by(None));
    let base = format!("https://{}", site.addr);
    for (offset, len) in [(0, FILE_LEN), (1, 65_536), (4095, 600_001)] {
        let url = format!("{base}/file?offset={offset}&len={len}");
        let body = client.get_bytes(&url, 64 << 20, PATIENCE).await.unwrap();
        assert_same(&body, &site.paths.content[offset..offset + len], &url);
    }
    let upload = Body::from(site.paths.content.clone());
    let request = http::Request::post(format!("{base}/echo")).body(upload).unwrap();
    let echoed = client.exchange(request, 64 << 20, PATIENCE).await.unwrap();
    assert_same(&echoed, &site.paths.content, "upload");
}

#[tokio::test]
async fn a_stranger_is_not_believed() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let site = site(stranger.server("server")).await;
    let error = get(&client(authority.trusted_by(None)), site.addr, "/").await.unwrap_err();
    assert!(matches!(error, ClientError::Connect { .. }), "{error:?}");
    assert!(error.to_string().contains("invalid peer certificate"), "{error}");
    let error = get(&Client::default(), site.addr, "/").await.unwrap_err();
    assert!(matches!(error, ClientError::Connect { .. }), "{error:?}");
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let authority = Authority::new();
    let own = authority.client("other");
    let files =
        TlsFiles { certificate: own.certificate, key: own.key, client_ca: None, client_required: false };
    let site = site(files).await;
    let error = get(&client(authority.trusted_by(None)), site.addr, "/").await.unwrap_err();
    assert!(error.to_string().contains("not valid for name"), "{error}");
}

#[tokio::test]
async fn the_names_of_a_client_reach_the_handler() {
    let authority = Authority::new();
    let files = TlsFiles { client_ca: Some(authority.ca()), ..authority.server("server") };
    let site = site(files).await;
    let known = client(authority.trusted_by(Some(authority.client("agent"))));
    let who = get(&known, site.addr, "/who").await.unwrap();
    for part in [
        r#"common_name: Some("agent")"#,
        r#"dns: ["agent.example"]"#,
        r#"uris: ["spiffe://example/agent"]"#,
        r#"emails: ["agent@example.org"]"#,
    ] {
        assert!(who.contains(part), "{who}");
    }
    let fingerprint = who.split("fingerprint: \"").nth(1).unwrap().split('"').next().unwrap();
    assert!(fingerprint.len() == 64 && fingerprint.bytes().all(|byte| byte.is_ascii_hexdigit()), "{who}");
    // It is optional here.
    let unknown = client(authority.trusted_by(None));
    assert!(get(&unknown, site.addr, "/who").await.unwrap().contains("certificate: None"));
    // But a certificate of somebody else is not.
    let stranger = Authority::new();
    let stranger = client(authority.trusted_by(Some(stranger.client("agent"))));
    get(&stranger, site.addr, "/who").await.unwrap_err();
}

#[tokio::test]
async fn a_client_without_the_required_certificate_is_refused() {
    let authority = Authority::new();
    let files =
        TlsFiles { client_ca: Some(authority.ca()), client_required: true, ..authority.server("server") };
    let site = site(files).await;
    get(&client(authority.trusted_by(None)), site.addr, "/who").await.unwrap_err();
    let known = client(authority.trusted_by(Some(authority.client("agent"))));
    assert!(get(&known, site.addr, "/who").await.unwrap().contains("agent"));
}

#[tokio::test]
async fn new_files_serve_new_connections_and_broken_ones_change_nothing() {
    let authority = Authority::new();
    let files = authority.server("server");
    let tls = Tls::server(files.clone()).unwrap();
    let site = site_of(tls.clone()).await;
    let old_client = client(authority.trusted_by(None));
    get(&old_client, site.addr, "/").await.unwrap();
    // Another authority takes over.
    let next = Authority::new();
    let fresh = next.server("server");
    let key = std::fs::read_to_string(&fresh.key).unwrap();
    replace(&files.key, &key);
    let error = tls.reload().unwrap_err();
    assert!(error.to_string().contains("does not belong"), "{error}");
    let trusting_old = client(authority.trusted_by(None));
    get(&trusting_old, site.addr, "/").await.unwrap();
    replace(&files.certificate, &std::fs::read_to_string(&fresh.certificate).unwrap());
    tls.reload().unwrap();
    get(&client(next.trusted_by(None)), site.addr, "/").await.unwrap();
    get(&client(authority.trusted_by(None)), site.addr, "/").await.unwrap_err();
    // The connection that was open goes on.
    get(&old_client, site.addr, "/").await.unwrap();
}

#[tokio::test]
async fn a_client_takes_new_files_as_well() {
    let (old, new) = (Authority::new(), Authority::new());
    let site = site(new.server("server")).await;
    let tls = old.trusted_by(None);
    let client = client(tls.clone());
    get(&client, site.addr, "/").await.unwrap_err();
    replace(&old.ca(), &std::fs::read_to_string(new.ca()).unwrap());
    tls.reload().unwrap();
    get(&client, site.addr, "/").await.unwrap();
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_cut_and_holds_up_nobody() {
    let authority = Authority::new();
    let tls = Tls::server(authority.server("server")).unwrap();
    let limits = Limits { header_timeout: Duration::from_millis(500), ..Limits::default() };
    let site = Site::start(limits, SocketOptions::default(), Some(tls)).await;
    let mut silent = site.connect().await;
    let mut halfway = site.connect().await;
    halfway.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]).await.unwrap();
    get(&client(authority.trusted_by(None)), site.addr, "/").await.unwrap();
    assert!(rest(&mut silent).await.is_empty());
    rest(&mut halfway).await;
}

#[tokio::test]
async fn plain_http_on_a_tls_port_is_no_trouble() {
    let authority = Authority::new();
    let site = site(authority.server("server")).await;
    let got = site.exchange(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(!got.starts_with(b"HTTP/1.1 200"), "{got:?}");
    get(&client(authority.trusted_by(None)), site.addr, "/").await.unwrap();
}

#[tokio::test]
async fn a_drain_over_tls_lets_requests_finish() {
    let authority = Authority::new();
    let site = site(authority.server("server")).await;
    let client = client(authority.trusted_by(None));
    let addr = site.addr;
    let held = tokio::spawn(async move { get(&client, addr, "/held").await });
    soon(site.paths.entered.acquire()).await.unwrap().forget();
    site.shutdown.trigger();
    site.paths.gate.add_permits(1);
    assert_eq!(soon(held).await.unwrap().unwrap(), "held");
    site.stopped().await;
}

#[tokio::test]
async fn a_cut_body_over_tls_never_looks_whole() {
    let authority = Authority::new();
    let site = site(authority.server("server")).await;
    let error = get(&client(authority.trusted_by(None)), site.addr, "/cut?len=100000").await.unwrap_err();
    assert!(matches!(error, ClientError::Body { .. }), "{error:?}");
}

#[tokio::test]
async fn other_rooms_get_connections_from_the_same_files() {
    let authority = Authority::new();
    let files =
        TlsFiles { client_ca: Some(authority.ca()), client_required: true, ..authority.server("server") };
    let tls = Tls::with_protocols(files, &[b"swarm"]).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let accepted = tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let mut stream = tls.acceptor().accept(socket).await.unwrap();
        let mut byte = [0];
        stream.read_exact(&mut byte).await.unwrap();
        byte[0]
    });
    let files = ClientTlsFiles { ca: Some(authority.ca()), identity: Some(authority.client("peer")) };
    let connector = ClientTls::with_protocols(files, &[b"swarm"]).unwrap().connector();
    let socket = tokio::net::TcpStream::connect(addr).await.unwrap();
    let mut stream = connector.connect("localhost".try_into().unwrap(), socket).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"swarm"[..]));
    stream.write_all(b"x").await.unwrap();
    assert_eq!(soon(accepted).await.unwrap(), b'x');
}
