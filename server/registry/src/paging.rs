//! Pages of lists: what `n` and `last` ask for, and the `Link` to what follows.

use shoal_api::tags::PageAfter;
use shoal_oci::{ErrorCode, Query, reply};

use crate::context::Context;
use crate::error::Refusal;

/// The largest `n` that is taken for a number of entries. No client needs more, and overflowing someone's integer is how
/// list requests have been turned into attacks (CVE-2023-2253).
const N_MAX: usize = i32::MAX as usize;

/// One page of a list as a client asked for it.
#[derive(Debug)]
pub(crate) struct Paging {
    /// `n` as it was given.
    n: Option<usize>,
    /// What is asked of the list.
    pub(crate) after: PageAfter,
}

impl Paging {
    /// # Errors
    /// 400 when `n` is not a reasonable number. A reasonable one above our own limit gets a shorter page and a `Link`.
    pub(crate) fn new(cx: &Context, query: &Query) -> Result<Self, Refusal> {
        let asked = query.page()?;
        if asked.limit.is_some_and(|n| n > N_MAX) {
            let message = format!("n is at most {N_MAX}");
            return Err(Refusal::new(ErrorCode::PaginationNumberInvalid, message));
        }
        let limit = asked.limit.unwrap_or(usize::MAX).min(cx.options.page_entries_max);
        Ok(Self { n: asked.limit, after: PageAfter { last: asked.last, limit } })
    }

    /// The `Link` header after a page that ended with `last`, when there is `more`.
    pub(crate) fn link(
        &self,
        path: &str,
        parameters: &[(&str, &str)],
        more: bool,
        last: Option<String>,
    ) -> reply::Headers {
        let (true, Some(last)) = (more, last) else { return Vec::new() };
        let n = self.n.map(|n| n.to_string());
        let mut parameters = parameters.to_vec();
        parameters.extend(n.as_deref().map(|n| ("n", n)));
        vec![("link", reply::link_next(path, &parameters, &last))]
    }
}
