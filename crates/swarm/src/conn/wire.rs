//! A plain socket and a file: the kernel moves the bytes, and never more of them than the connection should hold.
//!
//! A socket takes a buffer of up to 64 KiB whole even when it has little room, because it fills packets to their end. So it is asked
//! before each portion whether it wants more, and what waits in it unsent is bounded by the kernel's limit plus one [`Portion`]. The
//! price is one more system call for each portion, and a wake-up for each when the receiver is slower than we are.

use std::io;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::SendFlags;
use shoal_store::FileRange;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::limits::{SEND_PORTION_BYTES, SOCKET_UNSENT_BYTES};

/// How much of a piece a socket is given at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Portion(usize);

impl Portion {
    /// What suits pieces of `len` bytes that leave in parts of `part`: an eighth, a part at most, so that little of a piece waits where nobody
    /// can take it back or overtake it, within [`SEND_PORTION_BYTES`].
    pub(super) fn of(len: u32, part: u32) -> Self {
        let (least, most) = SEND_PORTION_BYTES;
        Self((len as usize / 8).min(part as usize).clamp(least, most))
    }

    /// Has the kernel hold half a portion unsent at most before it asks for the next one.
    pub(super) fn set(self, socket: &TcpStream) -> io::Result<()> {
        // Half a megabyte at most.
        let half = u32::try_from(self.0 / 2).unwrap_or(u32::MAX);
        SockRef::from(socket).set_tcp_notsent_lowat(half.max(SOCKET_UNSENT_BYTES))
    }
}

/// Sends some of `bytes`, to be followed at once by more: the kernel waits for that before it makes a small packet.
pub(super) async fn send_more(socket: &TcpStream, bytes: &[u8], stall: Duration) -> io::Result<usize> {
    when_writable(socket, stall, || {
        let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
        rustix::net::send(socket, bytes, flags).map_err(io::Error::from)
    })
    .await
}

/// Sends some of a file's range from `at` on, which has to be in memory: whoever sends must not wait for the disk.
pub(super) async fn send_file(
    socket: &TcpStream,
    range: &FileRange,
    at: u64,
    portion: Portion,
    stall: Duration,
) -> io::Result<usize> {
    let len = usize::try_from(range.len - at).unwrap_or(usize::MAX).min(portion.0);
    let sent = when_writable(socket, stall, || {
        if !wants_more(socket)? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut position = range.offset + at;
        rustix::fs::sendfile(socket, &*range.file, Some(&mut position), len).map_err(io::Error::from)
    })
    .await?;
    if sent == 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file of a piece has become shorter"));
    }
    Ok(sent)
}

/// Does `send` as soon as the socket lets it, within `stall`.
async fn when_writable(
    socket: &TcpStream,
    stall: Duration,
    mut send: impl FnMut() -> io::Result<usize>,
) -> io::Result<usize> {
    loop {
        match socket.try_io(Interest::WRITABLE, &mut send) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            outcome => return outcome,
        }
        timeout(stall, socket.writable()).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    }
}

/// Whether less than half of what the kernel may hold unsent is left; if not, it will wake us when that is so.
fn wants_more(socket: &TcpStream) -> io::Result<bool> {
    let mut polled = [PollFd::new(socket, PollFlags::OUT)];
    match poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
        // What is wrong with the socket, sending will tell.
        Ok(_) => Ok(!polled[0].revents().is_empty()),
        Err(Errno::INTR) => Ok(true),
        Err(error) => Err(error.into()),
    }
}
