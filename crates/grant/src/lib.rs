//! Grants: the tracker's signed word that a peer may have a blob until a moment.
//!
//! The tracker asks who may pull from which repository; peers know neither repositories nor policies, and must not have to ask anybody when
//! another peer joins a swarm. So the tracker's answer carries 81 bytes that whoever has the tracker's public key can judge alone.
//!
//! ```text
//! version 1 | id of the key (8) | expires, seconds since 1970 (8, big-endian) | Ed25519 signature (64)
//! signed: "shoal-grant/1\n" | cluster key's hash (32) | peer id (20) | expires (8) | digest as text
//! ```
//!
//! Goals: a grant is good for one peer, one blob, one cluster and a bounded time; nothing but the public key is needed to judge it; keys
//! rotate without a moment in which grants in use fail. Non-goal: calling a grant back before it expires; the lifetime is the bound on how
//! long a right that was taken away can still be used towards peers. The price: one signature for each answer to a download (some
//! 20 µs), one verification for each join (some 50 µs).

mod error;
mod issuer;
mod key;
mod verifier;

pub use error::{GrantError, Refusal};
pub use issuer::{Issuer, LIFETIME, LIFETIME_MAX, LIFETIME_MIN};
pub use key::{KEYS_MAX, PublicKey};
pub use verifier::{GRACE, SKEW, Verifier};

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use shoal_oci::Digest;
use shoal_swarm_types::PeerId;

/// What stands before everything that is signed, so that the key's word for one thing is never its word for another.
const CONTEXT: &[u8] = b"shoal-grant/1\n";

/// The first byte of a grant.
const VERSION: u8 = 1;

/// Bytes of a grant.
pub const GRANT_LEN: usize = 1 + key::ID_LEN + 8 + 64;

/// What is signed.
fn signed(cluster: &[u8; 32], digest: &Digest, peer: &PeerId, expires: u64) -> Vec<u8> {
    let digest = digest.to_string();
    [CONTEXT, cluster, &peer.0, &expires.to_be_bytes(), digest.as_bytes()].concat()
}

/// Whole seconds since 1970; 0 before.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn moment(seconds: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests;
