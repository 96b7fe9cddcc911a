//! The guard as the registry meets it.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::failures::FailureLimits;
use crate::oidc::tests::{Documents, TheirKey, good_claims, settings as oidc_settings};
use crate::policy::Rule;
use crate::principal::Origin;
use crate::rejection::Rejection;
use crate::scope::Scope;
use crate::token::TokenSettings;

const START: u64 = 1_700_000_000;
const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

fn at(seconds: u64) -> SystemTime {
    crate::claims::time(START + seconds)
}

struct World {
    guard: Guard,
    directory: TempDir,
    ci: TheirKey,
}

fn rule(subject: &str, repositories: &str, actions: &[&str]) -> Rule {
    Rule {
        subjects: vec![subject.to_owned()],
        repositories: vec![repositories.to_owned()],
        actions: actions.iter().map(|word| (*word).to_owned()).collect(),
    }
}

fn line(name: &str, password: &str) -> String {
    format!("{name}:{}\n", bcrypt::hash(password, 4).unwrap())
}

fn world() -> World {
    world_with(FailureLimits { per_address: 5, per_name: 5, window: Duration::from_secs(60) })
}

fn world_with(failures: FailureLimits) -> World {
    let directory = tempfile::tempdir().unwrap();
    let htpasswd = directory.path().join("htpasswd");
    std::fs::write(&htpasswd, line("alice", "hunter2") + &line("bob", "correct horse")).unwrap();
    let rules = [
        rule("anonymous", "public/**", &["pull"]),
        rule("group:team", "team/**", &["pull", "push"]),
        rule("bob", "**", &["pull"]),
        rule("ci:repo:acme/*", "ci/**", &["push", "pull"]),
        rule("certificate:node.example", "nodes/**", &["pull"]),
    ];
    let (documents, ci) = (Documents::default(), TheirKey::new("k1"));
    documents.publish(&[&ci]);
    let settings = Settings {
        htpasswd: Some(htpasswd),
        groups: BTreeMap::from([("team".to_owned(), vec!["alice".to_owned()])]),
        token: Some(TokenSettings {
            service: "shoal".to_owned(),
            issuer: "shoal".to_owned(),
            realm: None,
            key_file: directory.path().join("key.pem"),
            verification_keys: Vec::new(),
            lifetime: Duration::from_secs(300),
            refresh_lifetime: Duration::from_secs(86_400),
        }),
        oidc: vec![oidc_settings()],
        certificates: true,
        policy: Policy::new(&rules, &[]).unwrap(),
        failures,
        ..Settings::default()
    };
    let source: Arc<dyn KeySource> = Arc::new(documents);
    World { guard: Guard::new(settings, Some(&source)).unwrap(), directory, ci }
}

fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
}

impl World {
    async fn identify(&self, header: &str, now: u64) -> Result<Principal, Rejection> {
        let credentials = Credentials { authorization: Some(header), certificate: None, address: HERE };
        self.guard.identify(&credentials, at(now)).await
    }

    async fn token(&self, header: Option<&str>, request: TokenRequest, now: u64) -> Result<Value, Rejection> {
        let credentials = Credentials { authorization: header, certificate: None, address: HERE };
        let reply = self.guard.token(request, &credentials, at(now)).await?;
        Ok(serde_json::from_str(&reply.to_json()).unwrap())
    }

    fn write_accounts(&self, text: &str) {
        std::fs::write(self.directory.path().join("htpasswd"), text).unwrap();
    }
}

fn get(query: &str) -> TokenRequest {
    TokenRequest::from_query(Some(query)).unwrap()
}

fn bearer(reply: &Value) -> String {
    format!("Bearer {}", reply["token"].as_str().unwrap())
}

#[tokio::test]
async fn an_open_guard_lets_everybody_do_everything() {
    let guard = Guard::open();
    let nobody = Principal::anonymous();
    assert!(guard.is_open() && guard.may(&nobody, Action::Admin, &"a".parse().unwrap()));
    assert!(!guard.has_tokens() && guard.reload().is_ok());
}

