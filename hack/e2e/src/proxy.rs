//! A port in front of another port, which can be told to misbehave: what a network, a balancer or a sick server does to clients.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What becomes of connections. Those that are open are cut when it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Manner {
    /// They are passed on.
    Pass,
    /// They are closed at once.
    Refuse,
    /// They are taken, and nothing ever comes.
    Stall,
    /// Every request is answered 500.
    Fail,
    /// They are passed on and cut after 64 KiB of the answers.
    Reset,
}

/// Bytes of answers before a reset.
const RESET_AFTER: u64 = 64 * 1024;
/// How often an open connection looks whether the manner has changed.
const LOOK: Duration = Duration::from_millis(20);
const FAILURE: &[u8] =
    b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// The port. Stops on drop.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens.
    pub addr: SocketAddr,
    manner: Arc<AtomicU8>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// Listens in front of `target`. Needs a runtime of tokio.
    pub async fn start(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let manner = Arc::new(AtomicU8::new(Manner::Pass as u8));
        let told = Arc::clone(&manner);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                connections.spawn(serve(stream, target, Arc::clone(&told)));
            }
        });
        Ok(Self { addr, manner, _tasks: tasks })
    }

    /// From now on.
    pub fn behave(&self, manner: Manner) {
        self.manner.store(manner as u8, Ordering::Relaxed);
    }
}

async fn serve(mut stream: TcpStream, target: SocketAddr, told: Arc<AtomicU8>) {
    let now = told.load(Ordering::Relaxed);
    let changed = async {
        while told.load(Ordering::Relaxed) == now {
            tokio::time::sleep(LOOK).await;
        }
    };
    // However it ends, the connection ends.
    tokio::select! {
        () = changed => {}
        _ = misbehave(&mut stream, target, now) => {}
    }
}

async fn misbehave(stream: &mut TcpStream, target: SocketAddr, manner: u8) -> Result<()> {
    if manner == Manner::Refuse as u8 {
        return Ok(());
    }
    if manner == Manner::Stall as u8 {
        std::future::pending::<()>().await;
    }
    if manner == Manner::Fail as u8 {
        let mut request = [0; 4096];
        while stream.read(&mut request).await? > 0 {
            stream.write_all(FAILURE).await?;
        }
        return Ok(());
    }
    let mut server = TcpStream::connect(target).await?;
    if manner == Manner::Pass as u8 {
        tokio::io::copy_bidirectional(stream, &mut server).await?;
        return Ok(());
    }
    let ((mut from_client, mut to_client), (from_server, mut to_server)) = (stream.split(), server.split());
    let mut answers = from_server.take(RESET_AFTER);
    tokio::select! {
        _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
        _ = tokio::io::copy(&mut answers, &mut to_client) => {}
    }
    Ok(())
}
