//! Lists of names: the tags of a repository, the repositories of the registry.

use shoal_oci::media_type::JSON;
use shoal_oci::{ErrorCode, Repository, Route, reply};

use crate::answer;
use crate::call::Call;
use crate::context::Context;
use crate::error::{Answer, Refusal};
use crate::paging::Paging;

/// GET of `tags/list`.
pub(crate) async fn list(cx: &Context, call: &Call, repository: Repository) -> Answer {
    let paging = Paging::new(cx, &call.query)?;
    let Some(page) = cx.tags.tags(&repository, paging.after.clone()).await? else {
        let detail = serde_json::json!({ "name": repository });
        return Err(Refusal::new(ErrorCode::NameUnknown, "there is no such repository").with_detail(detail));
    };
    let body = reply::tag_list(&repository, &page.items);
    let path = Route::Tags { repository }.to_path();
    let link = paging.link(&path, &[], page.more, page.items.last().map(ToString::to_string));
    Ok(answer::json(JSON, body, link))
}

/// GET of `_catalog`.
pub(crate) async fn catalog(cx: &Context, call: &Call) -> Answer {
    let paging = Paging::new(cx, &call.query)?;
    let page = cx.tags.repositories(paging.after.clone()).await?;
    let last = page.items.last().map(ToString::to_string);
    let link = paging.link(&Route::Catalog.to_path(), &[], page.more, last);
    Ok(answer::json(JSON, reply::catalog(&page.items), link))
}
