//! Grants as they are given, stolen, forged and outlived.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;

const CLUSTER: [u8; 32] = [7; 32];
const NOW: SystemTime = UNIX_EPOCH;

fn later(seconds: u64) -> SystemTime {
    NOW + Duration::from_secs(seconds)
}

fn issuer(path: &Path, now: SystemTime) -> Issuer {
    Issuer::open(path, CLUSTER, LIFETIME, now).unwrap()
}

fn verifier(issuer: &Issuer) -> Verifier {
    Verifier::new(CLUSTER, issuer.keys().iter().copied())
}

#[test]
fn a_grant_holds_for_its_peer_blob_and_cluster_only_and_for_its_time() {
    let directory = tempfile::tempdir().unwrap();
    let issuer = issuer(&directory.path().join("auth/grant.pem"), NOW);
    let (digest, other) = (Digest::sha256(b"a"), Digest::sha256(b"b"));
    let (peer, thief) = (PeerId([1; 20]), PeerId([2; 20]));
    let grant = issuer.grant(&digest, &peer, later(100));
    assert_eq!(grant.len(), GRANT_LEN);
    let verifier = verifier(&issuer);
    let check = |digest, peer, now| verifier.check(digest, peer, &grant, false, now);
    let end = 100 + LIFETIME.as_secs() + SKEW.as_secs();
    assert_eq!(check(&digest, &peer, later(100)), Ok(Some(later(end))));
    assert_eq!(check(&digest, &peer, later(end - 1)), Ok(Some(later(end))));
    assert_eq!(check(&digest, &peer, later(end)), Err(Refusal::Expired));
    assert_eq!(check(&digest, &thief, later(100)), Err(Refusal::Signature));
    assert_eq!(check(&other, &peer, later(100)), Err(Refusal::Signature));
    let elsewhere = Verifier::new([8; 32], issuer.keys().iter().copied());
    assert_eq!(elsewhere.check(&digest, &peer, &grant, false, later(100)), Err(Refusal::Signature));
    let grace = verifier.check(&digest, &peer, &grant, true, later(end)).unwrap();
    assert_eq!(grace, Some(later(end + GRACE.as_secs())));
    let late = later(end + GRACE.as_secs());
    assert_eq!(verifier.check(&digest, &peer, &grant, true, late), Err(Refusal::Expired));
}

#[test]
fn every_changed_byte_voids_a_grant() {
    let directory = tempfile::tempdir().unwrap();
    let issuer = issuer(&directory.path().join("grant.pem"), NOW);
    let (digest, peer) = (Digest::sha256(b"a"), PeerId([1; 20]));
    let (grant, verifier) = (issuer.grant(&digest, &peer, NOW), verifier(&issuer));
    for at in 0..GRANT_LEN {
        let mut forged = grant.to_vec();
        forged[at] ^= 1;
        assert!(verifier.check(&digest, &peer, &forged, false, NOW).is_err(), "{at}");
    }
    for len in 1..GRANT_LEN {
        assert_eq!(verifier.check(&digest, &peer, &grant[..len], false, NOW), Err(Refusal::Form));
    }
    assert_eq!(verifier.check(&digest, &peer, &[0; 256], false, NOW), Err(Refusal::Form));
    assert_eq!(verifier.check(&digest, &peer, b"", false, NOW), Err(Refusal::None));
}

#[test]
fn a_strangers_key_is_not_taken_and_without_keys_everything_is() {
    let directory = tempfile::tempdir().unwrap();
    let ours = issuer(&directory.path().join("ours.pem"), NOW);
    let stranger = issuer(&directory.path().join("stranger.pem"), NOW);
    let (digest, peer) = (Digest::sha256(b"a"), PeerId([1; 20]));
    let verifier = verifier(&ours);
    let forged = stranger.grant(&digest, &peer, NOW);
    assert_eq!(verifier.check(&digest, &peer, &forged, false, NOW), Err(Refusal::Key));
    assert!(verifier.is_on() && verifier.learn([]) && !verifier.learn([]));
    assert_eq!(verifier.check(&digest, &peer, b"", false, NOW), Ok(None));
}

#[test]
fn a_former_key_is_told_until_its_grants_have_expired() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("grant.pem");
    let first = issuer(&path, NOW);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(issuer(&path, later(10)).keys(), first.keys(), "the same key at each start");
    std::fs::remove_file(&path).unwrap();
    let second = issuer(&path, later(1000));
    assert_ne!(second.keys()[0], first.keys()[0]);
    assert_eq!(second.keys()[1..], first.keys()[..1]);
    let (digest, peer) = (Digest::sha256(b"a"), PeerId([1; 20]));
    let grant = first.grant(&digest, &peer, later(999));
    assert!(verifier(&second).check(&digest, &peer, &grant, false, later(1001)).is_ok());
    assert_eq!(issuer(&path, later(1000 + LIFETIME.as_secs() - 1)).keys().len(), 2);
    assert_eq!(issuer(&path, later(1000 + LIFETIME.as_secs())).keys(), &second.keys()[..1]);
}

#[test]
fn files_that_are_no_keys_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("grant.pem");
    for (text, why) in [
        ("", "PEM"),
        ("-----BEGIN PRIVATE KEY-----\nhunter2!\n-----END PRIVATE KEY-----", "base64"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", "Ed25519"),
    ] {
        std::fs::write(&path, text).unwrap();
        let Err(error) = Issuer::open(&path, CLUSTER, LIFETIME, NOW) else { panic!("{text}") };
        let error = error.to_string();
        assert!(error.contains(why) && error.contains("grant.pem") && !error.contains("hunter2"), "{error}");
    }
    std::fs::remove_file(&path).unwrap();
    std::fs::write(path.with_extension("keys"), "not a key\n").unwrap();
    assert!(Issuer::open(&path, CLUSTER, LIFETIME, NOW).is_err());
}
