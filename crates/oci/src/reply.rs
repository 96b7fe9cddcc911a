//! The headers and bodies of `/v2/` answers, so that the server and the mirror answer alike.
//!
//! Values only: whoever speaks HTTP puts them on the wire. Paths are relative, since only the client knows by which name it came.

use std::ops::Range;

use serde_json::json;

use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::entity_tag::EntityTags;
use crate::error::OciError;
use crate::media_type::{JSON, OCI_INDEX, OCTET_STREAM};
use crate::name::{Repository, Tag};
use crate::query::percent_encode;
use crate::range::{Selection, content_range, unsatisfied_range};

/// Header names (lower case) and values, in order.
pub type Headers = Vec<(&'static str, String)>;

/// The head of an answer whose body is a slice of some content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The HTTP status.
    pub status: u16,
    /// The headers, `content-length` included.
    pub headers: Headers,
    /// Which bytes of the content are the body.
    pub body: Range<u64>,
}

/// The answer to GET or HEAD of a blob of `size` bytes: 200, 206 or 416.
pub fn blob(digest: &Digest, size: u64, selection: &Selection) -> Head {
    let (status, body) = match selection {
        Selection::Whole | Selection::Multi => (200, 0..size),
        Selection::Part(part) => (206, part.clone()),
        Selection::Unsatisfiable => (416, 0..0),
    };
    let mut headers = addressed(digest, OCTET_STREAM, body.end - body.start);
    headers.push(("accept-ranges", "bytes".to_owned()));
    match status {
        206 => headers.push(("content-range", content_range(&body, size))),
        416 => headers.push(("content-range", unsatisfied_range(size))),
        _ => {}
    }
    Head { status, headers, body }
}

/// The headers of a 200 to GET or HEAD of a manifest of `size` bytes.
pub fn manifest(digest: &Digest, media_type: &str, size: u64) -> Headers {
    addressed(digest, media_type, size)
}

fn addressed(digest: &Digest, content_type: &str, len: u64) -> Headers {
    vec![
        ("content-type", content_type.to_owned()),
        ("content-length", len.to_string()),
        ("docker-content-digest", digest.to_string()),
        ("etag", etag(digest)),
    ]
}

/// The entity tag of content under `digest`.
pub fn etag(digest: &Digest) -> String {
    format!("\"{digest}\"")
}

/// Whether an `If-None-Match` value names the content under `digest`, so that the answer is 304. A value that cannot be read names
/// nothing: the client then gets the content, which is never wrong.
pub fn not_modified(if_none_match: &str, digest: &Digest) -> bool {
    EntityTags::parse(if_none_match).is_some_and(|tags| tags.names_weakly(digest))
}

/// The headers of an error answer with the body of [`OciError::to_json`].
pub fn error(error: &OciError) -> Headers {
    vec![("content-type", JSON.to_owned()), ("content-length", error.to_json().len().to_string())]
}

/// The body of a tag list.
pub fn tag_list(repository: &Repository, tags: &[Tag]) -> String {
    json!({"name": repository, "tags": tags}).to_string()
}

/// The body of a repository list.
pub fn catalog(repositories: &[Repository]) -> String {
    json!({"repositories": repositories}).to_string()
}

/// The body of a list of extensions (distribution-spec, "extensions"): the list itself is the only one.
pub fn extensions() -> String {
    let own = json!({
        "name": "_oci",
        "url": "https://github.com/opencontainers/distribution-spec/blob/main/extensions/_oci.md",
        "description": "which extensions this registry has",
        "endpoints": ["_oci/ext/discover"],
    });
    json!({"extensions": [own]}).to_string()
}

/// The body of a referrers list: an index, whose content type is [`OCI_INDEX`].
pub fn referrers(descriptors: &[Descriptor]) -> String {
    json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": descriptors}).to_string()
}

/// The `Link` to the next page of `path`: the same parameters, after the item `last`.
pub fn link_next(path: &str, parameters: &[(&str, &str)], last: &str) -> String {
    let pairs = parameters.iter().copied().chain([("last", last)]);
    let query: Vec<_> = pairs.map(|(key, value)| format!("{key}={}", percent_encode(value))).collect();
    format!("<{path}?{}>; rel=\"next\"", query.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
        headers.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str())
    }

    #[test]
    fn a_blob_is_answered_whole_in_part_or_not_at_all() {
        let digest = Digest::sha256(b"x");
        let whole = blob(&digest, 200, &Selection::Multi);
        assert_eq!((whole.status, whole.body), (200, 0..200));
        assert_eq!(value(&whole.headers, "content-length"), Some("200"));
        let part = blob(&digest, 200, &Selection::Part(100..150));
        assert_eq!(part.status, 206);
        assert_eq!(value(&part.headers, "content-range"), Some("bytes 100-149/200"));
        assert_eq!(value(&part.headers, "content-length"), Some("50"));
        assert_eq!(value(&part.headers, "docker-content-digest"), Some(digest.to_string().as_str()));
        let none = blob(&digest, 200, &Selection::Unsatisfiable);
        assert_eq!((none.status, value(&none.headers, "content-range")), (416, Some("bytes */200")));
    }

    #[test]
    fn an_entity_tag_matches_strongly_weakly_in_a_list_and_by_star() {
        let digest = Digest::sha256(b"x");
        let own = etag(&digest);
        for yes in [own.clone(), format!("W/{own}"), format!("\"a\", {own}"), "*".to_owned()] {
            assert!(not_modified(&yes, &digest), "{yes}");
        }
        assert!(!not_modified("\"a\"", &digest) && !not_modified(&digest.to_string(), &digest));
    }

    #[test]
    fn bodies_and_links() {
        let repository: Repository = "team/app".parse().unwrap();
        assert_eq!(tag_list(&repository, &["v1".parse().unwrap()]), r#"{"name":"team/app","tags":["v1"]}"#);
        assert_eq!(tag_list(&repository, &[]), r#"{"name":"team/app","tags":[]}"#);
        assert_eq!(catalog(&[repository]), r#"{"repositories":["team/app"]}"#);
        let index: serde_json::Value = serde_json::from_str(&referrers(&[])).unwrap();
        assert_eq!(index, json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}));
        assert_eq!(
            link_next("/v2/_catalog", &[("n", "2")], "team/app"),
            r#"</v2/_catalog?n=2&last=team%2Fapp>; rel="next""#
        );
    }
}
