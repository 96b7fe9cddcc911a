//! Our tokens, and those that somebody else made to look like them.

use std::path::Path;

use jsonwebtoken::{Algorithm, EncodingKey};
use tempfile::TempDir;

use super::*;

const START: u64 = 1_700_000_000;

fn at(seconds: i64) -> SystemTime {
    claims::time(START.checked_add_signed(seconds).unwrap())
}

fn settings(key_file: &Path) -> TokenSettings {
    TokenSettings {
        service: "shoal".to_owned(),
        issuer: "https://registry.example".to_owned(),
        realm: None,
        key_file: key_file.to_owned(),
        verification_keys: Vec::new(),
        lifetime: Duration::from_secs(300),
        refresh_lifetime: Duration::from_secs(86_400),
    }
}

fn issuer() -> (Issuer, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    (Issuer::open(settings(&directory.path().join("key.pem"))).unwrap(), directory)
}

fn alice() -> Principal {
    Principal::account("alice", vec!["team".to_owned()])
}

fn good_claims() -> Value {
    json!({ "iss": "https://registry.example", "aud": "shoal", "sub": "alice", "source": "account",
        "access": [], "exp": START + 300, "nbf": START, "iat": START })
}

fn encoded(header: &Value, claims: &Value, signature: &[u8]) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{}", part(header), part(claims), URL_SAFE_NO_PAD.encode(signature))
}

#[test]
fn what_goes_in_comes_out_and_nothing_after_its_time() {
    let (issuer, _directory) = issuer();
    let scopes = [Scope::parse("repository:a/b:pull,push").unwrap()];
    let token = issuer.access(&alice(), &scopes, at(0)).unwrap();
    let (principal, until) = issuer.verify(&token, at(1)).unwrap();
    assert_eq!((principal.name.as_str(), principal.origin), ("alice", Origin::Token));
    assert_eq!(principal.groups, ["team"]);
    assert_eq!(principal.scopes().unwrap(), scopes);
    assert_eq!(until, at(360));
    assert_eq!(issuer.verify(&token, at(359)).unwrap().0.name, "alice");
    assert_eq!(issuer.verify(&token, at(360)).unwrap_err(), Rejection::Token("it has expired"));
    assert!(issuer.verify(&token, at(-61)).is_err());
}

#[test]
fn the_access_claim_has_the_form_of_docker() {
    let (issuer, _directory) = issuer();
    let token = issuer.access(&alice(), &[Scope::parse("repository:a:pull").unwrap()], at(0)).unwrap();
    let claims = claims::unverified(&token).unwrap();
    assert_eq!(claims["access"], json!([{ "type": "repository", "name": "a", "actions": ["pull"] }]));
    assert_eq!((&claims["aud"], &claims["exp"]), (&json!("shoal"), &json!(START + 300)));
    assert!(claims["jti"].as_str().is_some_and(|id| id.len() == 22));
}

#[test]
fn tokens_without_a_signature_of_ours_are_refused() {
    let (issuer, _directory) = issuer();
    let kid = issuer.signing.verifying.kid.clone();
    let claims = good_claims();
    for alg in ["none", "None", "NONE", ""] {
        let forged = encoded(&json!({ "alg": alg, "kid": kid, "typ": "JWT" }), &claims, b"");
        assert!(issuer.verify(&forged, at(1)).is_err(), "{alg}");
    }
    // HS256 with the public key as the secret, in every form that it has.
    let public = issuer.signing.verifying.key.try_get_as_bytes().unwrap().to_vec();
    for secret in [public.clone(), URL_SAFE_NO_PAD.encode(&public).into_bytes()] {
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some(kid.clone());
        let forged = jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(&secret)).unwrap();
        assert_eq!(
            issuer.verify(&forged, at(1)).unwrap_err(),
            Rejection::Token("its algorithm is not that of its key")
        );
    }
    // Another key under our key's name.
    let (other, _other) = self::issuer();
    let mut header = Header::new(Algorithm::EdDSA);
    header.kid = Some(kid);
    let forged = jsonwebtoken::encode(&header, &claims, &other.signing.key).unwrap();
    assert_eq!(issuer.verify(&forged, at(1)).unwrap_err(), Rejection::Token("its signature is wrong"));
    // A key that comes with the token.
    let theirs = other.access(&alice(), &[], at(0)).unwrap();
    assert_eq!(issuer.verify(&theirs, at(1)).unwrap_err(), Rejection::Token("its key is not known"));
    let real = issuer.access(&alice(), &[], at(0)).unwrap();
    let (head, rest) = real.split_once('.').unwrap();
    let (_, signature) = rest.split_once('.').unwrap();
    let swapped = format!("{head}.{}.{signature}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    assert!(issuer.verify(&swapped, at(1)).is_err());
    for garbage in ["", ".", "..", "a.b.c", "a.b.c.d", &real[..real.len() - 3], &format!("{real}.x")] {
        assert!(issuer.verify(garbage, at(1)).is_err(), "{garbage}");
    }
}

