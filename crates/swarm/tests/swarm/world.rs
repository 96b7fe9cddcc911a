//! What the tests stand on: nodes, content, and a scripted peer.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use shoal_oci::Digest;
use shoal_store::{Options, Store};
use shoal_swarm::{BlobReader, RangeSource, Role, Swarm, SwarmOptions};
use shoal_swarm_protocol::{
    Accepting, Dialling, Frame, HANDSHAKE_LEN, Identity, Message, NONCE_LEN, PROOF_LEN, Pieces, decode,
    decode_frame, encode,
};
use shoal_swarm_types::{Metainfo, PeerId, PeerInfo, PieceIndex, Zone};
use shoal_telemetry::SwarmMetrics;
use shoal_telemetry::rooms::swarm::{PieceResult, Source, To};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::tracker::{Line, Tracker};

pub(crate) const KEY: [u8; 32] = [7; 32];

/// Bytes that no compression or repetition could stand for.
pub(crate) fn content(seed: u64, size: usize) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut bytes = vec![0; size];
    rng.fill(&mut bytes);
    bytes
}

pub(crate) fn metainfo(content: &[u8]) -> Metainfo {
    Metainfo::of(Digest::sha256(content), content)
}

/// A participant with a store of its own.
pub(crate) struct Node {
    pub(crate) swarm: Swarm,
    pub(crate) store: Store,
    pub(crate) peer: PeerInfo,
    pub(crate) metrics: SwarmMetrics,
    pub(crate) dir: Arc<TempDir>,
}

/// How a node is started.
pub(crate) struct Plan {
    pub(crate) role: Role,
    pub(crate) dir: Arc<TempDir>,
    pub(crate) web: Option<Arc<dyn RangeSource>>,
    pub(crate) options: SwarmOptions,
}

impl Plan {
    pub(crate) fn new(role: Role) -> Self {
        let mut id = [0; 20];
        fastrand::Rng::new().fill(&mut id);
        let mut options = SwarmOptions::new(PeerId(id), role, KEY);
        options.times.handshake = Duration::from_secs(2);
        Self { role, dir: Arc::new(TempDir::new().unwrap()), web: None, options }
    }

    pub(crate) async fn start(self, tracker: &Arc<Tracker>) -> Node {
        self.start_with_capacity(tracker, 1 << 30).await
    }

    pub(crate) async fn start_with_capacity(self, tracker: &Arc<Tracker>, capacity: u64) -> Node {
        let (store, _) = Store::open(self.dir.path(), Options::cache(capacity)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = PeerInfo {
            id: self.options.peer_id,
            addr: listener.local_addr().unwrap(),
            complete: false,
            owner: self.role == Role::Owner,
            zone: Zone::UNKNOWN,
        };
        let line = Line { tracker: Arc::clone(tracker), me: peer.clone() };
        let metrics = SwarmMetrics::default();
        let swarm =
            Swarm::start(listener, self.options, store.clone(), Arc::new(line), self.web, metrics.clone());
        Node { swarm, store, peer, metrics, dir: self.dir }
    }
}

impl Node {
    /// Puts content into the store, makes it known and seeds it.
    pub(crate) fn publish(&self, tracker: &Tracker, content: &[u8]) -> Digest {
        let digest = Digest::sha256(content);
        let metainfo = self.store.put(&digest, content).unwrap();
        tracker.publish(&metainfo, &[&self.peer]);
        self.swarm.seed(digest);
        digest
    }

    /// Opens and reads a whole blob in order, and waits until it is in the store.
    pub(crate) async fn fetch(&self, digest: &Digest) -> Vec<u8> {
        let reader = self.swarm.open(digest).await.unwrap();
        let bytes = read_all(&reader).await;
        reader.complete().await.unwrap();
        bytes
    }

    pub(crate) fn received(&self, source: Source) -> u64 {
        self.metrics.received_bytes.of(source).get()
    }

    pub(crate) fn received_in_all(&self) -> u64 {
        [Source::Peer, Source::Owner, Source::Web, Source::Tracker]
            .map(|source| self.received(source))
            .iter()
            .sum()
    }

