//! Raw bytes to a socket and raw bytes back.

use std::net::SocketAddr;
use std::time::Duration;

use shoal_oci::Digest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The most that a case may take: the limits of the server add up to less, and a machine with eight jobs on two cores is slow.
const TIME_MAX: Duration = Duration::from_secs(15);

/// The longest answer that is looked at.
const ANSWER_LEN_MAX: usize = 256 * 1024;

/// What came back until the server closed.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status of each answer.
    pub(crate) statuses: Vec<u16>,
    pub(crate) text: String,
    /// The server did not close within [`TIME_MAX`].
    pub(crate) hung: bool,
}

impl Answer {
    fn new(bytes: &[u8], hung: bool) -> Self {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let statuses = text
            .match_indices("HTTP/1.1 ")
            .filter_map(|(at, start)| text.get(at + start.len()..at + start.len() + 3)?.parse().ok())
            .filter(|status| *status != 100)
            .collect();
        Self { statuses, text, hung }
    }

    /// Whether an error has a body of the specification's shape; HEAD has none, and a cut answer may have lost it.
    pub(crate) fn is_in_oci_form(&self) -> bool {
        let is_error = self.statuses.first().is_some_and(|status| *status >= 400);
        let text = self.text.strip_prefix("HTTP/1.1 100 Continue\r\n\r\n").unwrap_or(&self.text);
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        !is_error || body.is_empty() || body.starts_with(r#"{"errors":[{"#)
    }
}

/// Sends `bytes` and reads until the server closes; both at once, since a server may answer before it has everything.
pub(crate) async fn exchange(address: SocketAddr, bytes: Vec<u8>) -> Answer {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let sending = tokio::spawn(async move {
        // The server may have closed already.
        _ = writer.write_all(&bytes).await;
        writer
    });
    let mut answer = Vec::new();
    let reading = async {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(len @ 1..) = reader.read(&mut buffer).await {
            answer.extend_from_slice(&buffer[..len]);
            if answer.len() > ANSWER_LEN_MAX {
                break;
            }
        }
    };
    let hung = tokio::time::timeout(TIME_MAX, reading).await.is_err();
    sending.abort();
    Answer::new(&answer, hung)
}

/// Opens an upload session in repository `a` where the case asks for one with `{session}`.
pub(crate) async fn with_session(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    const PLACE: &[u8] = b"{session}";
    let Some(at) = bytes.windows(PLACE.len()).position(|window| window == PLACE) else {
        return bytes.to_vec();
    };
    let opened = send(address, "POST /v2/a/blobs/uploads/", "", b"").await;
    let location = opened.text.lines().find_map(|line| line.strip_prefix("location: ")).unwrap();
    [&bytes[..at], location.trim().as_bytes(), &bytes[at + PLACE.len()..]].concat()
}

/// An honest request.
pub(crate) async fn send(address: SocketAddr, line: &str, headers: &str, body: &[u8]) -> Answer {
    let head = format!(
        "{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    );
    exchange(address, [head.as_bytes(), body].concat()).await
}

const CONFIG: &[u8] = b"{}";

/// Pushes an image that everything afterwards has to leave alone; its manifest.
pub(crate) async fn push_image(address: SocketAddr) -> String {
    let digest = Digest::sha256(CONFIG);
    let pushed = send(address, &format!("POST /v2/a/blobs/uploads/?digest={digest}"), "", CONFIG).await;
    assert_eq!(pushed.statuses, [201], "{}", pushed.text);
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{digest}","size":2}},"layers":[]}}"#
    );
    let headers = "Content-Type: application/vnd.oci.image.manifest.v1+json\r\n";
    let pushed = send(address, "PUT /v2/a/manifests/known", headers, manifest.as_bytes()).await;
    assert_eq!(pushed.statuses, [201], "{}", pushed.text);
    manifest
}

/// Checks that it is still there, byte for byte.
pub(crate) async fn assert_image(address: SocketAddr, manifest: &str) {
    let pulled = send(address, "GET /v2/a/manifests/known", "", b"").await;
    assert!(pulled.statuses == [200] && pulled.text.ends_with(manifest), "{}", pulled.text);
    let digest = Digest::sha256(CONFIG);
    let pulled = send(address, &format!("GET /v2/a/blobs/{digest}"), "", b"").await;
    assert!(pulled.statuses == [200] && pulled.text.ends_with("\r\n\r\n{}"), "{}", pulled.text);
}
