//! What the ring promises: even shares, minimal movement, one answer everywhere.

use std::collections::BTreeMap;

use super::*;

fn member(id: &str, weight: u32) -> Member {
    Member { id: id.parse().unwrap(), weight: Weight::new(weight).unwrap(), addresses: Addresses::default() }
}

fn ring(members: &[(&str, u32)]) -> Ring {
    Ring::new(members.iter().map(|(id, weight)| member(id, *weight)).collect(), 1)
}

/// Enough for shares to lie within about 1 % of their expectation.
const SAMPLE: u32 = 20_000;

fn digests() -> impl Iterator<Item = Digest> {
    (0..SAMPLE).map(|number| Digest::sha256(&number.to_be_bytes()))
}

fn shares(ring: &Ring) -> BTreeMap<String, f64> {
    let mut counts = BTreeMap::new();
    for digest in digests() {
        *counts.entry(ring.owners(&digest, 1)[0].id.to_string()).or_insert(0.0) += 1.0 / f64::from(SAMPLE);
    }
    counts
}

fn assert_about(share: f64, want: f64) {
    assert!((share - want).abs() < 0.015, "share {share}, wanted {want}");
}

#[test]
fn scores_match_the_published_vector() {
    let empty = Digest::sha256(b"");
    let long = Digest::of(shoal_oci::Algorithm::Sha512, b"");
    let score_of =
        |digest, id: &str, weight| score(digest, &id.parse().unwrap(), Weight::new(weight).unwrap());
    for (got, want) in [
        (score_of(&empty, "a", 100), VECTOR[0]),
        (score_of(&empty, "origin-0.shoal:15002", 100), VECTOR[1]),
        (score_of(&empty, "a", 250), VECTOR[0] * 2.5),
        (score_of(&long, "a", 1), VECTOR[2]),
    ] {
        assert!((got - want).abs() < 1e-9 * want, "{got} is not {want}");
    }
}

/// Owners are computed by every process for itself: a change here moves blobs in every running cluster. The numbers were
/// computed by another implementation of XXH3 (python-xxhash 4.1).
const VECTOR: [f64; 3] = [12_863.083_786_786_228, 1_583.346_442_800_665_3, 0.427_382_248_988_450_06];

#[test]
fn equal_weights_share_equally() {
    for share in shares(&ring(&[("a", 100), ("b", 100), ("c", 100), ("d", 100)])).into_values() {
        assert_about(share, 0.25);
    }
}

#[test]
fn shares_follow_weights() {
    let shares = shares(&ring(&[("a", 100), ("b", 200), ("c", 100)]));
    assert_about(shares["a"], 0.25);
    assert_about(shares["b"], 0.5);
}

#[test]
fn adding_a_fourth_member_moves_a_quarter_and_only_to_it() {
    let before = ring(&[("a", 100), ("b", 100), ("c", 100)]);
    let after = ring(&[("a", 100), ("b", 100), ("c", 100), ("d", 100)]);
    let moved: Vec<_> = moves(&before, &after, 1, digests()).collect();
    assert!(moved.iter().all(|one| one.gained.len() == 1 && one.gained[0].as_str() == "d"));
    assert_about(moved.len() as f64 / f64::from(SAMPLE), 0.25);
    // And back: leaving moves exactly what was gained.
    assert_eq!(moves(&after, &before, 1, digests()).count(), moved.len());
}

#[test]
fn with_replicas_a_new_member_displaces_one_owner_at_most() {
    let before = ring(&[("a", 100), ("b", 100), ("c", 100), ("d", 100)]);
    let after = ring(&[("a", 100), ("b", 100), ("c", 100), ("d", 100), ("e", 100)]);
    let mut moved = 0;
    for one in moves(&before, &after, 3, digests()) {
        assert_eq!((one.gained.len(), one.lost.len()), (1, 1));
        moved += 1;
    }
    assert_about(f64::from(moved) / f64::from(SAMPLE), 0.6);
}

#[test]
fn more_weight_moves_digests_only_towards_the_member() {
    let (before, after) = (ring(&[("a", 100), ("b", 100)]), ring(&[("a", 100), ("b", 300)]));
    let moved: Vec<_> = moves(&before, &after, 1, digests()).collect();
    assert!(moved.iter().all(|one| one.gained[0].as_str() == "b" && one.lost[0].as_str() == "a"));
    assert_about(moved.len() as f64 / f64::from(SAMPLE), 0.25);
}

#[test]
fn addresses_and_order_of_members_do_not_matter() {
    let mut moved = member("b", 100);
    moved.addresses.origin = "10.0.0.9:15002".to_owned();
    let (one, other) = (ring(&[("a", 100), ("b", 100)]), Ring::new(vec![moved, member("a", 100)], 2));
    assert_eq!(moves(&one, &other, 1, digests()).count(), 0);
}

#[test]
fn never_without_an_owner_while_there_is_a_member() {
    let digest = Digest::sha256(b"x");
    assert!(Ring::default().owners(&digest, 3).is_empty());
    let one = ring(&[("a", 1)]);
    assert_eq!(one.owners(&digest, 0).len(), 1);
    assert_eq!(one.owners(&digest, 3).len(), 1);
    assert!(one.is_owner(&"a".parse().unwrap(), &digest, 3));
    let three = ring(&[("a", 1), ("b", u32::MAX), ("c", 1)]);
    let owners = three.owners(&digest, 2);
    assert_eq!(owners.len(), 2);
    assert_ne!(owners[0].id, owners[1].id);
}

#[test]
fn a_doubled_id_counts_once() {
    let ring = ring(&[("a", 100), ("a", 900), ("b", 100)]);
    assert_eq!(ring.members().len(), 2);
    assert_eq!(ring.member(&"a".parse().unwrap()).unwrap().weight, Weight::default());
    assert_eq!(ring.member(&"z".parse().unwrap()), None);
}

#[test]
fn member_ids_are_harmless_text() {
    for good in ["a", "origin-0.shoal.svc:15002", "A_b"] {
        assert!(good.parse::<MemberId>().is_ok(), "{good}");
    }
    for bad in ["", "a b", "a/b", "ä", "a\n", &"a".repeat(MEMBER_ID_LEN)] {
        assert!(bad.parse::<MemberId>().is_err(), "{bad}");
    }
    assert_eq!(Weight::new(0), None);
}

const MEMBER_ID_LEN: usize = member::MEMBER_ID_LEN_MAX + 1;
