//! A server that pulls through from another one: by name, by `ns`, with passwords and tokens, over TLS, and while the other is down.

use std::path::Path;
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::json;
use shoal_api::tracker::{AnnounceEvent, AnnounceItem, TrackerClient};
use shoal_http::{Client, Response};
use shoal_oci::Digest;
use shoal_server::App;
use shoal_server::config::upstreams::{Freshness, UpstreamSettings};
use shoal_swarm_types::PeerId;

use crate::client::{Registry, config, content};

const NAME: &str = "up.example";

/// How a server asks the one at `url` each time about every tag.
pub(crate) fn upstream(url: String) -> UpstreamSettings {
    let always = Freshness { valid_for: Some(shoal_config::Duration::secs(0)), ..Freshness::default() };
    UpstreamSettings {
        registry: NAME.to_owned(),
        plain_http: url.starts_with("http://"),
        endpoint: Some(url),
        proxy: Some(shoal_config::Secret::new("none")),
        freshness: vec![always],
        ..UpstreamSettings::default()
    }
}

pub(crate) async fn through(data: &Path, settings: UpstreamSettings) -> App {
    let mut config = config(data);
    config.upstreams = vec![settings];
    assert_eq!(config.problems().len(), 0);
    App::start(&config).await.unwrap()
}

pub(crate) fn at(app: &App, repository: &str) -> Registry {
    Registry::at(app.addresses().registry, repository)
}

