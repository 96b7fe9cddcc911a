//! External issuers, played by a key and a map of documents.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;

use super::*;

pub(crate) const ISSUER: &str = "https://ci.example";
const START: u64 = 1_700_000_000;

fn at(seconds: u64) -> SystemTime {
    claims::time(START + seconds)
}

/// A key of an issuer.
pub(crate) struct TheirKey {
    kid: &'static str,
    signing: EncodingKey,
    pub(crate) jwk: Value,
}

impl TheirKey {
    pub(crate) fn new(kid: &'static str) -> Self {
        let pair = Ed25519KeyPair::generate().unwrap();
        let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "use": "sig", "alg": "EdDSA", "x": x });
        Self { kid, signing: EncodingKey::from_ed_der(pair.to_pkcs8v1().unwrap().as_ref()), jwk }
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(self.kid.to_owned());
        jsonwebtoken::encode(&header, claims, &self.signing).unwrap()
    }
}

/// Documents by URL, and how often one was asked for.
#[derive(Default)]
pub(crate) struct Documents {
    pub(crate) by_url: Mutex<HashMap<String, Value>>,
    asked: AtomicUsize,
}

impl Documents {
    pub(crate) fn publish(&self, keys: &[&TheirKey]) {
        let set = json!({ "keys": keys.iter().map(|key| key.jwk.clone()).collect::<Vec<_>>() });
        let discovery = json!({ "issuer": ISSUER, "jwks_uri": "https://ci.example/keys" });
        let mut documents = self.by_url.lock().unwrap();
        documents.insert("https://ci.example/keys".to_owned(), set);
        documents.insert("https://ci.example/.well-known/openid-configuration".to_owned(), discovery);
    }
}

#[async_trait]
impl KeySource for Documents {
    async fn document(&self, url: &str) -> Result<Vec<u8>, String> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        tokio::task::yield_now().await;
        let documents = self.by_url.lock().unwrap();
        documents
            .get(url)
            .map(|document| document.to_string().into_bytes())
            .ok_or("no route to host".to_owned())
    }
}

pub(crate) fn settings() -> OidcSettings {
    OidcSettings {
        name: "ci".to_owned(),
        issuer: ISSUER.to_owned(),
        audiences: vec!["registry".to_owned()],
        keys: KeyLocation::Discovery,
        username_claim: "sub".to_owned(),
        groups_claim: Some("teams".to_owned()),
        required_claims: BTreeMap::from([("repository_owner".to_owned(), vec!["acme".to_owned()])]),
        prefix: "ci:".to_owned(),
    }
}

pub(crate) fn good_claims(now: u64) -> Value {
    json!({ "iss": ISSUER, "aud": "registry", "sub": "repo:acme/app", "repository_owner": "acme",
        "teams": ["build", 7], "exp": now + 300, "iat": now })
}

fn open(documents: &Arc<Documents>) -> External {
    External::open(settings(), Some(Arc::clone(documents) as Arc<dyn KeySource>)).unwrap()
}

#[tokio::test]
async fn a_token_of_a_known_issuer_names_somebody_under_its_prefix() {
    let (documents, key) = (Arc::new(Documents::default()), TheirKey::new("k1"));
    documents.publish(&[&key]);
    let external = open(&documents);
    let (principal, _) = external.verify(&key.sign(&good_claims(START)), at(1)).await.unwrap();
    assert_eq!(principal.name, "ci:repo:acme/app");
    assert_eq!(principal.groups, ["ci:build", "ci:7"]);
    assert_eq!(principal.origin.as_str(), "oidc");
}

#[tokio::test]
async fn tokens_for_others_or_without_what_is_required_are_refused() {
    let (documents, key) = (Arc::new(Documents::default()), TheirKey::new("k1"));
    documents.publish(&[&key]);
    let external = open(&documents);
    for (claim, value) in [
        ("aud", json!("other")),
        ("aud", json!(null)),
        ("repository_owner", json!("evil")),
        ("repository_owner", json!(["evil"])),
        ("repository_owner", json!(null)),
        ("sub", json!("")),
        ("sub", json!("a\nb")),
        ("sub", json!("a".repeat(257))),
        ("sub", json!(null)),
        ("iss", json!("https://other.example")),
        ("exp", json!(START - 600)),
        ("nbf", json!(START + 600)),
    ] {
        let mut claims = good_claims(START);
        claims[claim] = value.clone();
        assert!(external.verify(&key.sign(&claims), at(1)).await.is_err(), "{claim} = {value}");
    }
    let stranger = TheirKey::new("k1");
    let rejected = external.verify(&stranger.sign(&good_claims(START)), at(1)).await.unwrap_err();
    assert_eq!(rejected, Rejection::Token("its signature is wrong"));
}

