//! Whoever judges grants: every peer that has pieces.

use std::collections::BTreeSet;
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use shoal_oci::Digest;
use shoal_swarm_types::PeerId;

use crate::error::Refusal;
use crate::key::{ID_LEN, KEYS_MAX, PublicKey};
use crate::{GRANT_LEN, VERSION, moment, seconds, signed};

/// How far clocks may be apart: a grant holds so much longer.
pub const SKEW: Duration = Duration::from_secs(60);

/// How much longer grants hold while no tracker can be reached, from which new ones would come: long enough for an operator to bring it
/// back in the morning.
pub const GRACE: Duration = Duration::from_secs(24 * 60 * 60);

/// Judges grants. Without a key everything holds: rights are kept where there is a tracker that signs.
pub struct Verifier {
    cluster: [u8; 32],
    keys: RwLock<BTreeSet<PublicKey>>,
}

impl Verifier {
    /// A verifier that knows `keys`, of the cluster whose key has the hash `cluster`.
    pub fn new(cluster: [u8; 32], keys: impl IntoIterator<Item = PublicKey>) -> Self {
        Self { cluster, keys: RwLock::new(keys.into_iter().take(KEYS_MAX).collect()) }
    }

    /// Knows exactly these keys from now on, at most [`KEYS_MAX`]. True when that is something new.
    pub fn learn(&self, keys: impl IntoIterator<Item = PublicKey>) -> bool {
        let keys: BTreeSet<PublicKey> = keys.into_iter().take(KEYS_MAX).collect();
        let mut known = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let is_new = *known != keys;
        *known = keys;
        is_new
    }

    /// The keys that are known.
    pub fn keys(&self) -> BTreeSet<PublicKey> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether grants are asked for at all.
    pub fn is_on(&self) -> bool {
        !self.keys.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Until when `grant` lets `peer` have the blob `digest`; `None` for ever, where no grants are asked for. With `grace` those that
    /// expired lately hold as well.
    ///
    /// # Errors
    /// [`Refusal`] when it does not.
    pub fn check(
        &self,
        digest: &Digest,
        peer: &PeerId,
        grant: &[u8],
        grace: bool,
        now: SystemTime,
    ) -> Result<Option<SystemTime>, Refusal> {
        let known = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        if known.is_empty() {
            return Ok(None);
        }
        if grant.is_empty() {
            return Err(Refusal::None);
        }
        let (id, expires, signature) = parts(grant).ok_or(Refusal::Form)?;
        let until = expires.saturating_add((SKEW + if grace { GRACE } else { Duration::ZERO }).as_secs());
        // Before the signature, which costs more.
        if until <= seconds(now) {
            return Err(Refusal::Expired);
        }
        let key = known.iter().find(|key| key.id() == id).copied().ok_or(Refusal::Key)?;
        drop(known);
        let message = signed(&self.cluster, digest, peer, expires);
        if key.verifies(&message, signature) { Ok(Some(moment(until))) } else { Err(Refusal::Signature) }
    }
}

fn parts(grant: &[u8]) -> Option<([u8; ID_LEN], u64, &[u8])> {
    if grant.len() != GRANT_LEN {
        return None;
    }
    let (version, rest) = grant.split_first()?;
    let (id, rest) = rest.split_first_chunk::<ID_LEN>()?;
    let (expires, signature) = rest.split_first_chunk::<8>()?;
    (*version == VERSION).then_some((*id, u64::from_be_bytes(*expires), signature))
}
