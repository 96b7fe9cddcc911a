//! A registry client without comfort: one keep-alive connection, bytes out, the head of an answer in.
//!
//! Benches need a client that costs little beside the server that they measure, and drills need to know whether an answer had
//! arrived at the moment a server was killed. [`crate::Registry`] is the comfortable client. No TLS, no redirects, no pool, no
//! HTTP/2; an answer whose head is longer than the buffer is an error.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Bytes read at once: large enough that a pull of gigabytes is not a contest of system calls.
const BUFFER_LEN: usize = 256 * 1024;
/// The longest body that is kept; longer ones are an error, because drills compare whole contents in memory.
const KEPT_LEN_MAX: u64 = 512 * 1024 * 1024;

/// One connection to a registry.
#[derive(Debug)]
pub struct Wire {
    address: SocketAddr,
    stream: TcpStream,
    buffer: Box<[u8]>,
    /// The unread part of the buffer.
    start: usize,
    end: usize,
    /// The head of the last answer.
    head: Vec<u8>,
}

/// What is known of an answer once it was read whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// The status code.
    pub status: u16,
    /// Bytes of the body; of an answer to HEAD, what the header says.
    pub len: u64,
}

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(u64),
    Chunked,
}

impl Wire {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let buffer = vec![0; BUFFER_LEN].into_boxed_slice();
        Ok(Self { address, stream, buffer, start: 0, end: 0, head: Vec::new() })
    }

    /// Where it is connected to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The head of a request as bytes. `len` is that of the body, if there is one.
    pub fn request(&self, method: &str, target: &str, headers: &[(&str, &str)], len: Option<u64>) -> Vec<u8> {
        let mut head = format!("{method} {target} HTTP/1.1\r\nhost: {}\r\n", self.address);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(len) = len {
            head.push_str(&format!("content-length: {len}\r\n"));
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    /// Sends a request and reads the answer, whose body is thrown away. `request` begins with the head, the rest is the body.
    pub async fn exchange(&mut self, request: &[&[u8]]) -> io::Result<Received> {
        self.send(request).await?;
        self.receive(is_head(request), None).await
    }

    /// The same, and keeps the body.
    pub async fn fetch(&mut self, request: &[&[u8]]) -> io::Result<(Received, Vec<u8>)> {
        self.send(request).await?;
        let mut body = Vec::new();
        let received = self.receive(is_head(request), Some(&mut body)).await?;
        Ok((received, body))
    }

    /// Sends a request and shows the body of the answer to `watch` as it comes. For bodies with a length.
    pub async fn read_through(
        &mut self,
        request: &[&[u8]],
        watch: &mut (dyn FnMut(&[u8]) + Send),
    ) -> io::Result<Received> {
        self.send(request).await?;
        let status = self.receive_final_head().await?;
        let Framing::Length(len) = framing(&self.head, status)? else {
            return Err(broken("the body has no length"));
        };
        let mut missing = len;
        while missing > 0 {
            if self.start == self.end {
                self.fill().await?;
            }
            let take = usize::try_from(missing).unwrap_or(usize::MAX).min(self.end - self.start);
            watch(&self.buffer[self.start..self.start + take]);
            self.start += take;
            missing -= take as u64;
        }
        Ok(Received { status, len })
    }

    /// A header of the last answer.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    /// Sends; a server that answered early and closed is only noticed, because its answer says more than the broken pipe.
    async fn send(&mut self, request: &[&[u8]]) -> io::Result<()> {
        for part in request {
            match self.stream.write_all(part).await {
                Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
                    break;
                }
                other => other?,
            }
        }
        Ok(())
    }

    async fn receive(&mut self, is_head: bool, mut kept: Option<&mut Vec<u8>>) -> io::Result<Received> {
        let status = self.receive_final_head().await?;
        let framing = framing(&self.head, status)?;
        let len = match framing {
            Framing::Length(len) if is_head => len,
            Framing::Chunked if is_head => 0,
            Framing::Length(len) => self.receive_exactly(len, &mut kept).await?,
            Framing::Chunked => self.receive_chunks(&mut kept).await?,
        };
        Ok(Received { status, len })
    }

    /// Interim answers come before the one that counts (RFC 9110, section 15.2).
    async fn receive_final_head(&mut self) -> io::Result<u16> {
        loop {
            let status = self.receive_head().await?;
            if status >= 200 {
                return Ok(status);
            }
        }
    }

    /// Reads up to and with the empty line, and returns the status.
    async fn receive_head(&mut self) -> io::Result<u16> {
        let mut searched = 0;
        let end = loop {
            let unread = &self.buffer[self.start..self.end];
            if let Some(at) = unread[searched..].windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break searched + at + 4;
            }
            searched = unread.len().saturating_sub(3);
            self.fill().await?;
        };
        self.head.clear();
        self.head.extend_from_slice(&self.buffer[self.start..self.start + end]);
        self.start += end;
        let digits = self.head.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok());
        digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| broken("no status in the answer"))
    }

    async fn receive_exactly(&mut self, len: u64, kept: &mut Option<&mut Vec<u8>>) -> io::Result<u64> {
        if kept.as_ref().is_some_and(|kept| kept.len() as u64 + len > KEPT_LEN_MAX) {
            return Err(broken("the body is longer than what is kept"));
        }
        let mut missing = len;
        while missing > 0 {
            if self.start == self.end {
                self.fill().await?;
            }
            let take = usize::try_from(missing).unwrap_or(usize::MAX).min(self.end - self.start);
            if let Some(kept) = kept {
                kept.extend_from_slice(&self.buffer[self.start..self.start + take]);
            }
            self.start += take;
            missing -= take as u64;
        }
        Ok(len)
    }

    async fn receive_chunks(&mut self, kept: &mut Option<&mut Vec<u8>>) -> io::Result<u64> {
        let mut total = 0;
        loop {
            let line = self.receive_line().await?;
            let digits = line.split(';').next().unwrap_or_default().trim();
            let len = u64::from_str_radix(digits, 16).map_err(|_| broken("no length of a chunk"))?;
            total += self.receive_exactly(len, kept).await?;
            // The end of the chunk's bytes, or the empty line behind the last chunk; trailers are not expected.
            self.receive_line().await?;
            if len == 0 {
                return Ok(total);
            }
        }
    }

    async fn receive_line(&mut self) -> io::Result<String> {
        loop {
            let unread = &self.buffer[self.start..self.end];
            if let Some(at) = unread.windows(2).position(|bytes| bytes == b"\r\n") {
                let line = String::from_utf8_lossy(&unread[..at]).into_owned();
                self.start += at + 2;
                return Ok(line);
            }
            self.fill().await?;
        }
    }

    /// Reads more behind what is unread.
    async fn fill(&mut self) -> io::Result<()> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let room = &mut self.buffer[self.end..];
        if room.is_empty() {
            return Err(broken("the head of the answer does not end"));
        }
        match self.stream.read(room).await? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            count => {
                self.end += count;
                Ok(())
            }
        }
    }
}