#[tokio::test]
async fn an_unknown_key_makes_the_issuer_be_asked_and_not_too_often() {
    let documents = Arc::new(Documents::default());
    let (first, second) = (TheirKey::new("k1"), TheirKey::new("k2"));
    documents.publish(&[&first]);
    let external = open(&documents);
    external.verify(&first.sign(&good_claims(START)), at(0)).await.unwrap();
    let asked = || documents.asked.load(Ordering::Relaxed);
    assert_eq!(asked(), 2);
    for _ in 0..50 {
        let invented = TheirKey::new("invented").sign(&good_claims(START));
        assert!(external.verify(&invented, at(1)).await.is_err());
    }
    assert_eq!(asked(), 2, "the issuer is left in peace");
    documents.publish(&[&first, &second]);
    external.verify(&second.sign(&good_claims(START)), at(31)).await.unwrap();
    assert_eq!(asked(), 4);
}

#[tokio::test]
async fn many_at_once_ask_once() {
    let (documents, key) = (Arc::new(Documents::default()), TheirKey::new("k1"));
    documents.publish(&[&key]);
    let external = Arc::new(open(&documents));
    let token = key.sign(&good_claims(START));
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let (external, token) = (Arc::clone(&external), token.clone());
            tokio::spawn(async move { external.verify(&token, at(1)).await })
        })
        .collect();
    for task in tasks {
        assert!(task.await.unwrap().is_ok());
    }
    assert_eq!(documents.asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn keys_stay_good_while_the_issuer_is_away_and_old_ones_go_when_it_is_back() {
    let documents = Arc::new(Documents::default());
    let (old, new) = (TheirKey::new("k1"), TheirKey::new("k2"));
    let external = open(&documents);
    // Away from the beginning: not the client's fault.
    let token = old.sign(&good_claims(START));
    assert!(matches!(external.verify(&token, at(0)).await, Err(Rejection::Unavailable(_))));
    documents.publish(&[&old]);
    external.verify(&token, at(40)).await.unwrap();
    documents.by_url.lock().unwrap().clear();
    let later = 2 * 3600;
    external.verify(&old.sign(&good_claims(START + later)), at(later)).await.unwrap();
    documents.publish(&[&new]);
    let later = later + 60;
    let withdrawn = external.verify(&old.sign(&good_claims(START + later)), at(later)).await.unwrap_err();
    assert_eq!(withdrawn, Rejection::Token("its key is not known"));
}

#[tokio::test]
async fn symmetric_keys_and_documents_of_others_are_not_taken() {
    let documents = Arc::new(Documents::default());
    let secret = json!({ "keys": [{ "kty": "oct", "kid": "k1", "alg": "HS256", "k": "c2VjcmV0" }] });
    documents.publish(&[]);
    documents.by_url.lock().unwrap().insert("https://ci.example/keys".to_owned(), secret);
    let external = open(&documents);
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some("k1".to_owned());
    let forged =
        jsonwebtoken::encode(&header, &good_claims(START), &EncodingKey::from_secret(b"secret")).unwrap();
    assert!(external.verify(&forged, at(0)).await.is_err());
    for discovery in [
        json!({ "issuer": "https://evil.example", "jwks_uri": "https://ci.example/keys" }),
        json!({ "issuer": ISSUER, "jwks_uri": "http://ci.example/keys" }),
        json!({ "issuer": ISSUER }),
        json!([]),
    ] {
        let key = TheirKey::new("k1");
        let documents = Arc::new(Documents::default());
        documents.publish(&[&key]);
        let url = "https://ci.example/.well-known/openid-configuration".to_owned();
        documents.by_url.lock().unwrap().insert(url, discovery.clone());
        let outcome = open(&documents).verify(&key.sign(&good_claims(START)), at(0)).await;
        assert!(matches!(outcome, Err(Rejection::Unavailable(_))), "{discovery}");
    }
}

#[tokio::test]
async fn keys_from_a_file_are_read_again_and_a_broken_file_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jwks.json");
    let (old, new) = (TheirKey::new("k1"), TheirKey::new("k2"));
    let write = |text: String| std::fs::write(&path, text).unwrap();
    write(json!({ "keys": [old.jwk, { "kty": "unheard-of" }, 7] }).to_string());
    let external =
        External::open(OidcSettings { keys: KeyLocation::File(path.clone()), ..settings() }, None).unwrap();
    external.verify(&old.sign(&good_claims(START)), at(0)).await.unwrap();
    for broken in ["", "{", "{\"keys\": []}", "{\"keys\": [{\"kty\": \"OKP\"}]}"] {
        write(broken.to_owned());
        assert!(external.reload().is_err(), "{broken}");
        external.verify(&old.sign(&good_claims(START)), at(0)).await.unwrap();
    }
    write(json!({ "keys": [new.jwk] }).to_string());
    external.reload().unwrap();
    external.verify(&new.sign(&good_claims(START)), at(0)).await.unwrap();
    assert!(external.verify(&old.sign(&good_claims(START)), at(0)).await.is_err());
}

#[test]
fn an_issuer_without_an_audience_is_refused() {
    let refused = External::open(OidcSettings { audiences: Vec::new(), ..settings() }, None);
    assert!(refused.err().unwrap().to_string().contains("audience"));
    assert!(External::open(settings(), None).err().unwrap().to_string().contains("fetched"));
}