#[tokio::test]
async fn passwords() {
    let world = world();
    let alice = world.identify(&basic("alice", "hunter2"), 0).await.unwrap();
    assert_eq!((alice.name.as_str(), alice.origin, alice.groups.len()), ("alice", Origin::Password, 1));
    for (name, password) in [("alice", "hunter3"), ("alice", ""), ("eve", "hunter2"), ("", "hunter2")] {
        assert_eq!(
            world.identify(&basic(name, password), 0).await.unwrap_err(),
            Rejection::Password,
            "{name}"
        );
    }
    assert!(world.identify("Basic Og==", 0).await.unwrap().is_anonymous());
}

#[tokio::test]
async fn who_fails_too_often_waits_but_not_who_was_right_a_moment_ago() {
    let world = world();
    world.identify(&basic("alice", "hunter2"), 10).await.unwrap();
    for _ in 0..5 {
        assert_eq!(world.identify(&basic("alice", "wrong"), 10).await.unwrap_err(), Rejection::Password);
    }
    let closed = world.identify(&basic("alice", "wrong"), 10).await.unwrap_err();
    assert!(matches!(closed, Rejection::TooMany { retry_after } if !retry_after.is_zero()));
    // The right password of somebody else from there has to wait as well; the one that was checked before does not.
    assert!(matches!(
        world.identify(&basic("bob", "correct horse"), 10).await,
        Err(Rejection::TooMany { .. })
    ));
    world.identify(&basic("alice", "hunter2"), 11).await.unwrap();
    world.identify(&basic("bob", "correct horse"), 200).await.unwrap();
}

#[tokio::test]
async fn forged_tokens_count_as_failures_and_expired_ones_do_not() {
    let world = world();
    let reply = world.token(Some(&basic("alice", "hunter2")), get(""), 0).await.unwrap();
    for _ in 0..20 {
        let expired = world.identify(&bearer(&reply), 1000).await.unwrap_err();
        assert_eq!(expired, Rejection::Token("it has expired"));
    }
    let forged = format!("{}AAAA", bearer(&reply));
    for _ in 0..5 {
        assert!(matches!(world.identify(&forged, 1000).await, Err(Rejection::Token(_))));
    }
    assert!(matches!(world.identify(&forged, 1000).await, Err(Rejection::TooMany { .. })));
    // A good token is not slowed down by what others do behind the same address.
    let fresh = world.token(None, get("scope=repository:public/a:pull"), 1000).await.unwrap();
    assert!(world.identify(&bearer(&fresh), 1000).await.is_ok());
}

#[tokio::test]
async fn tokens_narrow_what_the_policy_gives() {
    let world = world();
    let query = "service=shoal&scope=repository:team/a:pull,push,delete&scope=repository:other:pull&scope=registry:catalog:*";
    let reply = world.token(Some(&basic("alice", "hunter2")), get(query), 0).await.unwrap();
    assert_eq!(reply["token"], reply["access_token"]);
    assert_eq!(reply["expires_in"], 300);
    assert_eq!(reply["issued_at"], "2023-11-14T22:13:20Z");
    assert_eq!(reply["scope"], "repository:team/a:pull,push registry:catalog:*");
    assert!(reply.get("refresh_token").is_none());
    let alice = world.identify(&bearer(&reply), 1).await.unwrap();
    assert_eq!(alice.origin, Origin::Token);
    let decide = |action, name: &str| world.guard.decide(&alice, action, &name.parse().unwrap());
    assert_eq!(decide(Action::Overwrite, "team/a"), Decision::Allowed);
    assert_eq!(decide(Action::Delete, "team/a"), Decision::Refused);
    assert_eq!(decide(Action::Pull, "team/b"), Decision::OutOfScope);
    assert_eq!(decide(Action::Pull, "other"), Decision::Refused);
    assert_eq!(world.guard.may_list(&alice), Decision::Allowed);
    // What the policy takes away is gone at once, whatever the token says.
    world.guard.set_policy(Policy::default());
    assert_eq!(decide(Action::Pull, "team/a"), Decision::Refused);
}

#[tokio::test]
async fn anonymous_tokens_only_where_somebody_may_do_something_without_a_name() {
    let world = world();
    let query = get("scope=repository:public/a:pull,push&scope=repository:team/a:pull");
    let reply = world.token(None, query, 0).await.unwrap();
    assert_eq!(reply["scope"], "repository:public/a:pull");
    let nobody = world.identify(&bearer(&reply), 0).await.unwrap();
    assert!(nobody.is_anonymous() && nobody.origin == Origin::Token);
    world.guard.set_policy(Policy::new(&[rule("authenticated", "**", &["pull"])], &[]).unwrap());
    assert_eq!(world.token(None, get(""), 0).await.unwrap_err(), Rejection::Missing);
}

