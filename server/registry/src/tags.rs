//! Lists of names: the tags of a repository, the repositories of the registry.

use shoal_api::Freshness;
use shoal_api::tags::{Page, PageAfter};
use shoal_oci::media_type::JSON;
use shoal_oci::{Repository, Route, reply};

use crate::answer;
use crate::call::Call;
use crate::context::Context;
use crate::copies::{self, List};
use crate::error::{self, Answer, Refusal};
use crate::paging::Paging;

/// GET of `tags/list`.
pub(crate) async fn list(cx: &Context, call: &Call, repository: Repository) -> Answer {
    let paging = Paging::new(cx, &call.query)?;
    let asked = copies::tags(cx, &repository, &paging.after).await?;
    if let List::Theirs(list) = asked {
        let body = reply::tag_list(&repository, &list.items);
        let path = Route::Tags { repository }.to_path();
        let link = paging.link(&path, &[], list.next.is_some(), list.next);
        let mut response = answer::json(JSON, body, link);
        copies::vouch(&mut response, list.freshness, list.age);
        return Ok(response);
    }
    let Some(page) = cx.tags.tags(&repository, paging.after.clone()).await? else {
        return Err(error::name_unknown(Some(&repository)));
    };
    let body = reply::tag_list(&repository, &page.items);
    let path = Route::Tags { repository }.to_path();
    let link = paging.link(&path, &[], page.more, page.items.last().map(ToString::to_string));
    let mut response = answer::json(JSON, body, link);
    if matches!(asked, List::Ours) {
        copies::vouch(&mut response, Freshness::Stale, None);
    }
    Ok(response)
}

/// GET of `_catalog`.
pub(crate) async fn catalog(cx: &Context, call: &Call) -> Answer {
    let paging = Paging::new(cx, &call.query)?;
    let page = if call.access.is_open() {
        cx.tags.repositories(paging.after.clone()).await?
    } else {
        visible(cx, call, paging.after.clone()).await?
    };
    let last = page.items.last().map(ToString::to_string);
    let link = paging.link(&Route::Catalog.to_path(), &[], page.more, last);
    Ok(answer::json(JSON, reply::catalog(&page.items), link))
}

/// How many names are read at once while looking for those that the caller may see.
const SCANNED_AT_ONCE: usize = 1000;

/// A page of the repositories that the caller may pull from. One more than asked for is looked for, so that neither the page nor whether
/// there is another tells of those that the caller may not see. Price: who sees little of a large registry has all of it read.
async fn visible(cx: &Context, call: &Call, after: PageAfter) -> Result<Page<Repository>, Refusal> {
    let PageAfter { mut last, limit } = after;
    let mut items: Vec<Repository> = Vec::new();
    if limit == 0 {
        return Ok(Page { items, more: false });
    }
    loop {
        let page = cx.tags.repositories(PageAfter { last: last.clone(), limit: SCANNED_AT_ONCE }).await?;
        last = page.items.last().map(ToString::to_string);
        for repository in page.items.into_iter().filter(|repository| call.access.sees(repository)) {
            if items.len() == limit {
                return Ok(Page { items, more: true });
            }
            items.push(repository);
        }
        if !page.more || last.is_none() {
            return Ok(Page { items, more: false });
        }
    }
}
