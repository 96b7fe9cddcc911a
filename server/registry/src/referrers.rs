//! The manifests that name another one as their subject: signatures, attestations, SBOMs.
//!
//! Always an index, empty when there is nothing: to clients a 404 means that the registry does not know referrers at all.

use shoal_api::Freshness;
use shoal_oci::media_type::OCI_INDEX;
use shoal_oci::{Digest, Repository, Route, reply};

use crate::answer;
use crate::call::Call;
use crate::context::Context;
use crate::copies::{self, List};
use crate::error::Answer;
use crate::paging::Paging;

/// GET of `referrers/<digest>`.
pub(crate) async fn list(cx: &Context, call: &Call, repository: Repository, subject: Digest) -> Answer {
    let paging = Paging::new(cx, &call.query)?;
    let artifact_type = call.query.artifact_type()?.filter(|wanted| !wanted.is_empty());
    let asked = copies::referrers(cx, &repository, (&subject, artifact_type), &paging.after).await?;
    let (items, next, vouched) = match asked {
        List::Theirs(list) => (list.items, list.next, Some((list.freshness, list.age))),
        ours => {
            let page = cx.tags.referrers(&repository, &subject, artifact_type, paging.after.clone()).await?;
            let next = page.items.last().filter(|_| page.more).map(|last| last.digest.to_string());
            let stale = matches!(ours, List::Ours).then_some((Freshness::Stale, None));
            (page.items, next, stale)
        }
    };
    let filter: Vec<_> = artifact_type.map(|wanted| ("artifactType", wanted)).into_iter().collect();
    let path = Route::Referrers { repository, subject }.to_path();
    let mut headers = paging.link(&path, &filter, next.is_some(), next);
    if artifact_type.is_some() {
        headers.push(("oci-filters-applied", "artifactType".to_owned()));
    }
    let mut response = answer::json(OCI_INDEX, reply::referrers(&items), headers);
    if let Some((freshness, age)) = vouched {
        copies::vouch(&mut response, freshness, age);
    }
    Ok(response)
}
