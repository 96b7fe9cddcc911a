//! The manifests that name another one as their subject: signatures, attestations, SBOMs.
//!
//! Always an index, empty when there is nothing: to clients a 404 means that the registry does not know referrers at all.

use shoal_oci::media_type::OCI_INDEX;
use shoal_oci::{Digest, Repository, Route, reply};

use crate::answer;
use crate::call::Call;
use crate::context::Context;
use crate::error::Answer;
use crate::paging::Paging;

/// GET of `referrers/<digest>`.
pub(crate) async fn list(cx: &Context, call: &Call, repository: Repository, subject: Digest) -> Answer {
    let paging = Paging::new(cx, &call.query)?;
    let artifact_type = call.query.artifact_type()?.filter(|wanted| !wanted.is_empty());
    let page = cx.tags.referrers(&repository, &subject, artifact_type, paging.after.clone()).await?;
    let filter: Vec<_> = artifact_type.map(|wanted| ("artifactType", wanted)).into_iter().collect();
    let last = page.items.last().map(|referrer| referrer.digest.to_string());
    let path = Route::Referrers { repository, subject }.to_path();
    let mut headers = paging.link(&path, &filter, page.more, last);
    if artifact_type.is_some() {
        headers.push(("oci-filters-applied", "artifactType".to_owned()));
    }
    Ok(answer::json(OCI_INDEX, reply::referrers(&page.items), headers))
}