/// The target of a request from a `Location`, which may be absolute or a path.
pub fn target(location: &str) -> &str {
    let Some((_, rest)) = location.split_once("://") else { return location };
    rest.find('/').map_or("/", |at| &rest[at..])
}

/// A target with one more parameter.
pub fn with_parameter(target: &str, name: &str, value: &str) -> String {
    let separator = if target.contains('?') { '&' } else { '?' };
    format!("{target}{separator}{name}={value}")
}

fn is_head(request: &[&[u8]]) -> bool {
    request.first().is_some_and(|head| head.starts_with(b"HEAD "))
}

fn framing(head: &[u8], status: u16) -> io::Result<Framing> {
    if status == 204 || status == 304 {
        return Ok(Framing::Length(0));
    }
    if let Some(text) = header(head, "content-length") {
        return text.parse().map(Framing::Length).map_err(|_| broken("no number in Content-Length"));
    }
    let chunked =
        header(head, "transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
    Ok(if chunked { Framing::Chunked } else { Framing::Length(0) })
}

fn header<'head>(head: &'head [u8], name: &str) -> Option<&'head str> {
    let mut lines = head.split(|byte| *byte == b'\n').skip(1);
    let line = lines.find(|line| {
        line.get(name.len()) == Some(&b':') && line[..name.len()].eq_ignore_ascii_case(name.as_bytes())
    })?;
    std::str::from_utf8(&line[name.len() + 1..]).ok().map(str::trim)
}

fn broken(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what.to_owned())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// A server that answers each connection's first bytes with `answer`, in parts.
    async fn answering(parts: &'static [&'static [u8]]) -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            assert!(stream.read(&mut request).await.unwrap() > 0);
            for part in parts {
                stream.write_all(part).await.unwrap();
                stream.flush().await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        Wire::connect(address).await.unwrap()
    }

    #[tokio::test]
    async fn bodies_are_read_by_length_and_by_chunks() {
        let mut wire =
            answering(&[b"HTTP/1.1 200 OK\r\nContent-Le", b"ngth: 5\r\nX-A: b\r\n\r", b"\nhel", b"lo"]).await;
        let request = wire.request("GET", "/", &[], None);
        let (received, body) = wire.fetch(&[&request]).await.unwrap();
        assert_eq!((received.status, received.len, body.as_slice()), (200, 5, b"hello".as_slice()));
        assert_eq!(wire.header("x-a"), Some("b"));
        let mut wire = answering(&[
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n",
            b"abc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n",
        ])
        .await;
        let (received, body) = wire.fetch(&[&request]).await.unwrap();
        assert_eq!((received.status, body.as_slice()), (404, b"abc0123456789".as_slice()));
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_is_an_error() {
        const BROKEN: [&[&[u8]]; 4] = [
            &[b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel"],
            &[b"HTTP/1.1 200 OK\r\n"],
            &[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab"],
            &[],
        ];
        for parts in BROKEN {
            let mut wire = answering(parts).await;
            let request = wire.request("GET", "/", &[], None);
            assert!(wire.exchange(&[&request]).await.is_err(), "{parts:?}");
        }
    }

    #[tokio::test]
    async fn an_answer_to_head_has_a_length_and_no_body() {
        let mut wire = answering(&[b"HTTP/1.1 200 OK\r\nContent-Length: 4096\r\n\r\n"]).await;
        let request = wire.request("HEAD", "/", &[("accept", "*/*")], None);
        assert_eq!(wire.exchange(&[&request]).await.unwrap(), Received { status: 200, len: 4096 });
    }

    #[test]
    fn locations_become_targets() {
        assert_eq!(target("http://a:1/v2/x?_state=y"), "/v2/x?_state=y");
        assert_eq!(target("/v2/x"), "/v2/x");
        assert_eq!(with_parameter("/v2/x?a=b", "digest", "c"), "/v2/x?a=b&digest=c");
        assert_eq!(with_parameter("/v2/x", "digest", "c"), "/v2/x?digest=c");
    }
}
