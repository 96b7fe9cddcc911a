//! Names of the distribution specification: repository, tag, and the reference that is one or the other or a digest.
//!
//! The grammar is distribution-spec "Pulling manifests". Names reach us from the network and end in databases and in logs, so
//! what parses here is harmless there: no traversal, no control characters, bounded length.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::{Digest, ParseDigestError};

/// The longest repository name in bytes. Clients cap host and name together at 255.
pub const REPOSITORY_LEN_MAX: usize = 255;
/// The longest tag in bytes (distribution-spec grammar).
pub const TAG_LEN_MAX: usize = 128;

/// A repository name such as `team/app`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Repository(String);

/// A tag such as `v1.2`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(String);

/// What follows `/manifests/`: a tag or a digest.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reference {
    /// A name that can move.
    Tag(Tag),
    /// A content address.
    Digest(Digest),
}

/// Why a text is not a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseNameError {
    /// Not a repository name.
    #[error(
        "invalid repository name; it has lower-case path segments of a-z and 0-9, joined inside by '.', '_', '__' or dashes"
    )]
    Repository,
    /// A repository name of more than [`REPOSITORY_LEN_MAX`] bytes.
    #[error("repository name too long; the limit is {REPOSITORY_LEN_MAX} characters")]
    RepositoryTooLong,
    /// Not a tag.
    #[error("invalid tag; it has 1 to {TAG_LEN_MAX} of A-Z a-z 0-9 _ . - and starts with none of . and -")]
    Tag,
    /// A reference with a colon that is not a digest.
    #[error("invalid digest: {0}")]
    Digest(#[from] ParseDigestError),
}

impl Repository {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Tag {
    /// The tag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Repository {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > REPOSITORY_LEN_MAX {
            return Err(ParseNameError::RepositoryTooLong);
        }
        if text.split('/').all(is_segment) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseNameError::Repository)
        }
    }
}

/// Whether `segment` matches `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`.
fn is_segment(segment: &str) -> bool {
    let alphanumeric = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9');
    let bytes = segment.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    if !alphanumeric(first) || !alphanumeric(last) {
        return false;
    }
    bytes.split(alphanumeric).all(|separator| {
        matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|byte| *byte == b'-')
    })
}

impl FromStr for Tag {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let valid = text.len() <= TAG_LEN_MAX
            && text.bytes().next().is_some_and(word)
            && text.bytes().all(|byte| word(byte) || byte == b'.' || byte == b'-');
        if valid { Ok(Self(text.to_owned())) } else { Err(ParseNameError::Tag) }
    }
}

impl FromStr for Reference {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains(':') { Ok(Self::Digest(text.parse()?)) } else { Ok(Self::Tag(text.parse()?)) }
    }
}

macro_rules! textual {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

textual!(Repository);
textual!(Tag);

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repository_grammar() {
        for good in
            ["a", "team/app", "a.b/c_d/e__f/g---h", "library/nginx", "blobs/uploads/manifests", "10.0.0.1/x"]
        {
            assert!(good.parse::<Repository>().is_ok(), "{good}");
        }
        for bad in [
            "", "/", "a/", "/a", "A", "a//b", "a..b", "a/../b", "a___b", ".a", "a-", "a b", "a%2fb", "a\0",
            "ä", "a._b",
        ] {
            assert_eq!(bad.parse::<Repository>(), Err(ParseNameError::Repository), "{bad}");
        }
        assert!("a".repeat(REPOSITORY_LEN_MAX).parse::<Repository>().is_ok());
        assert_eq!("a".repeat(3000).parse::<Repository>(), Err(ParseNameError::RepositoryTooLong));
    }

    #[test]
    fn tag_grammar() {
        for good in ["latest", "v1.2-rc_3", "_x", "A", &"a".repeat(TAG_LEN_MAX)] {
            assert!(good.parse::<Tag>().is_ok(), "{good}");
        }
        for bad in ["", ".a", "-a", "a b", "a/b", "a:b", &"a".repeat(TAG_LEN_MAX + 1)] {
            assert_eq!(bad.parse::<Tag>(), Err(ParseNameError::Tag), "{bad}");
        }
    }

    #[test]
    fn reference_is_a_digest_when_it_has_a_colon() {
        assert!(matches!("v1".parse(), Ok(Reference::Tag(_))));
        assert!(matches!(Digest::sha256(b"").to_string().parse(), Ok(Reference::Digest(_))));
        assert_eq!(
            "sha256:baddigeststring".parse::<Reference>(),
            Err(ParseNameError::Digest(ParseDigestError::Length))
        );
    }
}
