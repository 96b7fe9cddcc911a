//! A damaged blob is made whole again from agents that have it, and so is one whose file is gone while its metainfo is left.
//!
//! The blob becomes a download that lacks its bad pieces (nothing else is fetched), and ends as a blob again when every piece
//! verifies. A mend that fails leaves that download: its good pieces stay on the disk, the blob counts as absent, a push replaces it, and
//! the next mend goes on with it.

use shoal_oci::Digest;
use shoal_store::ErrorKind;
use shoal_swarm_types::{PeerInfo, PieceIndex};

use crate::error::OriginError;
use crate::origin::Origin;

impl Origin {
    /// Makes `digest` whole from `holders`, peers that say they have all of it; `true` when it is. Without a holder nothing is
    /// touched. Takes as long as the swarm does; a caller that gives up leaves a download.
    ///
    /// # Errors
    /// [`OriginError`] when the disk is in the way.
    pub async fn mend(&self, digest: &Digest, holders: Vec<PeerInfo>) -> Result<bool, OriginError> {
        if holders.is_empty() {
            return Ok(false);
        }
        let (store, wanted) = (self.store.clone(), *digest);
        let partial = match tokio::task::spawn_blocking(move || store.demote(&wanted)).await? {
            Ok(partial) => partial,
            // Nothing is left to tell good pieces by, or somebody removed it meanwhile.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => {
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        };
        let Some(_introduced) = self.introductions.introduce(partial.metainfo().clone(), holders) else {
            return Ok(false);
        };
        drop(partial);
        let Ok(reader) = self.swarm.open(digest).await else { return Ok(false) };
        for index in 0..reader.layout().piece_count() {
            if let Err(error) = reader.read_piece(PieceIndex(index)).await {
                tracing::warn!(%digest, %error, "a damaged blob could not be made whole");
                return Ok(false);
            }
        }
        // Every piece is there; it is a blob when the store has said so.
        Ok(reader.complete().await.is_ok())
    }
}

#[cfg(test)]
mod tests;
