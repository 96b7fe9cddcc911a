//! Joins the copies to the origin beside them: blobs of upstreams come in like any others.

use std::ops::Range;

use async_trait::async_trait;
use shoal_api::{Intake, IntakeError};
use shoal_http::Body;
use shoal_oci::Digest;
use shoal_origin::{Origin, TakeInError};

/// The origin of this process as the place where blobs of upstreams are kept.
pub(crate) struct OriginIntake(pub(crate) Origin);

#[async_trait]
impl Intake for OriginIntake {
    fn size(&self, digest: &Digest) -> Result<Option<u64>, IntakeError> {
        self.0.size(digest).map_err(|error| IntakeError { is_wrong: false, why: error.to_string() })
    }

    async fn take_in(&self, digest: &Digest, size: Option<u64>, body: Body) -> Result<u64, IntakeError> {
        let taken = self.0.take_in(digest, size, body).await;
        taken.map(|taken| taken.size).map_err(|error| IntakeError {
            is_wrong: matches!(error, TakeInError::Digest { .. } | TakeInError::TooLong { .. }),
            why: error.to_string(),
        })
    }

    async fn coming(&self, digest: &Digest, range: Range<u64>) -> Option<Body> {
        self.0.coming(digest, range).await
    }
}
