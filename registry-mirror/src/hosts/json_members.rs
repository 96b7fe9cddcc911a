//! Where the members of a JSON object stand in its text, so that one can be changed without touching the others.
//!
//! The text must have been accepted by a real parser before; this one only finds places. Nested values are skipped over, not understood.

use std::ops::Range;

/// One member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// As it stands there, without quotes and with its escapes.
    pub(super) key: String,
    /// Where the key begins.
    pub(super) at: usize,
    /// The value.
    pub(super) value: Range<usize>,
}

/// The members of the object that is the whole text, and the place behind its opening brace. `None` when it is no object.
pub(super) fn members(text: &str) -> Option<(usize, Vec<Member>)> {
    let bytes = text.as_bytes();
    let open = skip_space(bytes, 0);
    if bytes.get(open) != Some(&b'{') {
        return None;
    }
    let mut members = Vec::new();
    let mut at = skip_space(bytes, open + 1);
    while bytes.get(at) == Some(&b'"') {
        let end = string_end(bytes, at)?;
        let colon = skip_space(bytes, end);
        let start = skip_space(bytes, colon + 1);
        let stop = value_end(bytes, start)?;
        members.push(Member { key: text[at + 1..end - 1].to_owned(), at, value: start..stop });
        at = skip_space(bytes, stop);
        if bytes.get(at) != Some(&b',') {
            break;
        }
        at = skip_space(bytes, at + 1);
    }
    Some((open + 1, members))
}

/// The white space at a place.
pub(super) fn space_at(text: &str, at: usize) -> &str {
    &text[at..skip_space(text.as_bytes(), at)]
}

fn skip_space(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at).is_some_and(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')) {
        at += 1;
    }
    at
}

/// Behind the string that begins here.
fn string_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Behind the value that begins here.
fn value_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = start;
    loop {
        match bytes.get(at)? {
            b'"' => at = string_end(bytes, at)?,
            b'{' | b'[' => (depth, at) = (depth + 1, at + 1),
            b'}' | b']' if depth > 0 => (depth, at) = (depth - 1, at + 1),
            b',' | b'}' | b']' | b' ' | b'\t' | b'\r' | b'\n' if depth == 0 => {
                return (at > start).then_some(at);
            }
            _ => {
                at += 1;
                continue;
            }
        }
        if depth == 0 {
            return Some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_whatever_is_in_them() {
        let text = r#" { "a": {"x": ["}", {"y": 1}]}, "b\"" : "],}" ,"c":-1.5e3 }"#;
        let (open, found) = members(text).unwrap();
        let shown: Vec<_> =
            found.iter().map(|member| (member.key.as_str(), &text[member.value.clone()])).collect();
        assert_eq!(open, 2);
        assert_eq!(shown, [("a", r#"{"x": ["}", {"y": 1}]}"#), (r#"b\""#, r#""],}""#), ("c", "-1.5e3")]);
        assert_eq!(members("{}"), Some((1, vec![])));
        assert_eq!(members("[1]"), None);
    }
}
