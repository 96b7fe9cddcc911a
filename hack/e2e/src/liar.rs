//! A peer that says it has everything and answers every request with garbage of the right length.
//!
//! It is the one part of the harness that uses our own crates beyond names and digests: a liar has to speak the protocol well
//! enough to be believed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};
use shoal_http::Client;
use shoal_oci::Digest;
use shoal_swarm_protocol::codec;
use shoal_swarm_protocol::handshake::{Accepting, HANDSHAKE_LEN, Identity, NONCE_LEN, PROOF_LEN};
use shoal_swarm_protocol::message::{Message, Pieces};
use shoal_swarm_types::{Layout, PeerId, Zone};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// How long the tracker may take for one announce.
const ANNOUNCE_TIMEOUT: Duration = Duration::from_secs(10);
/// The liar's number for its only channel.
const CHANNEL: u32 = 1;

/// A lying peer of one blob. Stops on drop.
pub struct Liar {
    served: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

/// What it lies about.
#[derive(Clone, Copy)]
struct Lie {
    peer_id: PeerId,
    port: u16,
    digest: Digest,
    layout: Layout,
    silent: bool,
}

impl Liar {
    /// Listens, and announces itself to the tracker as a complete peer of a blob of `size` bytes. `number` tells liars apart.
    pub async fn start(tracker: SocketAddr, digest: Digest, size: u64, number: u8) -> Result<Self> {
        Self::begin(tracker, digest, size, number, false).await
    }

    /// The same, but requests are never answered.
    pub async fn silent(tracker: SocketAddr, digest: Digest, size: u64, number: u8) -> Result<Self> {
        Self::begin(tracker, digest, size, number, true).await
    }

    async fn begin(tracker: SocketAddr, digest: Digest, size: u64, number: u8, silent: bool) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let layout = Layout::for_size(size);
        let lie = Lie { peer_id: PeerId([number; 20]), port, digest, layout, silent };
        let served = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        let counter = Arc::clone(&served);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let counter = Arc::clone(&counter);
                // A victim that hangs up ends its connection, which is the point.
                connections.spawn(async move { drop(lie.tell(stream, &counter).await) });
            }
        });
        lie.announce(tracker).await?;
        Ok(Self { served, _tasks: tasks })
    }

    /// How many wrong pieces it has sent.
    pub fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }
}

impl Lie {
    async fn announce(&self, tracker: SocketAddr) -> Result<()> {
        let item =
            json!({"digest": self.digest, "event": "completed", "complete": true, "need_metainfo": false});
        let request = json!({"peer_id": self.peer_id, "port": self.port, "items": [item]});
        let url = format!("http://{tracker}/announce");
        let answer: Value = Client::default().post_json(&url, &request, ANNOUNCE_TIMEOUT).await?;
        ensure!(answer["items"][0]["ok"].is_object(), "the tracker did not take the announce: {answer}");
        Ok(())
    }

    async fn tell(&self, mut stream: TcpStream, served: &AtomicU64) -> Result<()> {
        let mut hello = [0; HANDSHAKE_LEN];
        stream.read_exact(&mut hello).await?;
        let ours = Identity { peer_id: self.peer_id, port: self.port, zone: Zone::UNKNOWN };
        let (accepting, answer) = Accepting::answer(&open_cluster(), &ours, [1; NONCE_LEN], &hello)?;
        stream.write_all(&answer).await?;
        let mut proof = [0; PROOF_LEN];
        stream.read_exact(&mut proof).await?;
        accepting.finish(&proof)?;
        let join = Message::Join {
            swarm: CHANNEL,
            digest: self.digest,
            owner: false,
            grant: Bytes::new(),
            pieces: Pieces::All,
        };
        send(&mut stream, &join).await?;
        let mut input = BytesMut::new();
        loop {
            while let Some(message) = codec::decode(&mut input)? {
                if let Message::Request { index, .. } = message
                    && !self.silent
                {
                    let len = usize::try_from(self.layout.piece_len(index)).context("piece length")?;
                    let data = Bytes::from(vec![0xbd; len]);
                    send(&mut stream, &Message::Piece { swarm: CHANNEL, index, queue: 0, data }).await?;
                    served.fetch_add(1, Ordering::Relaxed);
                }
            }
            ensure!(stream.read_buf(&mut input).await? > 0, "the victim hung up");
        }
    }
}

/// What members of a cluster without a key know: as `shoal-api` makes it.
fn open_cluster() -> [u8; 32] {
    let mut key = [0; 32];
    key.copy_from_slice(Digest::sha256(b"shoal cluster key\n").as_bytes());
    key
}

async fn send(stream: &mut TcpStream, message: &Message) -> Result<()> {
    let mut frame = BytesMut::new();
    codec::encode(message, &mut frame);
    Ok(stream.write_all(&frame).await?)
}
