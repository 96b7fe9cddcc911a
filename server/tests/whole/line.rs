//! Push, look-up, announce and swarm in one process, and again after a restart.

use std::sync::Arc;

use async_trait::async_trait;
use http::{Method, StatusCode};
use shoal_api::tracker::{AnnounceEvent, AnnounceItem, ItemErrorCode, TrackerClient};
use shoal_oci::Digest;
use shoal_server::App;
use shoal_store::{Options, Store};
use shoal_swarm::{AnnounceError, Announcer, Role, Swarm, SwarmOptions};
use shoal_swarm_types::{Metainfo, PeerId, PieceIndex};
use shoal_telemetry::SwarmMetrics;

use crate::client::{Registry, TIMEOUT, config, content};

const LAYER_SIZE: usize = 1_500_000;

fn started(digest: Digest) -> AnnounceItem {
    AnnounceItem {
        digest,
        event: AnnounceEvent::Started,
        complete: false,
        need_metainfo: true,
        repository: None,
        known: 0,
        peers_wanted: 50,
        content_max: 0,
    }
}

fn tracker(app: &App, peer: u8, port: u16) -> TrackerClient {
    let url = format!("http://{}", app.addresses().tracker);
    TrackerClient::new(&[url], shoal_http::Client::default(), PeerId([peer; 20]), port).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_pushed_is_pulled_and_announced_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let layer = content(1, LAYER_SIZE);
    let app = App::start(&config(dir.path())).await.unwrap();
    Registry::at(app.addresses().registry, "team/app").push_image("v1", &layer).await;
    assert_everything(&app, &layer).await;
    app.shutdown().await;
    let app = App::start(&config(dir.path())).await.unwrap();
    assert_everything(&app, &layer).await;
    app.shutdown().await;
}