#[tokio::test]
async fn refresh_tokens_end_with_the_password() {
    let world = world();
    let header = basic("alice", "hunter2");
    let reply = world.token(Some(&header), get("offline_token=true"), 0).await.unwrap();
    let refresh = reply["refresh_token"].as_str().unwrap().to_owned();
    let form = format!(
        "grant_type=refresh_token&service=shoal&scope=repository:team/a:pull&refresh_token={refresh}"
    );
    let renew = || TokenRequest::from_form(&form).unwrap();
    let renewed = world.token(None, renew(), 80_000).await.unwrap();
    assert_eq!(
        (&renewed["scope"], &renewed["refresh_token"]),
        (&"repository:team/a:pull".into(), &refresh.as_str().into())
    );
    // It is no access token, and an access token gets no other.
    assert!(world.identify(&format!("Bearer {refresh}"), 1).await.is_err());
    assert!(world.token(Some(&bearer(&renewed)), get(""), 80_000).await.is_err());
    world.write_accounts(&(line("alice", "another") + &line("bob", "x")));
    world.guard.reload().unwrap();
    assert!(matches!(world.token(None, renew(), 80_000).await, Err(Rejection::Token(_))));
    world.write_accounts(&line("bob", "x"));
    world.guard.reload().unwrap();
    assert!(matches!(world.token(None, renew(), 80_000).await, Err(Rejection::Token(_))));
    assert_eq!(
        world.identify(&bearer(&renewed), 80_001).await.unwrap_err(),
        Rejection::Token("its account is gone")
    );
}

#[tokio::test]
async fn tokens_of_external_issuers_in_every_way_that_ci_systems_send_them() {
    let world = world();
    let theirs = world.ci.sign(&good_claims(START));
    for header in [format!("Bearer {theirs}"), basic("oidc", &theirs)] {
        let ci = world.identify(&header, 0).await.unwrap();
        assert_eq!((ci.name.as_str(), ci.origin), ("ci:repo:acme/app", Origin::Oidc));
        let reply = world
            .token(Some(&header), get("offline_token=true&scope=repository:ci/a:push"), 0)
            .await
            .unwrap();
        assert_eq!(reply["scope"], "repository:ci/a:push");
        assert!(reply.get("refresh_token").is_none(), "nobody could take it back");
    }
    let form = format!(
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&scope=repository:ci/a:pull&subject_token={theirs}"
    );
    let reply = world.token(None, TokenRequest::from_form(&form).unwrap(), 0).await.unwrap();
    let ci = world.identify(&bearer(&reply), 0).await.unwrap();
    assert!(world.guard.may(&ci, Action::Pull, &"ci/a".parse().unwrap()));
    // Ours is not theirs.
    let form = form.replace(&theirs, reply["token"].as_str().unwrap());
    assert!(world.token(None, TokenRequest::from_form(&form).unwrap(), 0).await.is_err());
}

#[tokio::test]
async fn certificates_name_somebody_unless_a_header_does() {
    let world = world();
    let names = CertificateNames { dns: vec!["node.example".to_owned()], ..CertificateNames::default() };
    let with = |authorization| Credentials { authorization, certificate: Some(&names), address: HERE };
    let node = world.guard.identify(&with(None), at(0)).await.unwrap();
    assert_eq!((node.name.as_str(), node.origin), ("node.example", Origin::Certificate));
    assert!(world.guard.may(&node, Action::Pull, &"nodes/a".parse().unwrap()));
    let header = basic("bob", "correct horse");
    let bob = world.guard.identify(&with(Some(&header)), at(0)).await.unwrap();
    assert_eq!(bob.name, "bob");
    let wrong = basic("bob", "x");
    assert!(world.guard.identify(&with(Some(&wrong)), at(0)).await.is_err());
    let query = get("scope=repository:nodes/a:pull");
    let reply = world.guard.token(query, &with(None), at(0)).await.unwrap();
    assert_eq!(reply.scopes, [Scope::parse("repository:nodes/a:pull").unwrap()]);
    let nameless = CertificateNames::default();
    let credentials = Credentials { authorization: None, certificate: Some(&nameless), address: HERE };
    assert!(world.guard.identify(&credentials, at(0)).await.unwrap().is_anonymous());
}

