//! Who may have a blob by its digest: what the tracker and the origin ask before they hand anything out.
//!
//! A digest is no permission. Blobs belong to repositories, and who may read what is in a repository is the policy's business; these
//! roles know neither, so they ask through this trait, with what the caller has shown and the repository it names. What a caller may
//! not have is answered like what is not there.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use shoal_http::{Connection, PeerCertificate, Request};
use shoal_oci::{Digest, Repository};
use shoal_swarm_types::PeerId;

/// A member of the cluster that asks: whoever got through to a port that is for members.
#[derive(Clone, Debug)]
pub struct Member {
    /// Where it asks from.
    pub address: IpAddr,
    /// Its certificate, which the listener has verified; `None` when members know each other by the cluster's key alone, or not at all.
    pub certificate: Option<Arc<PeerCertificate>>,
}

impl Member {
    /// Whoever sent `request` from `peer`.
    pub fn of(request: &Request, peer: SocketAddr) -> Self {
        let connection = request.extensions().get::<Connection>();
        Self {
            address: peer.ip(),
            certificate: connection.and_then(|connection| connection.certificate.clone()),
        }
    }
}

impl From<IpAddr> for Member {
    /// A member without a certificate.
    fn from(address: IpAddr) -> Self {
        Self { address, certificate: None }
    }
}

/// Knows who may have which blob.
#[async_trait]
pub trait Rights: Send + Sync + 'static {
    /// Whether `member` may have the blob `digest`, which it wants because it is in `repository`.
    ///
    /// # Errors
    /// [`RightsError`] when that cannot be found out now.
    async fn may_read(
        &self,
        member: &Member,
        repository: Option<&Repository>,
        digest: &Digest,
    ) -> Result<bool, RightsError>;
}

/// Gives grants: what a peer shows other peers in place of the rights that were looked up for it (see `shoal_grant`).
pub trait Grants: std::fmt::Debug + Send + Sync + 'static {
    /// The grant that `peer` may have the blob; at most 256 bytes.
    fn grant(&self, digest: &Digest, peer: &PeerId) -> Bytes;

    /// The public keys by which grants in use are judged, as text.
    fn keys(&self) -> Vec<String>;
}

/// The policy or the links could not be looked up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("who may read this blob cannot be looked up: {0}; see the server's log")]
pub struct RightsError(pub String);

/// Everybody may have everything that is there: for a port that is the operator's own.
#[derive(Clone, Copy, Debug, Default)]
pub struct EverybodyMay;

#[async_trait]
impl Rights for EverybodyMay {
    async fn may_read(&self, _: &Member, _: Option<&Repository>, _: &Digest) -> Result<bool, RightsError> {
        Ok(true)
    }
}
