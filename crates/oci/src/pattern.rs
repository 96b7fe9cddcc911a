//! Patterns over names: which repositories and which tags a rule is about.
//!
//! Two alphabets, one matcher. In a repository pattern `*` stands for any text inside one path segment and `**`, as a segment of its
//! own, for any number of segments (none included), so that `team/**` covers `team` and everything below it. In a tag pattern `*`
//! stands for any text. `?` stands for one character in both. Nothing else is special: the names themselves have no other signs.

use std::fmt;
use std::str::FromStr;

/// Bytes of a pattern at most: a repository name has 255, and signs for "any" only make a pattern shorter than what it matches.
const LEN_MAX: usize = 255;

/// A pattern over repository names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RepositoryPattern(String);

/// A pattern over tags.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TagPattern(String);

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParsePatternError {
    /// Nothing would ever match it.
    #[error("a pattern is not empty; `**` stands for every repository and `*` for every tag")]
    Empty,
    /// Longer than any name.
    #[error("a pattern has at most 255 bytes")]
    TooLong,
    /// A character that no name has.
    #[error("no name has {0:?} in it, so the pattern would never match")]
    Character(char),
    /// `**` beside other characters.
    #[error("`**` is a path segment of its own, as in team/**")]
    DoubleStar,
    /// Two slashes, or one at an end.
    #[error("a path segment of the pattern is empty")]
    EmptySegment,
}

impl RepositoryPattern {
    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `name` is one of the repositories that the pattern means.
    pub fn matches(&self, name: &str) -> bool {
        let pattern: Vec<&str> = self.0.split('/').collect();
        let name: Vec<&str> = name.split('/').collect();
        path_matches(&pattern, &name)
    }
}

impl TagPattern {
    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `tag` is one of the tags that the pattern means.
    pub fn matches(&self, tag: &str) -> bool {
        text_matches(self.0.as_bytes(), tag.as_bytes())
    }
}

impl FromStr for RepositoryPattern {
    type Err = ParsePatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        check(text, |c| matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '-' | '/'))?;
        for segment in text.split('/') {
            if segment.is_empty() {
                return Err(ParsePatternError::EmptySegment);
            }
            if segment != "**" && segment.contains("**") {
                return Err(ParsePatternError::DoubleStar);
            }
        }
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for TagPattern {
    type Err = ParsePatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        check(text, |c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))?;
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for RepositoryPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for TagPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn check(text: &str, is_in_names: impl Fn(char) -> bool) -> Result<(), ParsePatternError> {
    if text.is_empty() {
        return Err(ParsePatternError::Empty);
    }
    if text.len() > LEN_MAX {
        return Err(ParsePatternError::TooLong);
    }
    match text.chars().find(|&c| !(is_in_names(c) || c == '*' || c == '?')) {
        Some(other) => Err(ParsePatternError::Character(other)),
        None => Ok(()),
    }
}

/// Matches segment by segment. Of several `**` only the last one that was met is ever tried again, which keeps the work at the
/// product of the two lengths.
fn path_matches(pattern: &[&str], name: &[&str]) -> bool {
    wild_matches(
        pattern.len(),
        name.len(),
        |p| pattern[p] == "**",
        |p, n| text_matches(pattern[p].as_bytes(), name[n].as_bytes()),
    )
}

fn text_matches(pattern: &[u8], text: &[u8]) -> bool {
    wild_matches(
        pattern.len(),
        text.len(),
        |p| pattern[p] == b'*',
        |p, n| pattern[p] == b'?' || pattern[p] == text[n],
    )
}

/// Greedy matching with one point of return: the usual algorithm for wildcards, over whatever the items are.
fn wild_matches(
    pattern_len: usize,
    text_len: usize,
    is_wild: impl Fn(usize) -> bool,
    equal: impl Fn(usize, usize) -> bool,
) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while n < text_len {
        if p < pattern_len && is_wild(p) {
            back = Some((p, n));
            p += 1;
        } else if p < pattern_len && equal(p, n) {
            (p, n) = (p + 1, n + 1);
        } else if let Some((wild, taken)) = back {
            back = Some((wild, taken + 1));
            (p, n) = (wild + 1, taken + 1);
        } else {
            return false;
        }
    }
    (p..pattern_len).all(is_wild)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(pattern: &str, name: &str) -> bool {
        pattern.parse::<RepositoryPattern>().unwrap().matches(name)
    }

    fn tag(pattern: &str, name: &str) -> bool {
        pattern.parse::<TagPattern>().unwrap().matches(name)
    }

    #[test]
    fn a_star_stays_inside_its_segment_and_two_stars_do_not() {
        assert!(repository("team/*", "team/app"));
        assert!(!repository("team/*", "team/app/web"));
        assert!(!repository("team/*", "team"));
        assert!(repository("team/**", "team"));
        assert!(repository("team/**", "team/app/web"));
        assert!(!repository("team/**", "teams/app"));
        assert!(repository("**", "a"));
        assert!(repository("**/web", "web"));
        assert!(repository("**/web", "a/b/web"));
        assert!(repository("a/**/z", "a/z"));
        assert!(repository("a/**/m/**/z", "a/b/m/m/c/z"));
        assert!(!repository("a/**/z", "a/b/y"));
        assert!(repository("a-?/x*y", "a-1/xaay"));
        assert!(!repository("a", "a/b"));
    }

    #[test]
    fn tags() {
        assert!(tag("*", "latest"));
        assert!(tag("v*", "v1.2"));
        assert!(!tag("v*", "1.2"));
        assert!(tag("v?.*-rc*", "v1.2-rc3"));
        assert!(tag("*a*a*a*", "aXaXa"));
        assert!(!tag("release", "release1"));
    }

    #[test]
    fn many_stars_take_no_long_time() {
        let pattern = "*a".repeat(60);
        assert!(!tag(&pattern, &"a".repeat(59)));
        assert!(!tag(&pattern, &("a".repeat(128) + "b")));
    }

    #[test]
    fn what_could_never_match_is_no_pattern() {
        let of = |text: &str| text.parse::<RepositoryPattern>().unwrap_err();
        assert_eq!(of(""), ParsePatternError::Empty);
        assert_eq!(of("Team/*"), ParsePatternError::Character('T'));
        assert_eq!(of("a**"), ParsePatternError::DoubleStar);
        assert_eq!(of("a//b"), ParsePatternError::EmptySegment);
        assert_eq!(of("/a"), ParsePatternError::EmptySegment);
        assert_eq!(of(&"a".repeat(256)), ParsePatternError::TooLong);
        assert_eq!("v/1".parse::<TagPattern>().unwrap_err(), ParsePatternError::Character('/'));
    }
}