    pub(crate) fn sent(&self) -> u64 {
        [To::Peer, To::Owner].map(|to| self.metrics.sent_bytes.of(to).get()).iter().sum()
    }

    pub(crate) fn pieces(&self, result: PieceResult) -> u64 {
        self.metrics.pieces.of(result).get()
    }
}

pub(crate) async fn read_all(reader: &BlobReader) -> Vec<u8> {
    let mut bytes = Vec::new();
    for index in 0..reader.layout().piece_count() {
        bytes.extend_from_slice(&reader.read_piece(PieceIndex(index)).await.unwrap());
    }
    bytes
}

/// Flips one byte of the file that holds a blob of `size` bytes.
pub(crate) fn damage(dir: &Path, size: usize, at: usize) {
    let path = find_file(dir, size as u64).expect("no file of that size");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[at] ^= 0xff;
    // In place, so that files which are open see it too.
    use std::os::unix::fs::FileExt;
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&bytes[at..=at], at as u64).unwrap();
}

fn find_file(dir: &Path, size: u64) -> Option<PathBuf> {
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.metadata().unwrap();
        if kind.is_dir() {
            if let Some(found) = find_file(&entry.path(), size) {
                return Some(found);
            }
        } else if kind.len() == size {
            return Some(entry.path());
        }
    }
    None
}

/// A peer that says it has everything and does what its script says with each request.
pub(crate) struct Actor {
    pub(crate) peer: PeerInfo,
    listener: TcpListener,
}

impl Actor {
    pub(crate) async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut id = [0; 20];
        fastrand::Rng::new().fill(&mut id);
        let addr = listener.local_addr().unwrap();
        Self {
            peer: PeerInfo { id: PeerId(id), addr, complete: true, owner: false, zone: Zone::UNKNOWN },
            listener,
        }
    }

    /// Serves one connection until the other end closes it; `script` gives the bytes of a piece, or `None` to reject it.
    pub(crate) async fn perform(
        &self,
        metainfo: &Metainfo,
        mut script: impl FnMut(PieceIndex) -> Option<Bytes>,
    ) {
        let (stream, _) = self.listener.accept().await.unwrap();
        let mut talk = Talk::accept(stream, &self.peer, KEY).await;
        while let Some(message) = talk.hear().await {
            match message {
                Message::Join { digest, .. } => {
                    assert_eq!(digest, *metainfo.digest());
                    talk.say(&Message::Join {
                        swarm: 1,
                        digest,
                        owner: false,
                        grant: Bytes::new(),
                        pieces: Pieces::All,
                    })
                    .await;
                }
                Message::Request { index, .. } => {
                    let answer = match script(index) {
                        Some(data) => Message::Piece { swarm: 1, index, queue: 0, data },
                        None => Message::Reject { swarm: 1, index },
                    };
                    talk.say(&answer).await;
                }
                _ => {}
            }
        }
    }
}

impl Actor {
    /// The first connection.
    pub(crate) async fn take_in(&self) -> Talk {
        let (stream, _) = self.listener.accept().await.unwrap();
        Talk::accept(stream, &self.peer, KEY).await
    }

    /// Answers the first request on one connection with half of the piece, and then says nothing more while the result lives.
    pub(crate) async fn half_a_piece(&self, metainfo: &Metainfo, content: &[u8]) -> Talk {
        let (stream, _) = self.listener.accept().await.unwrap();
        let mut talk = Talk::accept(stream, &self.peer, KEY).await;
        loop {
            match talk.hear().await.unwrap() {
                Message::Join { digest, .. } => {
                    let (grant, pieces) = (Bytes::new(), Pieces::All);
                    talk.say(&Message::Join { swarm: 1, digest, owner: false, grant, pieces }).await;
                }
                Message::Request { index, .. } => {
                    let range = metainfo.layout().piece_range(index);
                    let data = &content[range.start as usize..range.end as usize];
                    let data = Bytes::copy_from_slice(data);
                    let mut frame = BytesMut::new();
                    encode(&Message::Piece { swarm: 1, index, queue: 0, data }, &mut frame);
                    talk.stream.write_all(&frame[..frame.len() / 2]).await.unwrap();
                    return talk;
                }
                _ => {}
            }
        }
    }
}

