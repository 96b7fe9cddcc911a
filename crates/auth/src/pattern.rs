//! The patterns of a policy: those of `shoal_oci` over repositories, with `{name}` for the name of who asks; and names with stars.

use std::fmt;

use shoal_oci::{ParsePatternError, Repository, RepositoryPattern};

/// Stands for the name of who asks.
const PLACEHOLDER: &str = "{name}";

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PatternError {
    /// Not even without the placeholder.
    #[error(transparent)]
    Pattern(#[from] ParsePatternError),
    /// The placeholder is not alone between slashes: `x-{name}` would let a user choose the end of somebody else's name.
    #[error("{{name}} is a path segment of its own, as in users/{{name}}/**")]
    Placeholder,
}

/// A pattern over repositories that may depend on who asks.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Namespace {
    /// The same for everybody.
    Fixed(RepositoryPattern),
    /// With a segment that is the name of who asks.
    Own(String),
}

impl Namespace {
    /// Reads a pattern.
    pub(crate) fn parse(text: &str) -> Result<Self, PatternError> {
        if !text.contains('{') {
            return Ok(Self::Fixed(text.parse()?));
        }
        let alone = |segment: &str| segment == PLACEHOLDER || !segment.contains(['{', '}']);
        if !text.split('/').all(alone) {
            return Err(PatternError::Placeholder);
        }
        text.replace(PLACEHOLDER, "x").parse::<RepositoryPattern>()?;
        Ok(Self::Own(text.to_owned()))
    }

    /// Whether it means `repository` when `name` asks. A name that could not be one segment of a repository has no namespace.
    pub(crate) fn matches(&self, repository: &Repository, name: Option<&str>) -> bool {
        match self {
            Self::Fixed(pattern) => pattern.matches(repository.as_str()),
            Self::Own(text) => name.is_some_and(|name| {
                let segment = !name.contains('/') && name.parse::<Repository>().is_ok();
                segment
                    && text
                        .replace(PLACEHOLDER, name)
                        .parse::<RepositoryPattern>()
                        .is_ok_and(|pattern| pattern.matches(repository.as_str()))
            }),
        }
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(pattern) => f.write_str(pattern.as_str()),
            Self::Own(text) => f.write_str(text),
        }
    }
}

/// Whether `text` matches `pattern`, in which `*` stands for any text. Takes at most the product of the two lengths.
pub(crate) fn name_matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            back = Some((p, t));
            p += 1;
        } else if pattern.get(p) == Some(&text[t]) {
            (p, t) = (p + 1, t + 1);
        } else if let Some((wild, taken)) = back {
            back = Some((wild, taken + 1));
            (p, t) = (wild + 1, taken + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(pattern: &str, repository: &str, name: Option<&str>) -> bool {
        Namespace::parse(pattern).unwrap().matches(&repository.parse().unwrap(), name)
    }

    #[test]
    fn a_placeholder_is_the_name_of_who_asks() {
        assert!(own("users/{name}/**", "users/alice/app", Some("alice")));
        assert!(!own("users/{name}/**", "users/bob/app", Some("alice")));
        assert!(!own("users/{name}/**", "users/alice/app", None));
        // Names that would be patterns, paths, or nothing.
        for name in ["*", "**", "a?", "alice/app", "", "..", "Alice", "users/alice"] {
            assert!(!own("users/{name}/**", "users/alice/app", Some(name)), "{name}");
        }
    }

    #[test]
    fn what_is_no_pattern() {
        assert_eq!(Namespace::parse("x-{name}"), Err(PatternError::Placeholder));
        assert_eq!(Namespace::parse("{user}/a"), Err(PatternError::Placeholder));
        assert!(matches!(Namespace::parse("{name}//a"), Err(PatternError::Pattern(_))));
        assert!(matches!(Namespace::parse(""), Err(PatternError::Pattern(_))));
    }

    #[test]
    fn stars_in_names() {
        assert!(name_matches("github:repo:acme/*", "github:repo:acme/app:ref:refs/heads/main"));
        assert!(!name_matches("github:repo:acme/*", "github:repo:other/app"));
        assert!(name_matches("*.build.example", "n1.build.example") && !name_matches("alice", "alice2"));
        assert!(!name_matches(&"*a".repeat(100), &format!("{}b", "a".repeat(200))));
    }
}
