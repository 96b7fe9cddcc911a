//! Entity tags in `If-Match`, `If-None-Match` and `If-Range` (RFC 9110 §8.8.3, §13.1): how a client says which content it means.
//!
//! Content here is addressed by its digest, so its entity tag is the digest in quotes, and always a strong one. What a client sends
//! may be anything: a list that cannot be read is told apart from a list that names other content, because a guard that is ignored
//! is worse than one that refuses.

use crate::digest::Digest;

/// The most tags in one list. A client guards against one state or a handful; the limit keeps a header of 32 KiB from becoming
/// thousands of comparisons inside a transaction.
const TAGS_MAX: usize = 64;

/// What `If-Match` or `If-None-Match` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntityTags<'a> {
    /// `*`: any content at all.
    Any,
    /// These.
    Listed(Vec<EntityTag<'a>>),
}

/// One entity tag as a client wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntityTag<'a> {
    /// Whether it was written with `W/`: such a tag is no promise about bytes.
    pub weak: bool,
    /// What stood between the quotes.
    pub opaque: &'a str,
}

impl<'a> EntityTags<'a> {
    /// Reads the header's value; `None` when it is not a list of entity tags, or one of more than 64.
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut rest = text.trim();
        if rest == "*" {
            return Some(Self::Any);
        }
        let mut tags = Vec::new();
        loop {
            rest = rest.trim_start_matches([',', ' ', '\t']);
            if rest.is_empty() {
                return (!tags.is_empty()).then_some(Self::Listed(tags));
            }
            let (tag, after) = one(rest)?;
            if tags.len() == TAGS_MAX || !(after.is_empty() || after.starts_with([',', ' ', '\t'])) {
                return None;
            }
            tags.push(tag);
            rest = after;
        }
    }

    /// Whether the content under `digest` is named, by a strong comparison: what `If-Match` asks for.
    pub fn names(&self, digest: &Digest) -> bool {
        self.any(|tag| !tag.weak && tag.is(digest))
    }

    /// Whether the content under `digest` is named, by a weak comparison: what `If-None-Match` asks for.
    pub fn names_weakly(&self, digest: &Digest) -> bool {
        self.any(|tag| tag.is(digest))
    }

    fn any(&self, named: impl FnMut(&EntityTag<'_>) -> bool) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(tags) => tags.iter().any(named),
        }
    }
}

impl EntityTag<'_> {
    /// The digest that the tag is; `None` for a tag that we never give.
    pub fn digest(&self) -> Option<Digest> {
        self.opaque.parse().ok()
    }

    fn is(&self, digest: &Digest) -> bool {
        self.digest().as_ref() == Some(digest)
    }
}

/// The tag at the beginning of `text`, and what follows it.
fn one(text: &str) -> Option<(EntityTag<'_>, &str)> {
    let strong = text.strip_prefix("W/");
    let (opaque, after) = strong.unwrap_or(text).strip_prefix('"')?.split_once('"')?;
    let valid = opaque.bytes().all(|byte| byte == 0x21 || byte >= 0x23 && byte != 0x7f);
    valid.then_some((EntityTag { weak: strong.is_some(), opaque }, after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Algorithm;

    #[test]
    fn lists_are_read_with_weak_tags_empty_elements_and_commas_inside() {
        let tags = |list: &[(bool, &'static str)]| {
            let listed = list.iter().map(|&(weak, opaque)| EntityTag { weak, opaque }).collect();
            Some(EntityTags::Listed(listed))
        };
        assert_eq!(EntityTags::parse(" * "), Some(EntityTags::Any));
        assert_eq!(EntityTags::parse(r#""a""#), tags(&[(false, "a")]));
        assert_eq!(
            EntityTags::parse(r#","a,b" ,, W/"c" , """#),
            tags(&[(false, "a,b"), (true, "c"), (false, "")])
        );
    }

    #[test]
    fn what_is_no_list_is_told_apart() {
        let many = vec![r#""a""#; TAGS_MAX + 1].join(",");
        for bad in [
            "",
            ",",
            "a",
            "sha256:aa",
            "\"a",
            "a\"",
            "\"a\"b",
            "\"a\"\"b\"",
            "w/\"a\"",
            "*,\"a\"",
            "\"a b\"",
            &many,
        ] {
            assert_eq!(EntityTags::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn strong_comparison_refuses_weak_tags() {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let (own, other) = (Digest::of(algorithm, b"x"), Digest::sha256(b"y"));
            let (strong, weak) = (format!("\"{other}\", \"{own}\""), format!("W/\"{own}\""));
            let (strong, weak) = (EntityTags::parse(&strong).unwrap(), EntityTags::parse(&weak).unwrap());
            assert!(strong.names(&own) && strong.names_weakly(&own));
            assert!(!weak.names(&own) && weak.names_weakly(&own));
            assert!(EntityTags::Any.names(&own));
            assert!(!strong.names(&Digest::sha256(b"z")) && !strong.names_weakly(&Digest::sha256(b"z")));
        }
    }
}
