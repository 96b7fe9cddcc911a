//! How a port is closed without a reset for those who had connected before.
//!
//! The kernel finishes handshakes on its own and queues the connections. Whatever is in the queue when the listening socket closes is
//! reset, often with a request in it already. So newcomers are turned away first (their SYN goes unanswered; when it is sent again
//! a second later the port is closed and they are refused), then the queue is emptied, then the port closes.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockFilter, SockRef};
use tokio::net::{TcpListener, TcpStream};

use crate::server::{BACKLOG, is_of_one_connection};

/// How long a handshake that had begun may take to enter the queue: some round trips of a data centre.
const HANDSHAKE_GRACE: Duration = Duration::from_millis(20);

/// Closes the port and returns the connections that nobody has asked for yet.
pub(crate) async fn close(listener: TcpListener) -> Vec<(TcpStream, SocketAddr)> {
    let Ok(listener) = listener.into_std() else { return Vec::new() };
    if let Err(error) = turn_newcomers_away(&listener) {
        // A sandbox may forbid it. Those who connect in this very moment are then reset.
        tracing::debug!(%error, "cannot turn newcomers away before the port closes");
    }
    let mut taken = queued(&listener);
    tokio::time::sleep(HANDSHAKE_GRACE).await;
    taken.extend(queued(&listener));
    taken
}

/// From here on the socket does not see the packets that open a connection. Handshakes under way go on: their next packet has no SYN.
fn turn_newcomers_away(listener: &std::net::TcpListener) -> io::Result<()> {
    // Classic BPF over the TCP header (linux/filter.h): byte 13 has the flags, 0x02 is SYN; 0 bytes of a packet to keep means none.
    const LOAD_BYTE: u16 = 0x30;
    const JUMP_IF_SET: u16 = 0x45;
    const RETURN: u16 = 0x06;
    SockRef::from(listener).attach_filter(&[
        SockFilter::new(LOAD_BYTE, 0, 0, 13),
        SockFilter::new(JUMP_IF_SET, 0, 1, 0x02),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ])
}

/// Everybody in the kernel's queue. The system is asked itself: the runtime knows of a connection only after it has polled for
/// events, and would report an empty queue until then. At most [`BACKLOG`], where newcomers could not be turned away.
fn queued(listener: &std::net::TcpListener) -> Vec<(TcpStream, SocketAddr)> {
    let mut taken = Vec::new();
    for _ in 0..BACKLOG {
        match listener.accept() {
            Ok((socket, peer)) => {
                let socket = socket.set_nonblocking(true).and_then(|()| TcpStream::from_std(socket));
                taken.extend(socket.ok().map(|socket| (socket, peer)));
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_empty_or_out_of_files) => break,
        }
    }
    taken
}
