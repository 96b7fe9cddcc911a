//! Lists of an upstream, page by page: the tags of a repository, and what refers to a manifest.
//!
//! Page by page, because some repositories have a hundred thousand tags. How a registry finds its next page is its own affair: most say
//! after which entry (`last`), some name it by a token of their own. So a page's continuation is a text that only this room reads: what
//! stood in `last`, or [`OPAQUE`] and the query of the next page as it was given. Clients hand it back; it is only ever asked of the same
//! list of the same registry.

use http::header::LINK;
use http::{HeaderMap, Method};
use serde::Deserialize;
use shoal_http::query;
use shoal_oci::media_type::OCI_INDEX;
use shoal_oci::{Descriptor, Digest, Repository, Tag};

use crate::error::UpstreamError;
use crate::pause::Kind;
use crate::upstream::{Ask, Upstream};

/// The longest page: referrers are cut at 4 MiB by registries, pages of tags are far smaller.
const PAGE_LEN_MAX: usize = 4 * 1024 * 1024;

/// The longest continuation: tokens of registries have some hundred bytes.
const NEXT_LEN_MAX: usize = 2048;

/// Before a continuation that is a query. No tag and no digest begins so.
const OPAQUE: char = '~';

/// Which part of a list is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ListPage {
    /// At most so many entries; the upstream may give fewer or more.
    pub limit: Option<usize>,
    /// Where the page before ended: [`Listed::next`], or an entry.
    pub after: Option<String>,
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed<T> {
    /// Its entries, in the upstream's order. What is no entry to us is left out.
    pub items: Vec<T>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<String>,
}

#[derive(Deserialize)]
struct TagsDocument {
    /// Some registries say `null` for none.
    tags: Option<Vec<serde_json::Value>>,
}

#[derive(Deserialize)]
struct ReferrersDocument {
    manifests: Option<Vec<serde_json::Value>>,
}

impl Upstream {
    /// A page of the tags of `repository`.
    ///
    /// # Errors
    /// [`UpstreamError`].
    pub async fn tags(&self, repository: &Repository, page: &ListPage) -> Result<Listed<Tag>, UpstreamError> {
        let (document, next): (TagsDocument, _) =
            self.list(repository, "tags/list", "application/json", page, &[]).await?;
        let tags = document.tags.unwrap_or_default();
        let items = tags.iter().filter_map(|tag| tag.as_str()?.parse().ok()).collect();
        Ok(Listed { items, next })
    }

    /// A page of what refers to `subject`. Some upstreams do not filter by `artifact_type`, so the answer is filtered here.
    ///
    /// # Errors
    /// [`UpstreamError::NotFound`] also from an upstream that does not know referrers.
    pub async fn referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
        artifact_type: Option<&str>,
        page: &ListPage,
    ) -> Result<Listed<Descriptor>, UpstreamError> {
        let filter: Vec<_> = artifact_type.map(|wanted| ("artifactType", wanted)).into_iter().collect();
        let path = format!("referrers/{subject}");
        let (document, next): (ReferrersDocument, _) =
            self.list(repository, &path, OCI_INDEX, page, &filter).await?;
        let read = |value| serde_json::from_value::<Descriptor>(value).ok();
        let found = document.manifests.unwrap_or_default().into_iter().filter_map(read);
        let wanted = |found: &Descriptor| {
            artifact_type.is_none_or(|wanted| found.artifact_type.as_deref() == Some(wanted))
        };
        Ok(Listed { items: found.filter(wanted).collect(), next })
    }

    async fn list<T: for<'de> Deserialize<'de>>(
        &self,
        repository: &Repository,
        path: &str,
        accept: &'static str,
        page: &ListPage,
        filter: &[(&str, &str)],
    ) -> Result<(T, Option<String>), UpstreamError> {
        let query = page
            .query(filter)
            .ok_or_else(|| UpstreamError::invalid(self.registry(), "no page of a list begins there"))?;
        let question = Ask {
            kind: Kind::Manifest,
            method: Method::GET,
            repository,
            path: if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") },
            accept: Some(accept),
            range_from: None,
            passed: None,
        };
        let fetch = async {
            let (head, body) = self.ask(&question).await?.into_parts();
            let bytes = body
                .collect(PAGE_LEN_MAX)
                .await
                .map_err(|error| UpstreamError::unavailable(self.registry(), error.to_string()))?;
            let document = serde_json::from_slice(&bytes).map_err(|error| {
                UpstreamError::invalid(self.registry(), format!("its list cannot be read: {error}"))
            })?;
            Ok((document, next_of(&head.headers)))
        };
        let bound = self.timeouts().manifest;
        let late = || UpstreamError::unavailable(self.registry(), format!("no list within {bound:?}"));
        tokio::time::timeout(bound, fetch).await.unwrap_or_else(|_elapsed| Err(late()))
    }
}

