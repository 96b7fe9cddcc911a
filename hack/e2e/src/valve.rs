//! A port in front of another port through which only as many bytes of answers come as were let through: an upstream that is as slow as
//! a test needs it, without a clock.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Bytes that pass at once.
const PORTION_LEN: usize = 16 * 1024;

/// The port. Stops on drop.
#[derive(Debug)]
pub struct Valve {
    /// Where it listens.
    pub addr: SocketAddr,
    budget: Arc<Semaphore>,
    tasks: JoinSet<()>,
}

impl Valve {
    /// Listens in front of `target`, shut. Needs a runtime of tokio.
    pub async fn start(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (addr, budget) = (listener.local_addr()?, Arc::new(Semaphore::new(0)));
        let (mut tasks, shared) = (JoinSet::new(), Arc::clone(&budget));
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                let budget = Arc::clone(&shared);
                connections.spawn(async move { drop(pass(stream, target, &budget).await) });
            }
        });
        Ok(Self { addr, budget, tasks })
    }

    /// Lets this many more bytes of answers through.
    pub fn let_through(&self, bytes: usize) {
        self.budget.add_permits(bytes);
    }

    /// From now on lets so many bytes through again and again.
    pub fn drip(&mut self, bytes: usize, every: Duration) {
        let budget = Arc::clone(&self.budget);
        self.tasks.spawn(async move {
            loop {
                budget.add_permits(bytes);
                tokio::time::sleep(every).await;
            }
        });
    }
}

async fn pass(mut stream: TcpStream, target: SocketAddr, budget: &Semaphore) -> Result<()> {
    let mut server = TcpStream::connect(target).await?;
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (stream.split(), server.split());
    let answers = async {
        let mut portion = vec![0; PORTION_LEN];
        loop {
            let len = from_server.read(&mut portion).await?;
            if len == 0 {
                return anyhow::Ok(());
            }
            // At most PORTION_LEN. The semaphore is never closed.
            budget.acquire_many(u32::try_from(len)?).await?.forget();
            to_client.write_all(&portion[..len]).await?;
        }
    };
    // However it ends, the connection ends.
    tokio::select! {
        _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
        _ = answers => {}
    }
    Ok(())
}