#[tokio::test]
async fn a_half_written_password_file_keeps_the_old_one() {
    let world = world();
    let whole = line("alice", "changed") + &line("carol", "new");
    let alice = basic("alice", "hunter2");
    world.identify(&alice, 0).await.unwrap();
    for cut in [whole.len() - 10, whole.len() - 50, 30] {
        world.write_accounts(&whole[..cut]);
        let error = world.guard.reload().unwrap_err().remove(0).to_string();
        assert!(error.contains("line") && !error.contains("$2"), "{error}");
        world.identify(&alice, 0).await.unwrap();
    }
    world.write_accounts(&whole);
    world.guard.reload().unwrap();
    assert_eq!(world.identify(&alice, 0).await.unwrap_err(), Rejection::Password);
    world.identify(&basic("carol", "new"), 0).await.unwrap();
}

#[tokio::test]
async fn changed_files_are_read_again_once_they_have_settled() {
    let world = world();
    world.write_accounts(&line("carol", "new"));
    world.guard.reload_changed();
    assert!(world.identify(&basic("carol", "new"), 0).await.is_err());
    world.guard.reload_changed();
    world.identify(&basic("carol", "new"), 0).await.unwrap();
}

#[test]
fn challenges() {
    let world = world();
    let scopes =
        [Scope::parse("repository:a:pull,push").unwrap(), Scope::parse("repository:b:pull").unwrap()];
    assert_eq!(
        world.guard.challenge(&scopes, "https://r.example", None),
        r#"Bearer realm="https://r.example/token",service="shoal",scope="repository:a:pull,push repository:b:pull""#
    );
    let expired = world.guard.challenge(&[], "http://r", Some(&Rejection::Token("x")));
    assert_eq!(expired, r#"Bearer realm="http://r/token",service="shoal",error="invalid_token""#);
    assert!(world.guard.scope_challenge(&scopes, "").ends_with(r#",error="insufficient_scope""#));
    let without = Guard::new(Settings::default(), None).unwrap();
    assert_eq!(without.challenge(&scopes, "", None), r#"Basic realm="shoal", charset="UTF-8""#);
}

#[test]
fn every_broken_file_is_named_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let htpasswd = directory.path().join("htpasswd");
    std::fs::write(&htpasswd, "alice:{SHA}x\n").unwrap();
    let jwks = directory.path().join("jwks");
    let settings = Settings {
        htpasswd: Some(htpasswd),
        oidc: vec![crate::OidcSettings { keys: crate::KeyLocation::File(jwks), ..oidc_settings() }],
        ..Settings::default()
    };
    let errors: Vec<String> =
        Guard::new(settings, None).unwrap_err().iter().map(ToString::to_string).collect();
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors[0].contains("line 1: SHA-1") && errors[1].contains("jwks"), "{errors:?}");
}

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_secret_is_logged_or_shown() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let world = world();
    let header = basic("alice", "hunter2");
    let theirs = world.ci.sign(&good_claims(START));
    let reply = world.token(Some(&header), get("offline_token=true"), 0).await.unwrap();
    let _ = world.identify(&basic("alice", "hunter2-wrong"), 0).await;
    let _ = world.identify(&format!("Bearer {theirs}"), 0).await.unwrap();
    let _ = world.identify(&format!("{}A", bearer(&reply)), 0).await;
    world.write_accounts("alice:hunter2\n");
    world.guard.reload_changed();
    world.guard.reload_changed();
    let denial = Denial {
        principal: None,
        address: HERE,
        action: "login",
        repository: None,
        reference: None,
        reason: "wrong_password",
    };
    world.guard.report(&denial);
    let inner = world.guard.0.as_ref().unwrap();
    let credentials = Credentials { authorization: Some(&header), certificate: None, address: HERE };
    let shown =
        format!("{:?} {credentials:?} {:?} {:?}", world.guard, inner.live().accounts, inner.live().issuer);
    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(logged.contains("stay as they were") && logged.contains("wrong_password"), "{logged}");
    let tokens = [&reply["token"], &reply["refresh_token"]].map(|token| token.as_str().unwrap().to_owned());
    for secret in ["hunter2", "$2b$", &theirs, &tokens[0], &tokens[1], &header] {
        assert!(!logged.contains(secret) && !shown.contains(secret), "{secret}");
    }
}
