//! `WWW-Authenticate` (RFC 9110 §11.6.1) as registries write it.

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

/// Challenges in one answer that are looked at.
const CHALLENGES_MAX: usize = 8;

/// What an upstream wants to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// Name and password with each request.
    Basic,
    /// A token from elsewhere.
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

impl Challenge {
    /// The best of the challenges in `headers`: a token is worth less to a thief than a password.
    pub(crate) fn best(headers: &HeaderMap) -> Option<Self> {
        let texts = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let mut found: Vec<Self> = texts.flat_map(parse).take(CHALLENGES_MAX).collect();
        found.sort_by_key(|challenge| matches!(challenge, Self::Basic));
        found.into_iter().next()
    }
}

/// The challenges of one header value that are understood.
fn parse(text: &str) -> Vec<Challenge> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (scheme, after) = rest.split_once(' ').unwrap_or((rest, ""));
        let (parameters, left) = parameters(after);
        rest = left;
        if scheme.eq_ignore_ascii_case("basic") {
            found.push(Challenge::Basic);
        } else if scheme.eq_ignore_ascii_case("bearer") {
            let of = |name: &str| {
                let pair = parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
                pair.map(|(_, value)| value.clone()).filter(|value| !value.is_empty())
            };
            if let Some(realm) = of("realm") {
                found.push(Challenge::Bearer { realm, service: of("service"), scope: of("scope") });
            }
        }
    }
    found
}

/// `key=value` pairs from the start of `text`, and what follows them: another challenge, or nothing.
fn parameters(text: &str) -> (Vec<(String, String)>, &str) {
    let mut pairs = Vec::new();
    let mut rest = text.trim_start();
    loop {
        rest = rest.trim_start_matches([' ', ',', '\t']);
        let Some(equals) = rest.find('=') else { return (pairs, "") };
        let key = rest[..equals].trim_end();
        // `Basic realm=…` after a comma: the next challenge begins.
        if key.contains([' ', ',']) || key.is_empty() {
            return (pairs, if key.is_empty() { "" } else { rest });
        }
        let (value, left) = value(&rest[equals + 1..]);
        pairs.push((key.to_owned(), value));
        rest = left;
    }
}

/// A value, quoted or not, from the start of `text`, and what follows it.
fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.trim_start().strip_prefix('"') else {
        let end = text.find([',', ' ']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best(values: &[&str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, value.parse().unwrap());
        }
        Challenge::best(&headers)
    }

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Option<Challenge> {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Some(Challenge::Bearer { realm: realm.to_owned(), service: owned(service), scope: owned(scope) })
    }

    #[test]
    fn challenges_of_real_registries() {
        assert_eq!(
            best(&[
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#
            ]),
            bearer(
                "https://auth.docker.io/token",
                Some("registry.docker.io"),
                Some("repository:a/b:pull,push")
            )
        );
        assert_eq!(best(&["Basic realm=\"Registry\""]), Some(Challenge::Basic));
        assert_eq!(
            best(&["Basic realm=\"a, b=c\", bearer realm=\"https://t\" , service=x"]),
            bearer("https://t", Some("x"), None)
        );
        assert_eq!(best(&["Basic", "Bearer realm=\"https://t\""]), bearer("https://t", None, None));
        assert_eq!(best(&[r#"Bearer realm="https://t\"x""#]), bearer("https://t\"x", None, None));
    }

    #[test]
    fn what_is_none_of_them() {
        for text in [
            "",
            "Negotiate",
            "Bearer",
            "Bearer realm=\"\"",
            "Bearer scope=\"x\"",
            "=",
            "Bearer ===",
            ",,,",
            "Digest realm=\"x\", nonce=\"y\"",
        ] {
            assert_eq!(best(&[text]), None, "{text}");
        }
        assert_eq!(best(&[]), None);
        assert_eq!(best(&["Bearer realm=\"unfinished"]), bearer("unfinished", None, None));
    }
}
