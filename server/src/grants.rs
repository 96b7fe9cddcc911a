//! Grants of this server: given by its tracker to those who may have a blob, and asked for at its origin's swarm port.
//!
//! Only with `auth`: without it every member may have everything, and nobody is asked.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use bytes::Bytes;
use shoal_api::Grants;
use shoal_grant::{Issuer, PublicKey, Verifier};
use shoal_oci::Digest;
use shoal_swarm::GrantCheck;
use shoal_swarm_types::PeerId;

use crate::config::auth::Auth;

/// Gives and judges grants. Clones share the key.
#[derive(Clone)]
pub(crate) struct ServerGrants(Arc<Inner>);

struct Inner {
    issuer: Issuer,
    verifier: Verifier,
    /// Those by which grants in use are judged: ours, and those of the other servers.
    keys: Vec<PublicKey>,
}

impl ServerGrants {
    /// Opens the key, or makes one; `None` without a section `auth`.
    pub(crate) async fn open(
        auth: Option<&Auth>,
        data_directory: &Path,
        cluster: [u8; 32],
    ) -> Result<Option<Self>> {
        let Some(auth) = auth else { return Ok(None) };
        let grants = auth.grants.clone();
        let path = grants.key_file.clone().unwrap_or_else(|| data_directory.join("auth").join("grant.pem"));
        let lifetime = grants.lifetime.get();
        let opening = move || Issuer::open(&path, cluster, lifetime, SystemTime::now());
        let issuer = tokio::task::spawn_blocking(opening).await?.context("auth.grants")?;
        // Mistakes in these were reported with the rest of the configuration.
        let others = grants.verification_keys.iter().filter_map(|key| key.parse().ok());
        let keys: Vec<PublicKey> = issuer.keys().iter().copied().chain(others).collect();
        let verifier = Verifier::new(cluster, keys.iter().copied());
        Ok(Some(Self(Arc::new(Inner { issuer, verifier, keys }))))
    }
}

impl Grants for ServerGrants {
    fn grant(&self, digest: &Digest, peer: &PeerId) -> Bytes {
        self.0.issuer.grant(digest, peer, SystemTime::now())
    }

    fn keys(&self) -> Vec<String> {
        self.0.keys.iter().map(ToString::to_string).collect()
    }
}

impl GrantCheck for ServerGrants {
    fn may_have(&self, digest: &Digest, peer: &PeerId, grant: &[u8]) -> Option<Duration> {
        let now = SystemTime::now();
        // The tracker beside us gives new ones, so there is no grace.
        match self.0.verifier.check(digest, peer, grant, false, now) {
            Ok(Some(until)) => until.duration_since(now).ok(),
            Ok(None) => Some(Duration::MAX),
            Err(why) => {
                tracing::debug!(%peer, %digest, %why, "a grant does not hold");
                None
            }
        }
    }
}

impl std::fmt::Debug for ServerGrants {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ServerGrants({:?})", self.0.keys)
    }
}
