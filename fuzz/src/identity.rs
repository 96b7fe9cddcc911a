//! Readers of what a client says about its identity and of what it asks for.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;
use shoal_auth::{
    Action, Credentials, FailureLimits, Guard, Policy, Principal, Rule, Scope, Settings, TokenRequest,
    TokenSettings,
};
use tokio::runtime::Runtime;

/// Scopes of a token request: what is accepted grants nothing to a repository that it does not name.
pub fn scopes(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut scopes = Vec::new();
    if Scope::parse_into(text, &mut scopes).is_err() {
        return;
    }
    for scope in scopes {
        let named = scope.as_repository();
        for other in ["zqz/other", "library/nginx"].map(|name| name.parse::<shoal_oci::Repository>()) {
            let Ok(other) = other else { continue };
            if named.as_ref() != Some(&other) {
                assert!(
                    ![Action::Pull, Action::Create, Action::Delete]
                        .iter()
                        .any(|action| scope.covers(*action, &other))
                );
            }
        }
    }
}

/// What every token of this file's key is signed with. Known to everybody: it opens nothing.
const SEED: [u8; 32] = [7; 32];
/// What stands before the seed in a PKCS #8 document (RFC 8410 §7).
const PKCS8: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const NOW: u64 = 1_700_000_000;

/// A guard whose tokens can be signed here.
struct World {
    guard: Guard,
    key: Ed25519KeyPair,
    /// The first part of its own tokens.
    header: String,
    runtime: Runtime,
}

static WORLD: LazyLock<World> = LazyLock::new(|| World::new().expect("a guard with a key of its own"));

impl World {
    fn new() -> Option<Self> {
        let guard = with_file("key", pem().as_bytes(), |path| {
            let token = TokenSettings {
                service: "shoal".to_owned(),
                issuer: "shoal".to_owned(),
                realm: None,
                key_file: path.to_owned(),
                verification_keys: Vec::new(),
                lifetime: Duration::from_secs(300),
                refresh_lifetime: Duration::from_secs(86_400),
            };
            // Nobody is ever locked out, or nothing more would be tried.
            let failures =
                FailureLimits { per_address: u32::MAX, per_name: u32::MAX, ..FailureLimits::default() };
            // Who may do nothing gets no token, not even one for nobody.
            let rule = ["anonymous", "public/**", "pull"].map(|word| vec![word.to_owned()]);
            let [subjects, repositories, actions] = rule;
            let policy = Policy::new(&[Rule { subjects, repositories, actions }], &[]).ok()?;
            Guard::new(Settings { token: Some(token), failures, policy, ..Settings::default() }, None).ok()
        })?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().ok()?;
        let credentials = Credentials { authorization: None, certificate: None, address: HERE };
        let request = TokenRequest::from_query(None).ok()?;
        let reply = runtime.block_on(guard.token(request, &credentials, now())).ok()?;
        let reply: Value = serde_json::from_str(&reply.to_json()).ok()?;
        let header = reply["token"].as_str()?.split('.').next()?.to_owned();
        Some(Self { guard, key: Ed25519KeyPair::from_seed_unchecked(&SEED).ok()?, header, runtime })
    }

    fn identify(&self, authorization: &str) -> Option<Principal> {
        let credentials =
            Credentials { authorization: Some(authorization), certificate: None, address: HERE };
        self.runtime.block_on(self.guard.identify(&credentials, now())).ok()
    }
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(NOW)
}

fn pem() -> String {
    let document = STANDARD.encode([&PKCS8[..], &SEED].concat());
    format!("-----BEGIN PRIVATE KEY-----\n{document}\n-----END PRIVATE KEY-----\n")
}

/// Hands a file with these bytes to `work`.
fn with_file<T>(name: &str, bytes: &[u8], work: impl FnOnce(&Path) -> T) -> T {
    let path = std::env::temp_dir().join(format!("shoal-fuzz-{name}-{}", std::process::id()));
    std::fs::write(&path, bytes).expect("a temporary file");
    let result = work(&path);
    _ = std::fs::remove_file(&path);
    result
}

/// `Authorization` headers: where there are no accounts, none says who somebody is.
pub fn authorizations(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(principal) = WORLD.identify(text) {
        assert!(principal.is_anonymous(), "{principal:?}");
    }
}

/// Claims that our own key has signed, with our own header or, before a line break, another one: whoever is let in is who they name,
/// for as long and for whom they say.
pub fn tokens(data: &[u8]) {
    let world = &*WORLD;
    let at = data.iter().position(|byte| *byte == b'\n');
    let (head, claims) = at.map_or((&[][..], data), |at| (&data[..at], &data[at + 1..]));
    let head = if head.is_empty() { world.header.clone() } else { URL_SAFE_NO_PAD.encode(head) };
    let signed = format!("{head}.{}", URL_SAFE_NO_PAD.encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(world.key.sign(signed.as_bytes()));
    let Some(principal) = world.identify(&format!("Bearer {signed}.{signature}")) else { return };
    let claims: Value = serde_json::from_slice(claims).expect("claims that were accepted are a document");
    assert_eq!(claims["sub"].as_str(), Some(principal.name.as_str()));
    assert_eq!(claims["iss"].as_str(), Some("shoal"));
    assert!(claims["aud"].to_string().contains("\"shoal\""), "{claims}");
    assert!(claims["exp"].as_u64().is_some_and(|until| until + 60 > NOW), "{claims}");
}

/// Queries and forms of the token endpoint.
pub fn grants(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    _ = TokenRequest::from_query(Some(text)).map(|request| format!("{request:?}"));
    _ = TokenRequest::from_form(text).map(|request| format!("{request:?}"));
}

/// Password files: read, or refused with a word about it.
pub fn accounts(data: &[u8]) {
    with_file("accounts", data, |path| {
        let settings = Settings { htpasswd: Some(path.to_owned()), ..Settings::default() };
        if let Err(errors) = Guard::new(settings, None) {
            assert!(errors.iter().all(|error| !error.to_string().is_empty()) && !errors.is_empty());
        }
    });
}