pub(crate) fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_pulled_through_and_stays_while_the_upstream_is_down() {
    let (there, here) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let far = App::start(&config(there.path())).await.unwrap();
    let (layer, other) = (content(61, 3_000_000), content(62, 1_000));
    let origin = at(&far, "team/app");
    let digest = origin.push_image("v1", &layer).await;
    let unpulled = origin.push_blob(&other).await;
    let near = through(here.path(), upstream(format!("http://{}", far.addresses().registry))).await;
    let copy = at(&near, "up.example/team/app");

    let answer = copy.send(Method::HEAD, "/manifests/v1", "", "").await;
    assert_eq!(
        (answer.status(), header(&answer, "shoal-freshness"), header(&answer, "age")),
        (StatusCode::OK, "revalidated", "0")
    );
    copy.assert_image("v1", &layer).await;
    let by_ns = at(&near, "team/app").send(Method::GET, "/manifests/v1?ns=up.example", "", "").await;
    assert_eq!(header(&by_ns, "docker-content-digest"), digest.to_string());
    let (status, _) = copy.get("/manifests/absent").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (status, _) = at(&near, "other.example/team/app").get("/manifests/v1").await;
    assert_eq!(status, StatusCode::NOT_FOUND);

    // A tag that moves there is seen here.
    let moved = content(63, 10_000);
    let now = origin.push_image("v1", &moved).await;
    copy.assert_image("v1", &moved).await;

    far.shutdown().await;
    copy.assert_image("v1", &moved).await;
    let stale = copy.send(Method::GET, "/manifests/v1", "", "").await;
    assert_eq!(header(&stale, "shoal-freshness"), "stale");
    assert_eq!(header(&stale, "docker-content-digest"), now.to_string());
    assert!(header(&stale, "age").parse::<u64>().is_ok());
    let old = copy.send(Method::GET, &format!("/manifests/{digest}"), "", "").await;
    assert_eq!((old.status(), header(&old, "shoal-freshness")), (StatusCode::OK, "immutable"));
    let never = copy.send(Method::GET, &format!("/blobs/{unpulled}"), "", "").await;
    assert_eq!((never.status(), header(&never, "shoal-freshness")), (StatusCode::NOT_FOUND, "unavailable"));
    // After a restart as well: everything is on the disk.
    near.shutdown().await;
    let near = through(here.path(), upstream("http://127.0.0.1:9".to_owned())).await;
    at(&near, "up.example/team/app").assert_image("v1", &moved).await;
    near.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_gets_a_blob_by_its_digest_once_it_was_asked_for() {
    let (there, here) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let far = App::start(&config(there.path())).await.unwrap();
    let layer = content(64, 500_000);
    at(&far, "team/app").push_image("v1", &layer).await;
    let near = through(here.path(), upstream(format!("http://{}", far.addresses().registry))).await;
    let digest = Digest::sha256(&layer);
    let url = format!("http://{}", near.addresses().tracker);
    let tracker = TrackerClient::new(&[url], Client::default(), PeerId([7; 20]), 1).unwrap();
    let question = AnnounceItem {
        digest,
        event: AnnounceEvent::Started,
        complete: false,
        need_metainfo: true,
        repository: Some("up.example/team/app".parse().unwrap()),
        known: 0,
        peers_wanted: 10,
        content_max: 0,
    };
    assert!(tracker.announce(vec![question.clone()]).await.remove(0).is_err(), "nobody has asked for it yet");
    let answer =
        at(&near, "up.example/team/app").send(Method::HEAD, &format!("/blobs/{digest}"), "", "").await;
    assert_eq!((answer.status(), header(&answer, "content-length")), (StatusCode::OK, "500000"));
    let mut metainfo = None;
    for _ in 0..500 {
        if let Ok(reply) = tracker.announce(vec![question.clone()]).await.remove(0) {
            metainfo = reply.metainfo;
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(metainfo.unwrap().size(), 500_000);
    near.shutdown().await;
    far.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_here_for_another_reason_is_not_had_through_an_upstream_that_has_it_not() {
    let (there, here) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let far = App::start(&config(there.path())).await.unwrap();
    at(&far, "team/app").push_image("v1", b"something else").await;
    let near = through(here.path(), upstream(format!("http://{}", far.addresses().registry))).await;
    let secret = at(&near, "private/app").push_blob(&content(65, 5_000)).await;
    let copy = at(&near, "up.example/team/app");
    assert_eq!(copy.get(&format!("/blobs/{secret}")).await.0, StatusCode::NOT_FOUND);
    // Nobody puts anything into a copy, and what is there can be deleted.
    let answer = copy.send(Method::POST, "/blobs/uploads/", "", "").await;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    let answer =
        copy.send(Method::PUT, "/manifests/v1", "application/vnd.oci.image.manifest.v1+json", "{}").await;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    copy.assert_image("v1", b"something else").await;
    let answer = copy.send(Method::DELETE, "/manifests/v1", "", "").await;
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    near.shutdown().await;
    far.shutdown().await;
}

/// A server that asks who somebody is; `bot` with this password may pull.
async fn guarded(data: &Path, tokens: bool) -> App {
    let mut config = config(data);
    let passwords = data.join("htpasswd");
    // The least cost: at the usual one an unoptimised program takes longer than an upstream's client waits.
    std::fs::write(&passwords, format!("bot:{}\n", bcrypt::hash("hunter2", 4).unwrap())).unwrap();
    let policy = [
        json!({"subjects": ["anonymous"], "repositories": ["**"], "actions": ["push"]}),
        json!({"subjects": ["authenticated"], "repositories": ["team/**"], "actions": ["pull"]}),
    ];
    let auth = json!({"htpasswd": passwords, "policy": policy, "token": {"enabled": tokens}});
    config.auth = Some(serde_json::from_value(auth).unwrap());
    // Members' ports stay on loopback, and need no key there.
    App::start(&config).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_and_tokens_open_a_private_upstream_and_nothing_else_does() {
    for tokens in [false, true] {
        let there = tempfile::tempdir().unwrap();
        let far = guarded(there.path(), tokens).await;
        let url = format!("http://{}", far.addresses().registry);
        let layer = content(66, 100_000);
        at(&far, "team/app").push_image("v1", &layer).await;
        for (password, opens) in [(None, false), (Some("wrong"), false), (Some("hunter2"), true)] {
            let here = tempfile::tempdir().unwrap();
            let mut settings = upstream(url.clone());
            settings.username = password.map(|_| "bot".to_owned());
            settings.password = password.map(shoal_config::Secret::new);
            let near = through(here.path(), settings).await;
            let copy = at(&near, "up.example/team/app");
            if opens {
                copy.assert_image("v1", &layer).await;
            } else {
                let answer = copy.send(Method::GET, "/manifests/v1", "", "").await;
                let said = (answer.status(), header(&answer, "shoal-freshness"));
                assert!(
                    said.0 == StatusCode::NOT_FOUND && said.1 != "unavailable",
                    "{tokens} {password:?} {said:?}"
                );
            }
            near.shutdown().await;
        }
        far.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_over_tls_is_believed_by_its_authority_alone() {
    let (there, here) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let (certificate, key) = (there.path().join("c.pem"), there.path().join("k.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let mut settings = config(there.path());
    settings.registry.tls =
        Some(serde_json::from_value(json!({"certificate": certificate, "key": key})).unwrap());
    let far = App::start(&settings).await.unwrap();
    let url = format!("https://{}", far.addresses().registry);
    // The test's own client trusts nobody else either, so the image is pushed through the door for pulls: an empty repository.
    for (ca, skip, answers) in [
        (None, false, "unavailable"),
        (Some(certificate.clone()), false, "not-found"),
        (None, true, "not-found"),
    ] {
        let here = here.path().join(format!("{answers}-{skip}"));
        let near =
            through(&here, UpstreamSettings { ca, insecure_skip_verify: skip, ..upstream(url.clone()) })
                .await;
        let answer = at(&near, "up.example/team/app").send(Method::GET, "/manifests/v1", "", "").await;
        assert_eq!((answer.status(), header(&answer, "shoal-freshness")), (StatusCode::NOT_FOUND, answers));
        near.shutdown().await;
    }
    far.shutdown().await;
}
