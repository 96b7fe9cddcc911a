//! The score of one member for one digest; the highest scores own it.
//!
//! `-w / ln(h)` with h uniform in (0, 1) is the weighted form of rendezvous hashing (Schindelhauer and Schomaker, "Weighted
//! distributed hash tables", SPAA 2005): the chance of having the highest score is exactly w over the sum of weights, and a
//! change of one weight moves digests only to or from that member.

use shoal_oci::Digest;
use xxhash_rust::xxh3::Xxh3;

use crate::member::{MemberId, Weight};

/// Seed of the hash: "shoalrng" in ASCII. Part of the protocol; another seed is another ring.
const SEED: u64 = 0x7368_6f61_6c72_6e67;

/// The score of a member for a digest: positive and finite.
///
/// h is XXH3-64 with the seed above of the digest's raw bytes followed by the member's id; its upper 53 bits, which are what a
/// double holds exactly, become a number in (0, 1) through `(h + 0.5) / 2^53`.
pub fn score(digest: &Digest, id: &MemberId, weight: Weight) -> f64 {
    let mut hasher = Xxh3::with_seed(SEED);
    hasher.update(digest.as_bytes());
    hasher.update(id.as_str().as_bytes());
    let uniform = ((hasher.digest() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    -f64::from(weight.get()) / uniform.ln()
}
