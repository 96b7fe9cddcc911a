//! Mending over real sockets: an agent that has the blob, and an origin whose copy is damaged.

use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use shoal_store::{Options, Store};
use shoal_swarm::{Role, Swarm, SwarmOptions};
use shoal_swarm_types::{PeerId, Zone};
use shoal_telemetry::SwarmMetrics;
use tokio::net::TcpListener;

use super::*;
use crate::announcer::Introductions;
use crate::origin::OriginOptions;

const KEY: [u8; 32] = [3; 32];

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

fn file_of_size(directory: &Path, size: u64) -> Option<PathBuf> {
    std::fs::read_dir(directory).unwrap().find_map(|entry| {
        let entry = entry.unwrap();
        let metadata = entry.metadata().unwrap();
        if metadata.is_dir() {
            file_of_size(&entry.path(), size)
        } else {
            (metadata.len() == size).then(|| entry.path())
        }
    })
}

fn flip(directory: &Path, size: u64, offset: u64) {
    let path = file_of_size(directory, size).unwrap();
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 1], offset).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_pieces_come_back_from_an_agent_and_only_they() {
    mended(|directory, size| flip(directory, size, 400_000)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_whose_file_is_gone_comes_back_from_an_agent() {
    mended(|directory, size| std::fs::remove_file(file_of_size(directory, size).unwrap()).unwrap()).await;
}

/// Does `harm` to the origin's file of a blob, and has it mended.
async fn mended(harm: fn(&Path, u64)) {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let content: Vec<u8> = (0..700_001_u32).map(|n| (n ^ (n >> 8)) as u8).collect();
    let digest = Digest::sha256(&content);
    let (store, _) = Store::open(ours.path(), Options::durable()).unwrap();
    let (cache, _) = Store::open(theirs.path(), Options::cache(1 << 30)).unwrap();
    store.put(&digest, &content).unwrap();
    cache.put(&digest, &content).unwrap();
    harm(ours.path(), content.len() as u64);

    let (peer_listener, addr) = listener().await;
    let agent_id = PeerId([2; 20]);
    let options = SwarmOptions::new(agent_id, Role::Agent, KEY);
    let introductions = Arc::new(Introductions::new(PeerId([1; 20]), None));
    let metrics = SwarmMetrics::default();
    let agent = Swarm::start(peer_listener, options, cache, introductions, None, metrics.clone());
    let options = OriginOptions::new(PeerId([1; 20]), KEY);
    let origin = Origin::start(listener().await.0, options, store.clone(), metrics);

    assert!(!origin.mend(&digest, Vec::new()).await.unwrap(), "nobody to ask, nothing touched");
    let holder = PeerInfo { id: agent_id, addr, complete: true, owner: false, zone: Zone::UNKNOWN };
    assert!(origin.mend(&digest, vec![holder]).await.unwrap());
    let blob = origin.blob(&digest).await.unwrap().expect("the blob is whole again");
    let count = blob.metainfo().layout().piece_count();
    let bytes: Vec<u8> =
        (0..count).flat_map(|index| blob.read_piece(PieceIndex(index)).unwrap().to_vec()).collect();
    assert!(bytes == content);
    agent.shutdown().await;
    origin.shutdown().await;
}
