//! Repositories and tags, from the registry's own lists.

use anyhow::{Context, Result, bail};
use http::{StatusCode, header};
use serde_json::{Value, json};
use shoal_http::{Body, Response};
use shoal_oci::Repository;

use crate::output::Report;
use crate::server::{Server, TIMEOUT};

/// Most pages that are read; with a thousand entries each it is a million names.
const PAGES_MAX: usize = 1000;

/// Longest page in bytes: a thousand of the longest names.
const PAGE_LEN_MAX: usize = 1024 * 1024;

/// Every repository.
pub(crate) async fn repositories(server: &Server) -> Result<Report> {
    let names =
        list(server, "/v2/_catalog?n=1000", "repositories").await?.context("the registry has no catalog")?;
    Ok(report("REPOSITORY", json!({ "repositories": names }), names))
}

/// Every tag of a repository.
pub(crate) async fn tags(server: &Server, repository: &Repository) -> Result<Report> {
    let path = format!("/v2/{repository}/tags/list?n=1000");
    let tags =
        list(server, &path, "tags").await?.with_context(|| format!("there is no repository {repository}"))?;
    Ok(report("TAG", json!({ "repository": repository, "tags": tags }), tags))
}

fn report(column: &'static str, json: Value, names: Vec<String>) -> Report {
    Report {
        json,
        columns: vec![column],
        rows: names.into_iter().map(|name| vec![name]).collect(),
        complete: true,
    }
}

/// Follows the pages of a list; `None` when there is no such list.
async fn list(server: &Server, path: &str, field: &str) -> Result<Option<Vec<String>>> {
    let registry = server.admin();
    let mut next = Some(path.to_owned());
    let mut names = Vec::new();
    for _ in 0..PAGES_MAX {
        let Some(path) = next else { return Ok(Some(names)) };
        let request = http::Request::get(registry.url(&path)).body(Body::empty())?;
        let response = server.http.send(request, TIMEOUT).await?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            status => bail!("the server at {registry} answered {status}"),
        }
        next = next_page(&response);
        let body = response.into_body().collect(PAGE_LEN_MAX).await?;
        let page: Value = serde_json::from_slice(&body).context("the registry's list is not JSON")?;
        let entries = page.get(field).and_then(Value::as_array).into_iter().flatten();
        names.extend(entries.filter_map(Value::as_str).map(str::to_owned));
    }
    bail!("the list has more than {PAGES_MAX} pages")
}

/// The path in `Link: </v2/…>; rel="next"` (RFC 8288).
fn next_page(response: &Response) -> Option<String> {
    let link = response.headers().get(header::LINK)?.to_str().ok()?;
    let (target, rest) = link.strip_prefix('<')?.split_once('>')?;
    (target.starts_with('/') && rest.contains("next")).then(|| target.to_owned())
}
