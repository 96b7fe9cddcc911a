//! At the swarm's door: a member that knows a digest and an address, and has no right to the blob, gets no piece of it, neither from the
//! owner nor from an agent.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::json;
use shoal_api::tracker::{AnnounceItem as Question, PEERS_WANTED, TrackerClient};
use shoal_grant::{Issuer, LIFETIME, Verifier};
use shoal_http::{Client, ClientOptions};
use shoal_oci::Digest;
use shoal_server::App;
use shoal_store::{Options, Store};
use shoal_swarm::{
    AnnounceError, AnnounceItem, AnnounceReply, Announcer, GrantCheck, ReadError, Role, Swarm, SwarmOptions,
};
use shoal_swarm_types::{PeerId, PeerInfo, PieceIndex, Zone};
use shoal_telemetry::SwarmMetrics;
use tokio::net::TcpListener;

use crate::client::{Registry, TIMEOUT, config, content};

const SECRET: &str = "the word of the cluster";

/// A server that asks who somebody is; whoever does not say may push.
async fn guarded(directory: &Path) -> App {
    let mut config = config(directory);
    config.cluster_key = Some(serde_json::from_value(json!(SECRET)).unwrap());
    let policy = json!([{"subjects": ["anonymous"], "repositories": ["**"], "actions": ["push", "pull"]}]);
    config.auth = Some(serde_json::from_value(json!({"policy": policy})).unwrap());
    App::start(&config).await.unwrap()
}

fn cluster() -> [u8; 32] {
    shoal_api::cluster_key(SECRET)
}

/// What the tracker says to a peer that names this repository.
async fn ask(
    app: &App,
    peer: PeerId,
    digest: Digest,
    repository: &str,
) -> (Option<AnnounceReply>, Vec<String>) {
    let authorization = shoal_api::cluster_authorization(Some(SECRET));
    let http = Client::new(&ClientOptions { authorization, ..ClientOptions::default() });
    let url = format!("http://{}", app.addresses().tracker);
    let tracker = TrackerClient::new(&[url], http, peer, 1).unwrap();
    let question = Question {
        digest,
        event: shoal_api::AnnounceEvent::Started,
        complete: false,
        need_metainfo: true,
        repository: Some(repository.parse().unwrap()),
        known: 0,
        peers_wanted: PEERS_WANTED,
        content_max: 0,
    };
    let reply = tracker.announce(vec![question]).await.remove(0).ok().map(|reply| AnnounceReply {
        metainfo: reply.metainfo,
        peers: reply.peers.into_iter().filter(|peer| peer.owner).collect(),
        grant: reply.grant,
        interval_ms: 600_000,
        ..AnnounceReply::default()
    });
    (reply, tracker.grant_keys().unwrap_or_default().into_iter().collect())
}

/// Says the same whatever it is asked: what a peer knows that asks nobody.
struct Knows(AnnounceReply);

#[async_trait]
impl Announcer for Knows {
    async fn announce(&self, items: Vec<AnnounceItem>) -> Vec<Result<AnnounceReply, AnnounceError>> {
        items.iter().map(|_| Ok(self.0.clone())).collect()
    }
}

/// Judges as agents do.
#[derive(Clone)]
struct Gate(Arc<Verifier>);

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gate")
    }
}

impl GrantCheck for Gate {
    fn may_have(&self, digest: &Digest, peer: &PeerId, grant: &[u8]) -> Option<Duration> {
        let now = SystemTime::now();
        match self.0.check(digest, peer, grant, false, now).ok()? {
            Some(until) => until.duration_since(now).ok(),
            None => Some(Duration::MAX),
        }
    }
}

struct Peer {
    swarm: Swarm,
    info: PeerInfo,
    _directory: tempfile::TempDir,
}