impl ListPage {
    /// What is asked of the upstream; `None` when the continuation is none that we gave.
    fn query(&self, filter: &[(&str, &str)]) -> Option<String> {
        let after = self.after.as_deref();
        if after.is_some_and(|after| after.len() > NEXT_LEN_MAX) {
            return None;
        }
        if let Some(opaque) = after.and_then(|after| after.strip_prefix(OPAQUE)) {
            // Encoded anew, so that it is a query and nothing else.
            let pairs = query::pairs(Some(opaque));
            return Some(query::encode(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))));
        }
        let limit = self.limit.map(|limit| limit.to_string());
        let own = [limit.as_deref().map(|limit| ("n", limit)), after.map(|after| ("last", after))];
        Some(query::encode(filter.iter().copied().chain(own.into_iter().flatten())))
    }
}

/// The continuation that an answer names.
fn next_of(headers: &HeaderMap) -> Option<String> {
    let link = headers.get(LINK)?.to_str().ok()?;
    let (target, parameters) = link.split_once('<')?.1.split_once('>')?;
    if !parameters.contains("next") {
        return None;
    }
    let (_, text) = target.split_once('?')?;
    let pairs = query::pairs(Some(text));
    let last = pairs.iter().find(|(name, _)| name == "last");
    let is_usual = pairs.iter().all(|(name, _)| matches!(name.as_str(), "n" | "last" | "artifactType"));
    let next = match last {
        Some((_, last)) if is_usual && !last.starts_with(OPAQUE) => last.clone(),
        _ => format!("{OPAQUE}{text}"),
    };
    (next.len() <= NEXT_LEN_MAX).then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(value: &str) -> Option<String> {
        next_of(&HeaderMap::from_iter([(LINK, value.parse().unwrap())]))
    }

    fn query_after(after: &str) -> Option<String> {
        ListPage { limit: Some(5), after: Some(after.to_owned()) }.query(&[])
    }

    #[test]
    fn a_page_after_an_entry_and_one_behind_a_token_are_asked_for_as_the_upstream_wants() {
        let usual = link("</v2/a/tags/list?last=v1%2B2&n=5>; rel=\"next\"").unwrap();
        assert_eq!(usual, "v1+2");
        assert_eq!(query_after(&usual).unwrap(), "n=5&last=v1%2B2");
        let token = link("<https://q.io/v2/a/tags/list?n=5&next_page=gAAA%3D>; rel=\"next\"").unwrap();
        assert_eq!(query_after(&token).unwrap(), "n=5&next_page=gAAA%3D");
        assert_eq!(link("</v2/a/tags/list?last=a>; rel=\"prev\""), None);
        assert_eq!(link("nonsense"), None);
        assert_eq!(ListPage::default().query(&[]).unwrap(), "");
        let typed = ListPage::default().query(&[("artifactType", "a/b+c")]).unwrap();
        assert_eq!(typed, "artifactType=a%2Fb%2Bc");
    }

    #[test]
    fn a_continuation_is_a_query_and_never_a_way_out_of_the_list() {
        let query = query_after("~a=1&b= c#/../../x?y=\r\nz").unwrap();
        assert!(!query.contains(['#', '?', '\r', '\n', ' ', '/']), "{query}");
        assert_eq!(query_after(&format!("~{}", "a".repeat(NEXT_LEN_MAX))), None);
    }
}
