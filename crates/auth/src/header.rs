//! The `Authorization` header: Basic (RFC 7617) and Bearer (RFC 6750).

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use crate::rejection::Rejection;

/// The longest Basic credentials in bytes, decoded: a name, and a password that may be a token of an external issuer.
const BASIC_LEN_MAX: usize = 20 * 1024;
/// The longest token in bytes. Ours have some 600, those of external issuers with many groups a few thousand.
pub(crate) const TOKEN_LEN_MAX: usize = 16 * 1024;

/// What a header says. `Debug` shows no secret.
pub(crate) enum Authorization {
    Basic { name: String, password: String },
    Bearer(String),
}

impl Authorization {
    /// Reads a header; `None` when it says nothing: podman sends `Basic Og==`, an empty name with an empty password.
    pub(crate) fn parse(text: &str) -> Result<Option<Self>, Rejection> {
        let (scheme, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("basic") {
            basic(rest)
        } else if scheme.eq_ignore_ascii_case("bearer") {
            match rest.len() {
                0 => Err(Rejection::Malformed("the Authorization header has no token")),
                len if len > TOKEN_LEN_MAX => Err(Rejection::Token("it is too long")),
                _ => Ok(Some(Self::Bearer(rest.to_owned()))),
            }
        } else {
            Err(Rejection::Malformed("the Authorization header is neither Basic nor Bearer"))
        }
    }
}

fn basic(text: &str) -> Result<Option<Authorization>, Rejection> {
    let malformed = || Rejection::Malformed("the Basic credentials are not base64 of name:password");
    if text.len() > BASIC_LEN_MAX * 4 / 3 + 4 {
        return Err(Rejection::Malformed("the Basic credentials are too long"));
    }
    let bytes = STANDARD.decode(text).or_else(|_| STANDARD_NO_PAD.decode(text)).map_err(|_| malformed())?;
    let decoded = String::from_utf8(bytes).map_err(|_| malformed())?;
    let (name, password) = decoded.split_once(':').ok_or_else(malformed)?;
    if name.is_empty() && password.is_empty() {
        return Ok(None);
    }
    Ok(Some(Authorization::Basic { name: name.to_owned(), password: password.to_owned() }))
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Basic { name, .. } => write!(f, "Basic({name}, <redacted>)"),
            Self::Bearer(_) => f.write_str("Bearer(<redacted>)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Authorization> {
        Authorization::parse(text).unwrap()
    }

    #[test]
    fn basic_and_bearer_in_any_case() {
        let header = format!("bAsIc  {}", STANDARD.encode("alice:pass:word"));
        let Some(Authorization::Basic { name, password }) = read(&header) else { panic!() };
        assert_eq!((name.as_str(), password.as_str()), ("alice", "pass:word"));
        let Some(Authorization::Bearer(token)) = read("BEARER abc") else { panic!() };
        assert_eq!(token, "abc");
    }

    #[test]
    fn empty_credentials_are_none() {
        assert!(read("Basic Og==").is_none());
        assert!(read(&format!("Basic {}", STANDARD.encode("alice:"))).is_some());
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for bad in [
            "",
            "Basic",
            "Basic !!",
            "Basic YQ==",
            "Bearer",
            "Bearer ",
            "Digest x",
            "Negotiate",
            "Basic /w==",
        ] {
            assert!(matches!(Authorization::parse(bad), Err(Rejection::Malformed(_))), "{bad}");
        }
        let long = format!("Bearer {}", "a".repeat(1 << 20));
        assert_eq!(Authorization::parse(&long).unwrap_err(), Rejection::Token("it is too long"));
        assert!(Authorization::parse(&format!("Basic {}", "YTph".repeat(1 << 18))).is_err());
    }

    #[test]
    fn secrets_are_not_shown() {
        let basic = read(&format!("Basic {}", STANDARD.encode("alice:hunter2")));
        assert!(!format!("{basic:?}{:?}", read("Bearer hunter2")).contains("hunter2"));
    }
}
