//! Blobs by their digest at the ports of members: who may pull from a repository gets what is in it, and nobody gets what is deleted.

use std::path::{Path, PathBuf};

use http::{Method, StatusCode};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::json;
use shoal_api::tracker::{AnnounceEvent, AnnounceItem, AnnounceReply, ItemErrorCode, TrackerClient};
use shoal_api::{Base, OriginClient};
use shoal_http::{Client, ClientOptions, ClientTls, ClientTlsFiles, Identity};
use shoal_oci::Digest;
use shoal_server::App;
use shoal_server::config::tls::ClusterTls;
use shoal_swarm_types::PeerId;

use crate::client::{Registry, config, content};

/// Who makes the cluster's certificates, and where they are.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: PathBuf,
}

impl Authority {
    fn new(directory: &Path) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(directory.join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, directory: directory.to_owned() }
    }

    fn ca(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    fn issue(&self, name: &str) -> Identity {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = self.directory.join(format!("{name}.pem"));
        let own = Identity { key: certificate.with_extension("key"), certificate };
        std::fs::write(&own.certificate, params.signed_by(&key, &self.issuer).unwrap().pem()).unwrap();
        std::fs::write(&own.key, key.serialize_pem()).unwrap();
        own
    }
}

/// An agent, as far as the ports of members see it.
struct Agent {
    http: Client,
    tracker: TrackerClient,
    origin: Base,
}

impl Agent {
    fn new(app: &App, number: u8, tls: Option<ClientTls>) -> Self {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let http = Client::new(&ClientOptions { tls, ..ClientOptions::default() });
        let url = |addr| format!("{scheme}://{addr}");
        let id = PeerId([number; 20]);
        let tracker = url(app.addresses().tracker);
        let tracker = TrackerClient::new(&[tracker], http.clone(), id, 16000 + u16::from(number)).unwrap();
        Self { http, tracker, origin: Base::parse(&url(app.addresses().origin)).unwrap() }
    }

    fn certified(app: &App, number: u8, authority: &Authority) -> Self {
        let identity = Some(authority.issue(&format!("node-{number}")));
        let tls = ClientTls::new(ClientTlsFiles { ca: Some(authority.ca()), identity }).unwrap();
        Self::new(app, number, Some(tls))
    }

    /// What the tracker says about a download that begins; `None` when it knows no such blob.
    async fn announce(&self, digest: Digest, repository: Option<&str>) -> Option<AnnounceReply> {
        let repository = repository.map(|name| name.parse().unwrap());
        let event = AnnounceEvent::Started;
        let item = AnnounceItem {
            digest,
            event,
            complete: false,
            need_metainfo: true,
            repository,
            known: 0,
            peers_wanted: 50,
            content_max: 0,
        };
        match self.tracker.announce(vec![item]).await.remove(0) {
            Ok(reply) => Some(reply),
            Err(error) => {
                assert_eq!(error.code, ItemErrorCode::NotFound, "{error}");
                None
            }
        }
    }

    fn blobs(&self, repository: Option<&str>) -> OriginClient {
        let client = OriginClient::new(self.http.clone());
        match repository {
            Some(name) => client.within(name.parse().unwrap()),
            None => client,
        }
    }

    /// Whether tracker and origin both give the blob; they must agree.
    async fn gets(&self, digest: Digest, repository: Option<&str>) -> bool {
        let blobs = self.blobs(repository);
        let announced = self.announce(digest, repository).await.is_some();
        let stated = blobs.stat(&self.origin, &digest).await.unwrap().is_some();
        let described = blobs.metainfo(&self.origin, &digest).await.unwrap().is_some();
        let read = blobs.read(&self.origin, &digest, 0..10).await.is_ok();
        assert_eq!([stated, described, read], [announced; 3], "{digest} of {repository:?}");
        announced
    }
}