#[test]
fn claims_that_are_not_ours_are_refused_though_signed_by_us() {
    let (issuer, _directory) = issuer();
    let mut header = Header::new(Algorithm::EdDSA);
    header.kid = Some(issuer.signing.verifying.kid.clone());
    let sign = |claims: &Value| jsonwebtoken::encode(&header, claims, &issuer.signing.key).unwrap();
    assert!(issuer.verify(&sign(&good_claims()), at(1)).is_ok());
    for (claim, value) in [
        ("iss", json!("https://other.example")),
        ("aud", json!("other")),
        ("aud", json!("shoal refresh")),
        ("exp", json!(null)),
        ("exp", json!(START - 600)),
        ("nbf", json!(START + 600)),
        ("iat", json!(START + 600)),
        ("sub", json!(7)),
        ("source", json!("root")),
        ("source", json!(null)),
        ("groups", json!("admin")),
        ("access", json!("repository:a:pull")),
        ("access", json!([{ "type": "repository" }])),
    ] {
        let mut claims = good_claims();
        claims[claim] = value.clone();
        assert!(issuer.verify(&sign(&claims), at(1)).is_err(), "{claim} = {value}");
    }
    let mut critical = header.clone();
    critical.crit = Some(vec!["exp".to_owned()]);
    let token = jsonwebtoken::encode(&critical, &good_claims(), &issuer.signing.key).unwrap();
    assert!(issuer.verify(&token, at(1)).is_err());
}

#[test]
fn a_token_of_a_mebibyte_is_refused_unread() {
    let (issuer, _directory) = issuer();
    let token = "a".repeat(1 << 20);
    assert_eq!(issuer.verify(&token, at(0)).unwrap_err(), Rejection::Token("it is too long"));
}

#[test]
fn keys_rotate_without_a_token_refused() {
    let (old, directory) = issuer();
    let old_key = directory.path().join("key.pem");
    let under_old = old.access(&alice(), &[], at(0)).unwrap();
    // First the new key is accepted everywhere, then it signs.
    let new_key = directory.path().join("new.pem");
    drop(Issuer::open(settings(&new_key)).unwrap());
    let accepting =
        Issuer::open(TokenSettings { verification_keys: vec![new_key.clone()], ..settings(&old_key) })
            .unwrap();
    let signing =
        Issuer::open(TokenSettings { verification_keys: vec![old_key], ..settings(&new_key) }).unwrap();
    let under_new = signing.access(&alice(), &[], at(0)).unwrap();
    for issuer in [&accepting, &signing] {
        assert!(issuer.verify(&under_old, at(1)).is_ok() && issuer.verify(&under_new, at(1)).is_ok());
    }
    // In the end the old key goes, and what it signed goes with it.
    let alone = Issuer::open(settings(&new_key)).unwrap();
    assert!(alone.verify(&under_new, at(1)).is_ok() && alone.verify(&under_old, at(1)).is_err());
}

#[test]
fn p256_keys_sign_as_well() {
    use aws_lc_rs::encoding::AsDer;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key.pem");
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let der = pair.to_pkcs8v1().unwrap();
    let body = base64::engine::general_purpose::STANDARD.encode(der.as_ref());
    std::fs::write(&path, format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n"))
        .unwrap();
    let issuer = Issuer::open(settings(&path)).unwrap();
    let token = issuer.access(&alice(), &[], at(0)).unwrap();
    assert_eq!(jsonwebtoken::decode_header(&token).unwrap().alg, Algorithm::ES256);
    assert!(issuer.verify(&token, at(1)).is_ok());
    let public: aws_lc_rs::encoding::PublicKeyX509Der<'_> =
        aws_lc_rs::signature::KeyPair::public_key(&pair).as_der().unwrap();
    let body = base64::engine::general_purpose::STANDARD.encode(public.as_ref());
    let public_path = directory.path().join("public.pem");
    std::fs::write(&public_path, format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n"))
        .unwrap();
    let key = VerifyingKey::read(&public_path).unwrap();
    assert_eq!((&key.kid, key.algorithm), (&issuer.signing.verifying.kid, Algorithm::ES256));
}

#[test]
fn refresh_tokens_are_for_refreshing_and_access_tokens_are_not() {
    let (issuer, _directory) = issuer();
    let stored = Hash::decoy();
    let refresh = issuer.refresh("alice", &stored, at(0)).unwrap();
    let opened = issuer.verify_refresh(&refresh, at(80_000)).unwrap();
    assert_eq!((opened.name.as_str(), opened.stamp), ("alice", stamp(&stored)));
    assert!(issuer.verify_refresh(&refresh, at(86_500)).is_err());
    assert!(issuer.verify(&refresh, at(1)).is_err());
    let access = issuer.access(&alice(), &[], at(0)).unwrap();
    assert!(issuer.verify_refresh(&access, at(1)).is_err());
    let claims = claims::unverified(&refresh).unwrap();
    assert!(!Value::Object(claims).to_string().contains(stored.reveal()));
}
