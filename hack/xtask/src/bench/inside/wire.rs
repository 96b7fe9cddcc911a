//! One plain TCP stream: what the links give when nothing of ours is in the way.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::take_the_shot;
use crate::terminal::say;

/// Bytes written or read at once.
const BUFFER_LEN: usize = 256 * 1024;

/// Says where it listens, sends `size` zeros to the first that connects and asks with one byte, and stays.
pub(super) async fn send(listen: SocketAddr, size: u64) -> Result<()> {
    let listener = TcpListener::bind(listen).await?;
    say(format_args!("ready {}", listener.local_addr()?));
    let (mut stream, _) = listener.accept().await?;
    stream.read_u8().await?;
    let mut zeros = tokio::io::repeat(0).take(size);
    tokio::io::copy_buf(&mut tokio::io::BufReader::with_capacity(BUFFER_LEN, &mut zeros), &mut stream)
        .await?;
    // The bench counts what the process used, and ends it.
    std::future::pending().await
}

/// Connects, waits for the shot, asks, takes `size` bytes in.
pub(super) async fn receive(from: SocketAddr, size: u64) -> Result<()> {
    let mut stream = TcpStream::connect(from).await?;
    take_the_shot()?;
    stream.write_u8(0).await?;
    let mut buffer = vec![0; BUFFER_LEN];
    let mut missing = size;
    while missing > 0 {
        let count = stream.read(&mut buffer).await? as u64;
        ensure!(count > 0 && count <= missing, "the stream ended or went on with {missing} bytes missing");
        missing -= count;
    }
    say("done");
    Ok(())
}