/// A server that asks everybody who they are; whoever does not say may push and delete.
async fn guarded(directory: &Path, authority: &Authority) -> App {
    let mut config = config(directory);
    let Identity { certificate, key } = authority.issue("server-1");
    config.cluster_tls = Some(ClusterTls { ca: authority.ca(), certificate, key });
    let rule = |subject: &str, repositories: &str, actions: &[&str]| json!({"subjects": [subject], "repositories": [repositories], "actions": actions});
    let policy = [
        rule("anonymous", "**", &["push", "delete"]),
        rule("certificate:node-1", "team/**", &["pull"]),
        rule("certificate:node-*", "public/**", &["pull"]),
    ];
    config.auth = Some(serde_json::from_value(json!({"certificates": true, "policy": policy})).unwrap());
    App::start(&config).await.unwrap()
}

async fn delete(registry: &Registry, digest: &Digest) {
    let answer = registry.send(Method::DELETE, &format!("/blobs/{digest}"), "", "").await;
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_gets_by_digest_what_is_where_it_may_pull_and_nothing_else() {
    let (data, certificates) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let authority = Authority::new(certificates.path());
    let app = guarded(data.path(), &authority).await;
    let at = |repository| Registry::at(app.addresses().registry, repository);
    let secret = at("team/app").push_blob(&content(51, 300_000)).await;
    let base = at("public/base").push_blob(&content(52, 100_000)).await;
    let (one, two) = (Agent::certified(&app, 1, &authority), Agent::certified(&app, 2, &authority));

    let reply = one.announce(secret, Some("team/app")).await.unwrap();
    assert!(reply.metainfo.is_some() && reply.peers[0].owner);
    let seed = format!("https://{}/blobs/{secret}?repository=team/app", app.addresses().origin);
    assert_eq!(reply.web_seeds, [seed.as_str()]);
    assert_eq!(one.blobs(None).read_url(&seed, 0..10).await.unwrap().len(), 10);
    let refused = two.blobs(None).read_url(&seed, 0..10).await.unwrap_err();
    assert!(refused.to_string().contains("404"), "{refused}");

    for (agent, digest, repository, gets) in [
        (&one, secret, Some("team/app"), true),
        (&one, base, Some("public/base"), true),
        (&two, base, Some("public/base"), true),
        (&two, secret, Some("team/app"), false),
        (&two, secret, Some("public/base"), false),
        (&one, secret, Some("public/base"), false),
        (&one, secret, Some("team/other"), false),
        (&one, secret, None, false),
        (&two, secret, None, false),
    ] {
        assert_eq!(agent.gets(digest, repository).await, gets, "{digest} of {repository:?}");
    }
    delete(&at("team/app"), &secret).await;
    assert!(!one.gets(secret, Some("team/app")).await, "deleted");
    app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_is_deleted_everywhere_is_handed_out_no_more() {
    let data = tempfile::tempdir().unwrap();
    let app = App::start(&config(data.path())).await.unwrap();
    let layer = content(53, 100_000);
    let (app_registry, other) =
        (Registry::at(app.addresses().registry, "team/app"), Registry::at(app.addresses().registry, "other"));
    let digest = app_registry.push_blob(&layer).await;
    other.push_blob(&layer).await;
    let agent = Agent::new(&app, 1, None);
    for repository in [None, Some("team/app"), Some("mirrored.example/team/app")] {
        assert!(agent.gets(digest, repository).await, "whatever an old agent or one of many names says");
    }
    delete(&app_registry, &digest).await;
    assert!(agent.gets(digest, Some("team/app")).await, "another repository has it");
    delete(&other, &digest).await;
    for repository in [None, Some("team/app"), Some("other")] {
        assert!(!agent.gets(digest, repository).await, "{repository:?}");
    }
    // It is still on the disk, and what went can come back at once.
    app_registry.push_blob(&layer).await;
    assert!(agent.gets(digest, Some("team/app")).await);
    app.shutdown().await;
}
