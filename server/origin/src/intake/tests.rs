//! Taking in, against a real store; bodies are fed by hand.

use bytes::Bytes;
use shoal_http::BodySender;
use shoal_store::Options;
use shoal_swarm_types::PeerId;
use shoal_telemetry::SwarmMetrics;
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::*;
use crate::origin::OriginOptions;

async fn origin() -> (TempDir, Origin) {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(directory.path(), Options::durable()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = OriginOptions::new(PeerId([1; 20]), [0; 32]);
    (directory, Origin::start(listener, options, store, SwarmMetrics::default()))
}

fn content(size: usize) -> Vec<u8> {
    (0..size as u32).flat_map(|number| number.wrapping_mul(0x9e37_79b9).to_le_bytes()).take(size).collect()
}

async fn feed(sender: &BodySender, bytes: &[u8]) {
    for part in bytes.chunks(100_000) {
        sender.send(Bytes::copy_from_slice(part)).await.unwrap();
    }
}

fn nothing_stays(origin: &Origin, digest: &Digest) {
    assert_eq!(origin.size(digest).unwrap(), None);
    let usage = origin.store.usage();
    assert_eq!((usage.upload_bytes, usage.partial_bytes, usage.blobs), (0, 0, 0));
    assert!(origin.store.upload_labels().is_empty());
}

#[tokio::test]
async fn a_body_becomes_a_blob_and_all_who_asked_share_it() {
    let (_directory, origin) = origin().await;
    let content = content(3_000_001);
    let digest = Digest::sha256(&content);
    let (sender, body) = Body::channel(1);
    let size = Some(content.len() as u64);
    let first = tokio::spawn({
        let origin = origin.clone();
        async move { origin.take_in(&digest, size, body).await }
    });
    feed(&sender, &content[..1_000_000]).await;
    let (unread, body) = Body::channel(1);
    let second = tokio::spawn({
        let origin = origin.clone();
        async move { origin.take_in(&digest, None, body).await }
    });
    // The second body is dropped when its caller has joined.
    unread.closed().await;
    feed(&sender, &content[1_000_000..]).await;
    assert_eq!(origin.size(&digest).unwrap(), None, "not before the end");
    sender.finish().await.unwrap();
    let taken = Taken { size: content.len() as u64 };
    assert_eq!(first.await.unwrap().unwrap(), taken);
    assert_eq!(second.await.unwrap().unwrap(), taken);
    let blob = origin.blob(&digest).await.unwrap().unwrap();
    assert_eq!(blob.read_range(2_999_990..3_000_001).unwrap(), &content[2_999_990..]);
    let (unread, body) = Body::channel(1);
    assert_eq!(origin.take_in(&digest, None, body).await.unwrap(), taken);
    unread.closed().await;
}

#[tokio::test]
async fn what_is_wrong_leaves_nothing() {
    let (_directory, origin) = origin().await;
    let content = content(300_000);
    let (digest, other) = (Digest::sha256(&content), Digest::sha256(b"other"));
    let size = content.len() as u64;
    let whole = || Body::from(content.clone());

    let wrong = origin.take_in(&other, Some(size), whole()).await.unwrap_err();
    assert!(matches!(&wrong, TakeInError::Digest { got, .. } if **got == digest) && !wrong.is_retryable());
    nothing_stays(&origin, &other);
    let long = origin.take_in(&digest, Some(size - 1), whole()).await.unwrap_err();
    assert!(matches!(long, TakeInError::TooLong { stated } if stated == size - 1));
    nothing_stays(&origin, &digest);
    let short = origin.take_in(&digest, Some(size + 1), whole()).await.unwrap_err();
    assert!(matches!(short, TakeInError::Broken { got, .. } if got == size) && short.is_retryable());
    assert_eq!(origin.arrived(&digest), size, "kept for the rest");

    // One of another size takes its place.
    let (sender, body) = Body::channel(100);
    feed(&sender, &content[..200_000]).await;
    sender.abort();
    let broken = origin.take_in(&digest, None, body).await.unwrap_err();
    assert!(matches!(broken, TakeInError::Broken { got: 200_000, .. }), "{broken}");
    // The next one has it.
    origin.take_in(&digest, Some(size), whole()).await.unwrap();
    assert_eq!((origin.arrived(&digest), origin.store.usage().partial_bytes), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_a_broken_body_brought_is_kept_for_a_while_only() {
    let (_directory, origin) = origin().await;
    let content = content(300_000);
    let digest = Digest::sha256(&content);
    let (sender, body) = Body::channel(100);
    feed(&sender, &content[..200_000]).await;
    sender.abort();
    origin.take_in(&digest, Some(300_000), body).await.unwrap_err();
    assert_eq!(origin.arrived(&digest), 200_000);
    assert!(origin.intake.arrival(&digest).is_some());
    tokio::time::sleep(PATIENCE + Duration::from_secs(1)).await;
    assert!(origin.intake.arrival(&digest).is_none(), "nobody waits for it any more");
    assert_eq!((origin.arrived(&digest), origin.expected_size(&digest).unwrap()), (200_000, None));
    tokio::time::sleep(RESUME_MAX).await;
    assert_eq!(origin.arrived(&digest), 0);
    while origin.store.usage().partial_bytes > 0 {
        tokio::task::yield_now().await;
    }
    nothing_stays(&origin, &digest);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_brings_nothing_ends() {
    let (_directory, origin) = origin().await;
    let (sender, body) = Body::channel(1);
    sender.send(Bytes::from_static(b"few")).await.unwrap();
    let digest = Digest::sha256(b"few more");
    let stalled = origin.take_in(&digest, Some(8), body).await.unwrap_err();
    assert!(matches!(stalled, TakeInError::Stalled { got: 3 }) && stalled.is_retryable());
    nothing_stays(&origin, &digest);
}

#[tokio::test]
async fn a_caller_that_gives_up_does_not_end_it_and_the_origins_end_does() {
    let (directory, origin) = origin().await;
    let content = content(500_000);
    let digest = Digest::sha256(&content);
    let (sender, body) = Body::channel(1);
    let caller = tokio::spawn({
        let origin = origin.clone();
        async move { origin.take_in(&digest, None, body).await }
    });
    feed(&sender, &content[..300_000]).await;
    caller.abort();
    feed(&sender, &content[300_000..]).await;
    sender.finish().await.unwrap();
    assert!(origin.take_in(&digest, None, Body::empty()).await.is_ok());

    let other = Digest::sha256(b"other");
    let (sender, body) = Body::channel(1);
    let joined = tokio::spawn({
        let origin = origin.clone();
        async move { origin.take_in(&other, None, body).await }
    });
    feed(&sender, &content).await;
    origin.shutdown().await;
    assert!(matches!(joined.await.unwrap(), Err(TakeInError::Stopped)));
    sender.closed().await;
    // What a killed process leaves is removed by the next one.
    drop((sender, origin));
    let store = reopened(&directory).await;
    let id = store.create_upload(&format!("{LABEL}{other}")).unwrap();
    store.open_upload(&id).unwrap().write(b"begun").unwrap();
    assert_eq!(store.cancel_uploads(|label| label.starts_with(LABEL)), store.upload_labels().len().max(1));
    assert_eq!(store.usage().upload_bytes, 0);
}

/// The store, when the last task that had it has ended.
async fn reopened(directory: &TempDir) -> Store {
    loop {
        match Store::open(directory.path(), Options::durable()) {
            Ok((store, _)) => return store,
            Err(Error::Locked { .. }) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}