async fn peer(number: u8, knows: AnnounceReply, keys: &[String]) -> Peer {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(directory.path(), Options::cache(1 << 30)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let id = PeerId([number; 20]);
    let mut options = SwarmOptions::new(id, Role::Agent, cluster());
    options.grants =
        Arc::new(Gate(Arc::new(Verifier::new(cluster(), keys.iter().map(|key| key.parse().unwrap())))));
    options.limits.fail_ms = 1_500;
    let swarm = Swarm::start(listener, options, store, Arc::new(Knows(knows)), None, SwarmMetrics::default());
    Peer {
        swarm,
        info: PeerInfo { id, addr, complete: true, owner: false, zone: Zone::UNKNOWN },
        _directory: directory,
    }
}

impl Peer {
    async fn fetch(&self, digest: &Digest) -> Result<Vec<u8>, ReadError> {
        let reader = tokio::time::timeout(TIMEOUT, self.swarm.open(digest)).await.unwrap().unwrap();
        let mut bytes = Vec::new();
        for index in (0..reader.layout().piece_count()).map(PieceIndex) {
            bytes.extend_from_slice(&tokio::time::timeout(TIMEOUT, reader.read_piece(index)).await.unwrap()?);
        }
        Ok(bytes)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_right_gets_no_piece_from_owner_or_agent_whatever_it_shows() {
    let data = tempfile::tempdir().unwrap();
    let app = guarded(data.path()).await;
    let layer = content(61, 300_000);
    let digest = Registry::at(app.addresses().registry, "team/app").push_blob(&layer).await;
    let (one, two) = (PeerId([1; 20]), PeerId([2; 20]));
    assert!(ask(&app, two, digest, "team/other").await.0.is_none(), "no right, no answer");
    let (reply, keys) = ask(&app, one, digest, "team/app").await;
    let reply = reply.unwrap();
    assert_eq!((reply.grant.len(), keys.len()), (shoal_grant::GRANT_LEN, 1));

    let entitled = peer(1, reply.clone(), &keys).await;
    assert!(entitled.fetch(&digest).await.unwrap() == layer);
    let foreign = tempfile::tempdir().unwrap();
    let forger =
        Issuer::open(&foreign.path().join("key.pem"), cluster(), LIFETIME, SystemTime::now()).unwrap();
    let own = data.path().join("auth/grant.pem");
    let server = Issuer::open(&own, cluster(), LIFETIME, SystemTime::now()).unwrap();
    let long_ago = SystemTime::now() - Duration::from_secs(3 * 60 * 60);
    let shown = [
        ("nothing", Bytes::new()),
        ("the grant of another peer", reply.grant.clone()),
        ("a forged one", forger.grant(&digest, &two, SystemTime::now())),
        ("one that has expired", server.grant(&digest, &two, long_ago)),
        ("one for another blob", server.grant(&Digest::sha256(b"x"), &two, SystemTime::now())),
    ];
    for holder in [reply.peers[0].clone(), entitled.info.clone()] {
        for (what, grant) in &shown {
            let knows = AnnounceReply { peers: vec![holder.clone()], grant: grant.clone(), ..reply.clone() };
            let intruder = peer(2, knows, &keys).await;
            let got = intruder.fetch(&digest).await;
            assert!(got.is_err(), "{what} from {holder:?}");
            intruder.swarm.shutdown().await;
        }
        let grant = server.grant(&digest, &two, SystemTime::now());
        let knows = AnnounceReply { peers: vec![holder.clone()], grant, ..reply.clone() };
        let friend = peer(2, knows, &keys).await;
        assert!(friend.fetch(&digest).await.unwrap() == layer, "{holder:?}");
        friend.swarm.shutdown().await;
    }
    entitled.swarm.shutdown().await;
    app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_rights_nobody_is_asked_for_a_grant() {
    let data = tempfile::tempdir().unwrap();
    let app = App::start(&config(data.path())).await.unwrap();
    let digest = Registry::at(app.addresses().registry, "team/app").push_blob(&content(62, 1000)).await;
    let url = format!("http://{}", app.addresses().tracker);
    let tracker = TrackerClient::new(&[url], Client::default(), PeerId([1; 20]), 1).unwrap();
    assert_eq!(tracker.grant_keys(), None);
    tracker.probe().await;
    assert!(tracker.grant_keys().unwrap().is_empty());
    assert!(!data.path().join("auth/grant.pem").exists());
    let members = format!("http://{}/swarms", app.addresses().tracker);
    assert!(
        Client::default().get_bytes(&members, 1 << 20, TIMEOUT).await.is_err(),
        "lists are the operator's"
    );
    let operators = format!("http://{}/swarms", app.addresses().admin);
    assert!(Client::default().get_bytes(&operators, 1 << 20, TIMEOUT).await.is_ok(), "{digest}");
    app.shutdown().await;
}
