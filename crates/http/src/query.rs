//! The query part of a URL, read and written.
//!
//! Rules as in Go's `net/url`, because most clients are written in Go: `%XX` is one byte, `+` is a space, a pair that does not
//! decode to UTF-8 is skipped.

use std::fmt::Write;

/// The decoded pairs of `query` in order. A name without `=` has an empty value.
pub fn pairs(query: Option<&str>) -> Vec<(String, String)> {
    let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    pairs
        .filter_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(name, true)?, decode(value, true)?))
        })
        .collect()
}

/// The first value of `name`.
pub fn value(query: Option<&str>, name: &str) -> Option<String> {
    pairs(query).into_iter().find(|pair| pair.0 == name).map(|pair| pair.1)
}

/// Decodes one path segment: `%XX` only, `+` stands for itself. `None` when it is malformed or not UTF-8.
pub fn decode_segment(segment: &str) -> Option<String> {
    decode(segment, false)
}

fn decode(text: &str, plus_is_space: bool) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => hex_digit(bytes.next()?)? << 4 | hex_digit(bytes.next()?)?,
            b'+' if plus_is_space => b' ',
            _ => byte,
        });
    }
    String::from_utf8(out).ok()
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// `text` with every byte but the unreserved ones (RFC 3986, 2.3) as `%XX`: safe as a path segment and as a query value.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// The pairs as a query, without the question mark.
pub fn encode<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let pairs: Vec<_> =
        pairs.into_iter().map(|(name, value)| format!("{}={}", escape(name), escape(value))).collect();
    pairs.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_pairs() {
        let query = Some("ns=reg.example.com%3A5000&n=10&flag&a=b=c&sp=x+y&&");
        assert_eq!(value(query, "ns").as_deref(), Some("reg.example.com:5000"));
        assert_eq!(value(query, "flag").as_deref(), Some(""));
        assert_eq!(value(query, "a").as_deref(), Some("b=c"));
        assert_eq!(value(query, "sp").as_deref(), Some("x y"));
        assert_eq!(value(query, "absent"), None);
        assert_eq!(pairs(None), []);
        assert_eq!(pairs(query).len(), 5);
    }

    #[test]
    fn skips_what_does_not_decode() {
        for bad in ["a=%", "a=%4", "a=%zz", "a=%ff", "%=1", "a=%+1"] {
            assert_eq!(pairs(Some(bad)), [], "{bad}");
        }
        assert_eq!(decode_segment("a+b%2Fc").as_deref(), Some("a+b/c"));
        assert_eq!(decode_segment("%2"), None);
    }

    #[test]
    fn escapes_round_trip() {
        let text = "team/app:v1 ä&=%+~";
        let query = encode([("name", text), ("n", "1")]);
        assert_eq!(value(Some(&query), "name").as_deref(), Some(text));
        assert_eq!(decode_segment(&escape(text)).as_deref(), Some(text));
        assert_eq!(escape("a/b:c"), "a%2Fb%3Ac");
    }
}
