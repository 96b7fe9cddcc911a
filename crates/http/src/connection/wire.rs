//! The socket: counts what the kernel takes, and sends files without copying them.

use std::fs::File;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ReadWriteFlags};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::region::{SEND_LEN_MAX, Source, is_placeholder};
use super::watch::Watch;

/// How much is sent before other tasks of the thread have their turn: about a millisecond.
const BURST_LEN: usize = 4 * 1024 * 1024;

/// One page of each so many bytes is asked for when it matters whether a file is in memory. Pages come and go in larger groups, so
/// this finds a cold file; a single missing page costs one read of the disk.
const PROBE_STEP: usize = 64 * 1024;

/// A TCP connection, watched.
pub(super) struct Wire {
    socket: TcpStream,
    watch: Arc<Watch>,
    sending: Option<Sending>,
    /// Bytes of files that were sent since the task last paused.
    burst: usize,
}

impl Wire {
    pub(super) fn new(socket: TcpStream, watch: Arc<Watch>) -> Self {
        Self { socket, watch, sending: None, burst: 0 }
    }

    /// Sends at most `len` bytes of the file whose turn it is.
    fn poll_send(&mut self, cx: &mut Context<'_>, len: usize) -> Poll<io::Result<usize>> {
        if self.burst >= BURST_LEN {
            self.burst = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let Some(source) = self.watch.next_file() else {
            return Poll::Ready(Err(io::Error::other("a placeholder without a file")));
        };
        let sending = match &mut self.sending {
            Some(sending) if sending.source.as_ptr() == Arc::as_ptr(&source) => sending,
            other => other.insert(Sending { source: Arc::downgrade(&source), warm_until: 0, warming: None }),
        };
        let len = len.min(SEND_LEN_MAX);
        if let Err(error) = ready!(sending.poll_warm(cx, &source, len)) {
            return Poll::Ready(Err(failed(&error)));
        }
        loop {
            if self.socket.poll_write_ready(cx)?.is_pending() {
                self.watch.blocked();
                self.burst = 0;
                return Poll::Pending;
            }
            match send(&self.socket, &source, len) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(0) => return Poll::Ready(Err(failed(&ended()))),
                Ok(sent) => {
                    self.burst += sent;
                    source.sent(sent);
                    self.watch.wrote(sent);
                    return Poll::Ready(Ok(sent));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn account(&self, outcome: &Poll<io::Result<usize>>) {
        match outcome {
            Poll::Pending => self.watch.blocked(),
            Poll::Ready(Ok(len)) => self.watch.wrote(*len),
            Poll::Ready(Err(_)) => {}
        }
    }
}

/// A failure of the file rather than of the connection: ours to log. What was sent before stays sent, and the connection is cut.
fn failed(error: &io::Error) -> io::Error {
    tracing::warn!(%error, "a file could not be sent to its end; the connection is cut");
    io::Error::new(error.kind(), error.to_string())
}

fn spoilt() -> io::Error {
    failed(&io::Error::other("a placeholder was taken for content; this is a fault of the program"))
}

fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the file is shorter than was promised")
}

/// Sends some of a file. When the socket is full after that, it counts as not writable from then on: finding out by another attempt costs
/// ten times what asking does, for each of the portions that a client takes.
fn send(socket: &TcpStream, source: &Source, len: usize) -> io::Result<usize> {
    let mut filled = None;
    let outcome = socket.try_io(Interest::WRITABLE, || {
        let sent = send_file(socket, source, len)?;
        if 0 < sent && sent < len && !has_room(socket) {
            filled = Some(sent);
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(sent)
    });
    filled.map_or(outcome, Ok)
}

/// Whether the kernel would wake a task that waits to write. If not, it will.
fn has_room(socket: &TcpStream) -> bool {
    let mut polled = [PollFd::new(socket, PollFlags::OUT)];
    // What is wrong with the socket, sending will tell.
    poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_err() || !polled[0].revents().is_empty()
}

fn send_file(socket: &TcpStream, source: &Source, len: usize) -> io::Result<usize> {
    loop {
        let mut position = source.position();
        match rustix::fs::sendfile(socket, &*source.file, Some(&mut position), len) {
            Err(Errno::INTR) => {}
            outcome => return outcome.map_err(io::Error::from),
        }
    }
}

/// The file that is being sent.
struct Sending {
    source: Weak<Source>,
    /// Up to here the file was seen in memory.
    warm_until: u64,
    warming: Option<JoinHandle<io::Result<()>>>,
}

impl Sending {
    /// Ready when the next `len` bytes are in memory, so that sending them does not hold up the thread for the disk. They are looked
    /// for once: a client that takes them so slowly that they are evicted meanwhile costs one read.
    fn poll_warm(&mut self, cx: &mut Context<'_>, source: &Source, len: usize) -> Poll<io::Result<()>> {
        let position = source.position();
        if position < self.warm_until {
            return Poll::Ready(Ok(()));
        }
        if self.warming.is_none() && !is_warm(&source.file, position, len)? {
            let file = Arc::clone(&source.file);
            self.warming = Some(tokio::task::spawn_blocking(move || warm(&file, position, len)));
        }
        if let Some(warming) = &mut self.warming {
            let outcome = ready!(Pin::new(warming).poll(cx));
            self.warming = None;
            outcome.map_err(io::Error::other)??;
        }
        self.warm_until = position + len as u64;
        Poll::Ready(Ok(()))
    }
}

/// Whether `len` bytes from `position` seem to be in memory. Never waits for the disk.
fn is_warm(file: &File, position: u64, len: usize) -> io::Result<bool> {
    let last = len.saturating_sub(1);
    for step in (0..last).step_by(PROBE_STEP).chain([last]) {
        let mut byte = [0];
        let probe = rustix::io::preadv2(
            file,
            &mut [io::IoSliceMut::new(&mut byte)],
            position + step as u64,
            ReadWriteFlags::NOWAIT,
        );
        match probe {
            Ok(0) => return Err(ended()),
            Ok(_) => {}
            // Cold, or a file system that cannot tell.
            Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::INTR) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

/// Reads `len` bytes from `position`, so that they are in memory.
fn warm(file: &File, position: u64, len: usize) -> io::Result<()> {
    let mut scratch = vec![0; PROBE_STEP];
    let mut done = 0;
    while done < len {
        let part = &mut scratch[..PROBE_STEP.min(len - done)];
        match rustix::io::pread(file, part, position + done as u64) {
            Ok(0) => return Err(ended()),
            Ok(read) => done += read,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.watch.is_spoilt() {
            return Poll::Ready(Err(spoilt()));
        }
        if is_placeholder(bytes) {
            return self.poll_send(cx, bytes.len());
        }
        let outcome = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.account(&outcome);
        outcome
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.watch.is_spoilt() {
            return Poll::Ready(Err(spoilt()));
        }
        // Bytes before a file first, then the file.
        let bytes = slices.iter().take_while(|slice| slice.is_empty() || !is_placeholder(slice)).count();
        if slices[..bytes].iter().all(|slice| slice.is_empty())
            && let Some(file) = slices.get(bytes)
        {
            return self.poll_send(cx, file.len());
        }
        let outcome = Pin::new(&mut self.socket).poll_write_vectored(cx, &slices[..bytes]);
        self.account(&outcome);
        outcome
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