async fn assert_everything(app: &App, layer: &[u8]) {
    let addresses = app.addresses();
    let registry = Registry::at(addresses.registry, "team/app");
    registry.assert_image("v1", layer).await;
    assert_eq!(registry.get("/tags/list").await.1, r#"{"name":"team/app","tags":["v1"]}"#);
    let digest = Digest::sha256(layer);
    let reply = tracker(app, 1, 16001).announce(vec![started(digest)]).await.remove(0).unwrap();
    assert_eq!(reply.metainfo, Some(Metainfo::of(digest, layer)));
    assert_eq!(reply.peers[0].addr, addresses.peer);
    assert!(reply.peers[0].owner && reply.peers[0].complete);
    assert_eq!(reply.web_seeds, [format!("http://{}/blobs/{digest}", addresses.origin)]);
    let origin = shoal_api::OriginClient::new(registry.http.clone());
    let read = origin.read_url(&reply.web_seeds[0], 1_000_000..1_000_010).await.unwrap();
    assert_eq!(read, layer[1_000_000..1_000_010]);
    let tag = format!("http://{}/tags/team%2Fapp%3Av1", addresses.tags);
    let resolved = registry.http.get_bytes(&tag, 1024, TIMEOUT).await.unwrap();
    let manifest = registry.send(Method::HEAD, "/manifests/v1", "", "").await;
    assert_eq!(resolved, manifest.headers()["docker-content-digest"].as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_nobody_pushed_is_not_found_at_the_tracker() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::start(&config(dir.path())).await.unwrap();
    let reply = tracker(&app, 1, 16001).announce(vec![started(Digest::sha256(b"never"))]).await.remove(0);
    assert_eq!(reply.unwrap_err().code, ItemErrorCode::NotFound);
    app.shutdown().await;
}

/// The tracker as a swarm's announcer, the way an agent uses it.
struct Tracked(TrackerClient);

#[async_trait]
impl Announcer for Tracked {
    async fn announce(
        &self,
        items: Vec<shoal_swarm::AnnounceItem>,
    ) -> Vec<Result<shoal_swarm::AnnounceReply, AnnounceError>> {
        let items = items.into_iter().map(|item| AnnounceItem {
            digest: item.digest,
            event: match item.event {
                shoal_swarm::AnnounceEvent::Started => AnnounceEvent::Started,
                shoal_swarm::AnnounceEvent::Periodic => AnnounceEvent::Periodic,
                shoal_swarm::AnnounceEvent::Completed => AnnounceEvent::Completed,
                shoal_swarm::AnnounceEvent::Stopped => AnnounceEvent::Stopped,
            },
            complete: item.complete,
            need_metainfo: item.need_metainfo,
            repository: None,
            known: item.known,
            peers_wanted: item.peers_wanted,
            content_max: 0,
        });
        let replies = self.0.announce(items.collect()).await;
        let reply = |reply: Result<shoal_api::AnnounceReply, shoal_api::ItemError>| match reply {
            Ok(reply) => Ok(shoal_swarm::AnnounceReply {
                metainfo: reply.metainfo,
                peers: reply.peers,
                web_seeds: reply.web_seeds,
                interval_ms: reply.interval_ms,
                grant: reply.grant,
                version: reply.version,
                ..Default::default()
            }),
            Err(error) if error.code == ItemErrorCode::NotFound => Err(AnnounceError::NotFound),
            Err(_) => Err(AnnounceError::Unavailable),
        };
        replies.into_iter().map(reply).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_downloads_what_was_pushed_from_the_swarm_port() {
    let (server_dir, peer_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let layer = content(2, LAYER_SIZE);
    let app = App::start(&config(server_dir.path())).await.unwrap();
    let digest = Registry::at(app.addresses().registry, "team/app").push_blob(&layer).await;
    let (store, _) = Store::open(peer_dir.path(), Options::cache(1 << 30)).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let announcer = Arc::new(Tracked(tracker(&app, 7, listener.local_addr().unwrap().port())));
    let options = SwarmOptions::new(PeerId([7; 20]), Role::Agent, shoal_api::cluster_key(""));
    let peer = Swarm::start(listener, options, store, announcer, None, SwarmMetrics::default());
    let reader = tokio::time::timeout(TIMEOUT, peer.open(&digest)).await.unwrap().unwrap();
    let mut bytes = Vec::new();
    for index in (0..reader.layout().piece_count()).map(PieceIndex) {
        bytes.extend_from_slice(
            &tokio::time::timeout(TIMEOUT, reader.read_piece(index)).await.unwrap().unwrap(),
        );
    }
    assert!(bytes == layer);
    peer.shutdown().await;
    app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_port_answers_probes_and_the_admin_port_the_status() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::start(&config(dir.path())).await.unwrap();
    let addresses = app.addresses();
    let http = shoal_http::Client::default();
    for addr in [addresses.registry, addresses.origin, addresses.tracker, addresses.tags, addresses.admin] {
        for path in ["livez", "readyz", "health", "metrics"] {
            assert!(
                http.get_bytes(&format!("http://{addr}/{path}"), 1 << 20, TIMEOUT).await.is_ok(),
                "{addr} {path}"
            );
        }
    }
    let registry = Registry::at(addresses.registry, "a");
    registry.push_blob(b"some bytes").await;
    let status: serde_json::Value =
        http.get_json(&format!("http://{}/status", addresses.admin), TIMEOUT).await.unwrap();
    assert_eq!((&status["health"], &status["store"]["bytes"]), (&"ok".into(), &10.into()), "{status}");
    assert_eq!(status["addresses"]["registry"], addresses.registry.to_string());
    let metrics =
        http.get_bytes(&format!("http://{}/metrics", addresses.admin), 1 << 20, TIMEOUT).await.unwrap();
    let metrics = String::from_utf8(metrics.to_vec()).unwrap();
    assert!(metrics.contains("shoal_registry_received_bytes_total 10"), "{metrics}");
    let answer = registry.send(Method::GET, "/blobs/sha256:12", "", "").await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_and_a_taken_directory_are_reported_by_key() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::start(&config(dir.path())).await.unwrap();
    let message = |result: anyhow::Result<App>| format!("{:#}", result.err().unwrap());
    let same_directory = message(App::start(&config(dir.path())).await);
    assert!(
        same_directory.contains("data_directory") && same_directory.contains("another process"),
        "{same_directory}"
    );
    let mut same_port = config(dir.path());
    same_port.tracker.listen = app.addresses().tracker;
    let same_port = message(App::start(&same_port).await);
    assert!(same_port.contains("tracker.listen"), "{same_port}");
    app.shutdown().await;
}