fn identity(me: &PeerInfo) -> Identity {
    Identity { peer_id: me.id, port: me.addr.port(), zone: me.zone }
}

/// A connection spoken by hand.
pub(crate) struct Talk {
    pub(crate) stream: TcpStream,
    buffer: BytesMut,
    over: bool,
}

impl Talk {
    /// The acceptor's side.
    pub(crate) async fn accept(mut stream: TcpStream, me: &PeerInfo, key: [u8; 32]) -> Self {
        let mut hello = [0; HANDSHAKE_LEN];
        stream.read_exact(&mut hello).await.unwrap();
        let (accepting, answer) = Accepting::answer(&key, &identity(me), [2; NONCE_LEN], &hello).unwrap();
        stream.write_all(&answer).await.unwrap();
        let mut proof = [0; PROOF_LEN];
        stream.read_exact(&mut proof).await.unwrap();
        accepting.finish(&proof).unwrap();
        Self { stream, buffer: BytesMut::new(), over: false }
    }

    /// The dialler's side.
    pub(crate) async fn dial(addr: SocketAddr, me: &PeerInfo) -> Self {
        Self::greet(TcpStream::connect(addr).await.unwrap(), me).await
    }

    /// The same on a socket that is connected.
    pub(crate) async fn greet(mut stream: TcpStream, me: &PeerInfo) -> Self {
        let (dialling, hello) = Dialling::begin(&KEY, &identity(me), [1; NONCE_LEN]);
        stream.write_all(&hello).await.unwrap();
        let mut answer = [0; HANDSHAKE_LEN];
        stream.read_exact(&mut answer).await.unwrap();
        let (_, proof) = dialling.finish(&answer).unwrap();
        stream.write_all(&proof).await.unwrap();
        Self { stream, buffer: BytesMut::new(), over: false }
    }

    pub(crate) async fn say(&mut self, message: &Message) {
        let mut frame = BytesMut::new();
        encode(message, &mut frame);
        // The other end may have closed; hearing notices.
        let _ = self.stream.write_all(&frame).await;
    }

    /// The next message, or head of bytes of a piece; `None` when the other end has closed.
    pub(crate) async fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = decode_frame(&mut self.buffer).unwrap() {
                return Some(frame);
            }
            if !matches!(self.stream.read_buf(&mut self.buffer).await, Ok(1..)) {
                self.over = true;
                return None;
            }
        }
    }

    /// The bytes behind such a head.
    pub(crate) async fn bytes(&mut self, len: u32) -> BytesMut {
        while self.buffer.len() < len as usize {
            assert!(matches!(self.stream.read_buf(&mut self.buffer).await, Ok(1..)), "closed inside a piece");
        }
        self.buffer.split_to(len as usize)
    }

    /// Whether nothing has come that was not looked at.
    pub(crate) fn is_quiet(&mut self) -> bool {
        self.buffer.is_empty() && !matches!(self.stream.try_read_buf(&mut self.buffer), Ok(1..))
    }

    /// Whether the other end was found to have closed.
    pub(crate) const fn is_over(&self) -> bool {
        self.over
    }

    /// The next message; `None` when the other end has closed.
    pub(crate) async fn hear(&mut self) -> Option<Message> {
        loop {
            if let Some(message) = decode(&mut self.buffer).unwrap() {
                return Some(message);
            }
            if !matches!(self.stream.read_buf(&mut self.buffer).await, Ok(1..)) {
                return None;
            }
        }
    }
}

/// A web seed in memory, for one blob.
pub(crate) struct Shelf(pub(crate) Bytes);

#[async_trait::async_trait]
impl RangeSource for Shelf {
    async fn fetch(&self, url: &str, digest: &Digest, range: std::ops::Range<u64>) -> std::io::Result<Bytes> {
        assert!(url.contains(&digest.to_hex()), "{url}");
        let end = usize::try_from(range.end).unwrap();
        Ok(self.0.slice(usize::try_from(range.start).unwrap()..end))
    }
}

/// No test should take longer than this, on a machine that does much else as well; one that hangs fails instead.
pub(crate) async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(120), work).await.expect("the test hangs")
}
