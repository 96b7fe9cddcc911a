//! The query of a `/v2/` request: percent-decoding, and the parameters of the distribution specification as values.
//!
//! A parameter that is given twice with different values is refused: two programs that read different ones would disagree about
//! what was asked.

use crate::digest::{Algorithm, Digest};
use crate::error::{ErrorCode, OciError};
use crate::host::Host;
use crate::name::{Repository, Tag};

/// The most parameters in one query. The longest real one is a manifest PUT with [`TAGS_MAX`] tags.
const PAIRS_MAX: usize = 64;
/// The most `tag=` parameters of one manifest PUT. The specification asks for 10; beyond this the answer is 414.
pub const TAGS_MAX: usize = 50;

/// Decoded parameters in the order in which they were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

/// Which page of a list is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageRequest {
    /// At most this many items; `None` when the client leaves it to us. Saturates, so the caller's own limit still applies.
    pub limit: Option<usize>,
    /// Only items after this one, which need not exist.
    pub last: Option<String>,
}

impl Query {
    /// Decodes what stands after the `?`.
    pub fn parse(raw: Option<&str>) -> Result<Self, OciError> {
        let parts = raw.unwrap_or_default().split('&').filter(|part| !part.is_empty());
        let pairs: Vec<_> = parts.take(PAIRS_MAX + 1).map(pair).collect::<Option<_>>().ok_or_else(|| {
            OciError::new(ErrorCode::Unsupported, "the query is not percent-encoded UTF-8").with_status(400)
        })?;
        if pairs.len() > PAIRS_MAX {
            let message = format!("the query has more than {PAIRS_MAX} parameters");
            return Err(OciError::new(ErrorCode::Unsupported, message).with_status(414));
        }
        Ok(Self(pairs))
    }

    /// The value of `key`; an error with `code` when it is given twice with different values.
    fn one(&self, key: &'static str, code: ErrorCode) -> Result<Option<&str>, OciError> {
        let mut values = self.all(key);
        let first = values.next();
        if values.any(|value| Some(value) != first) {
            return Err(OciError::new(code, format!("the parameter {key} is given twice")).with_status(400));
        }
        Ok(first)
    }

    /// Every value of `key`.
    fn all(&self, key: &'static str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// `digest`: the address of the content that this request completes.
    pub fn digest(&self) -> Result<Option<Digest>, OciError> {
        self.one("digest", ErrorCode::DigestInvalid)?.map(parse_digest).transpose()
    }

    /// `digest-algorithm`: what an upload will be addressed by.
    pub fn digest_algorithm(&self) -> Result<Option<Algorithm>, OciError> {
        let text = self.one("digest-algorithm", ErrorCode::DigestInvalid)?;
        text.map(|text| text.parse().map_err(|error| invalid(ErrorCode::DigestInvalid, &error))).transpose()
    }

    /// `mount`: the blob that shall be taken from another repository.
    pub fn mount(&self) -> Result<Option<Digest>, OciError> {
        self.one("mount", ErrorCode::DigestInvalid)?.map(parse_digest).transpose()
    }

    /// `from`: the repository that a mount takes from.
    pub fn from(&self) -> Result<Option<Repository>, OciError> {
        let text = self.one("from", ErrorCode::NameInvalid)?;
        text.map(|text| text.parse().map_err(|error| invalid(ErrorCode::NameInvalid, &error))).transpose()
    }

    /// `tag`, repeated: the tags that a manifest PUT by digest sets; at most [`TAGS_MAX`], without duplicates.
    pub fn tags(&self) -> Result<Vec<Tag>, OciError> {
        let mut tags = Vec::new();
        for text in self.all("tag") {
            let tag: Tag = text.parse().map_err(|error| invalid(ErrorCode::TagInvalid, &error))?;
            if !tags.contains(&tag) {
                tags.push(tag);
            }
        }
        if tags.len() > TAGS_MAX {
            let message = format!("more than {TAGS_MAX} tags in one request");
            return Err(OciError::new(ErrorCode::TagInvalid, message).with_status(414));
        }
        Ok(tags)
    }

    /// `artifactType`: which referrers are asked for.
    pub fn artifact_type(&self) -> Result<Option<&str>, OciError> {
        self.one("artifactType", ErrorCode::Unsupported)
    }

    /// `ns`: the registry that a mirror shall stand for (distribution-spec "Registry Proxying").
    pub fn ns(&self) -> Result<Option<Host>, OciError> {
        let text = self.one("ns", ErrorCode::NameInvalid)?;
        text.map(|text| text.parse().map_err(|error| invalid(ErrorCode::NameInvalid, &error))).transpose()
    }

    /// `n` and `last`.
    pub fn page(&self) -> Result<PageRequest, OciError> {
        let limit = self.one("n", ErrorCode::PaginationNumberInvalid)?.map(parse_limit).transpose()?;
        let last = self.one("last", ErrorCode::PaginationNumberInvalid)?.map(str::to_owned);
        Ok(PageRequest { limit, last })
    }
}

/// `text` with everything outside RFC 3986 "unreserved" percent-encoded: fit for a query value or a path segment.
pub fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// `text` with `%XX` decoded; `None` when that is malformed or is not UTF-8.
pub fn percent_decode(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let (pair, after) = rest.split_at_checked(2)?;
            decoded.push(hex::decode(pair).ok()?[0]);
            rest = after;
        } else {
            decoded.push(byte);
        }
    }
    String::from_utf8(decoded).ok()
}

