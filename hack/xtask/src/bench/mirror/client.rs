//! A client of one socket that costs next to nothing: it reads and forgets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// Bytes read at once.
const BUFFER_LEN: usize = 256 * 1024;
/// The longest head of an answer.
const HEAD_LEN_MAX: usize = 16 * 1024;
/// A hang ends the bench.
const TIMEOUT: Duration = Duration::from_secs(120);

/// One connection.
pub(super) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub(super) fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(Self { stream, buffer: vec![0; BUFFER_LEN] })
    }

    /// Asks for the head alone; it must be a 200.
    pub(super) fn head(&mut self, path: &str) -> Result<()> {
        let (_, beyond) = self.ask("HEAD", path)?;
        ensure!(beyond == 0, "{path}: a HEAD with a body");
        Ok(())
    }

    /// Asks for everything from `from` on, reads `len` bytes and hangs up, as containerd does when it fetches a layer in parallel.
    pub(super) fn open_range(mut self, path: &str, from: u64, len: u64) -> Result<()> {
        let (_, mut received) = self.ask_with("GET", path, &format!("range: bytes={from}-\r\n"))?;
        while received < len {
            let most = usize::try_from(len - received).unwrap_or(BUFFER_LEN).min(BUFFER_LEN);
            let read = self.stream.read(&mut self.buffer[..most])?;
            ensure!(read > 0, "{path}: cut after {received} bytes");
            received += read as u64;
        }
        Ok(())
    }

    /// Reads a body of `size` bytes to its end.
    pub(super) fn pull(&mut self, path: &str, size: u64) -> Result<()> {
        let (head, mut received) = self.ask("GET", path)?;
        let stated = format!("content-length: {size}\r\n");
        ensure!(head.to_ascii_lowercase().contains(&stated), "{path}: not of {size} bytes: {head}");
        while received < size {
            let len = self.stream.read(&mut self.buffer)?;
            ensure!(len > 0, "{path}: cut after {received} bytes");
            received += len as u64;
        }
        Ok(())
    }

    /// The head of the answer, and how many bytes of the body came with it.
    fn ask(&mut self, method: &str, path: &str) -> Result<(String, u64)> {
        self.ask_with(method, path, "")
    }

    /// The same with more headers, each ended by a line's end.
    fn ask_with(&mut self, method: &str, path: &str, headers: &str) -> Result<(String, u64)> {
        write!(
            self.stream,
            "{method} {path} HTTP/1.1\r\nhost: x\r\nuser-agent: shoal-bench\r\n{headers}\r\n"
        )?;
        let mut len = 0;
        loop {
            ensure!(len < HEAD_LEN_MAX, "{path}: a head without an end");
            let read = self.stream.read(&mut self.buffer[len..])?;
            ensure!(read > 0, "{path}: no answer");
            len += read;
            let end = self.buffer[..len].windows(4).position(|bytes| bytes == b"\r\n\r\n");
            let Some(end) = end else { continue };
            let head = std::str::from_utf8(&self.buffer[..end + 2]).context("a head that is no text")?;
            ensure!(head.starts_with("HTTP/1.1 20"), "{path}: {head}");
            return Ok((head.to_owned(), (len - end - 4) as u64));
        }
    }
}