/// One `key=value`, decoded; `+` is a space in a query.
fn pair(part: &str) -> Option<(String, String)> {
    let (key, value) = part.split_once('=').unwrap_or((part, ""));
    let decode = |text: &str| {
        let plain = !text.bytes().any(|byte| matches!(byte, b'%' | b'+'));
        if plain { Some(text.to_owned()) } else { percent_decode(&text.replace('+', " ")) }
    };
    Some((decode(key)?, decode(value)?))
}

fn parse_digest(text: &str) -> Result<Digest, OciError> {
    text.parse().map_err(|error| invalid(ErrorCode::DigestInvalid, &error))
}

/// A count in decimal digits; one that is too large to count saturates.
fn parse_limit(text: &str) -> Result<usize, OciError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(OciError::new(ErrorCode::PaginationNumberInvalid, "n is a number, 0 or more"));
    }
    Ok(text.parse().unwrap_or(usize::MAX))
}

fn invalid(code: ErrorCode, error: &dyn std::error::Error) -> OciError {
    OciError::new(code, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(raw: &str) -> Query {
        Query::parse(Some(raw)).unwrap()
    }

    #[test]
    fn parameters_are_decoded() {
        let digest = Digest::sha256(b"");
        let escaped = digest.to_string().replace(':', "%3A");
        let parsed =
            query(&format!("digest={escaped}&from=team%2Fapp&ns=reg.example.com%3a5000&&x&last=a+b"));
        assert_eq!(parsed.digest().unwrap(), Some(digest));
        assert_eq!(parsed.from().unwrap().unwrap().as_str(), "team/app");
        assert_eq!(parsed.ns().unwrap().unwrap().as_str(), "reg.example.com:5000");
        assert_eq!(parsed.page().unwrap().last.as_deref(), Some("a b"));
        assert_eq!(parsed.mount().unwrap(), None);
        assert_eq!(Query::parse(None).unwrap(), Query::default());
    }

    #[test]
    fn contradictions_are_refused_and_repetitions_are_not() {
        let (a, b) = (Digest::sha256(b"a"), Digest::sha256(b"b"));
        let error = query(&format!("digest={a}&digest={b}")).digest().unwrap_err();
        assert_eq!((error.code, error.status), (ErrorCode::DigestInvalid, 400));
        assert_eq!(query(&format!("digest={a}&digest={a}")).digest().unwrap(), Some(a));
    }

    #[test]
    fn bad_encoding_is_refused() {
        for bad in ["a=%", "a=%2", "a=%zz", "%ff=1", "a=%c3%28"] {
            assert_eq!(Query::parse(Some(bad)).unwrap_err().status, 400, "{bad}");
        }
        assert_eq!(Query::parse(Some(&"a&".repeat(65))).unwrap_err().status, 414);
    }

    #[test]
    fn page_numbers() {
        assert_eq!(query("n=0").page().unwrap().limit, Some(0));
        assert_eq!(query("n=9223372036854775807").page().unwrap().limit, Some(i64::MAX as usize));
        assert_eq!(query("n=100000000000000000000").page().unwrap().limit, Some(usize::MAX));
        for bad in ["n=-1", "n=abc", "n=", "n=1.5", "n=+1", "n=1&n=2"] {
            let error = query(bad).page().unwrap_err();
            assert_eq!((error.code, error.status), (ErrorCode::PaginationNumberInvalid, 400), "{bad}");
        }
    }

    #[test]
    fn tags_are_collected_and_bounded() {
        let tags = query("tag=a&tag=b&tag=a").tags().unwrap();
        assert_eq!(tags.iter().map(Tag::as_str).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(query("tag=.a").tags().unwrap_err().code, ErrorCode::TagInvalid);
        let many: String = (0..=TAGS_MAX).map(|index| format!("&tag=t{index}")).collect();
        assert_eq!(query(&many).tags().unwrap_err().status, 414);
    }

    #[test]
    fn encoding_round_trips() {
        for text in ["", "a/b c", "ä%&=+", "\0\u{7f}", "v1.2_-~"] {
            assert_eq!(percent_decode(&percent_encode(text)).as_deref(), Some(text));
        }
    }
}
