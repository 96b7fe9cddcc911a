//! The host of a foreign registry as image names and `ns=` write it: `registry.example.com`, `localhost:5000`, `[::1]:443`.
//!
//! Only the form is checked. Whether that host may be asked at all is a decision of the program that would ask.

use std::fmt;
use std::str::FromStr;

/// The longest host in bytes: the limit of a DNS name, and of what clients accept for host and repository together.
const HOST_LEN_MAX: usize = 255;

/// A registry host with an optional port, in lower case.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Host(String);

impl Host {
    /// The host as text, with its port when it has one.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the first segment of an image name is a host: the rule of Docker's reference grammar.
    pub fn is_host_segment(segment: &str) -> bool {
        segment.contains(['.', ':']) || segment == "localhost"
    }
}

impl FromStr for Host {
    type Err = ParseHostError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > HOST_LEN_MAX {
            return Err(ParseHostError);
        }
        let (name, port) = split_port(text).ok_or(ParseHostError)?;
        let valid_port =
            port.is_none_or(|port| port.len() <= 5 && port.parse::<u16>().is_ok_and(|port| port > 0));
        if valid_port && (is_domain(name) || is_ipv6(name)) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(ParseHostError)
        }
    }
}

/// Name and port; `None` when what follows the name is not a port.
fn split_port(text: &str) -> Option<(&str, Option<&str>)> {
    let name_len =
        if text.starts_with('[') { text.find(']')? + 1 } else { text.find(':').unwrap_or(text.len()) };
    let (name, rest) = text.split_at(name_len);
    match rest.strip_prefix(':') {
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => Some((name, Some(port))),
        None if rest.is_empty() => Some((name, None)),
        _ => None,
    }
}

/// Labels of letters, digits and inner hyphens, joined by dots. IPv4 addresses have this form too.
fn is_domain(name: &str) -> bool {
    name.split('.').all(|label| {
        label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
    })
}

/// An IPv6 address in brackets.
fn is_ipv6(name: &str) -> bool {
    name.strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok())
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text is not a host with an optional port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid registry host; it is written as host or host:port, as in registry.example.com:5000")]
pub struct ParseHostError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_what_is_none() {
        for good in [
            "docker.io",
            "localhost",
            "localhost:5000",
            "10.0.0.1:80",
            "[::1]",
            "[::1]:443",
            "a-b.example",
            "A.io",
        ] {
            assert_eq!(good.parse::<Host>().unwrap().as_str(), good.to_lowercase(), "{good}");
        }
        let long = "a.".repeat(200) + "a";
        for bad in [
            "",
            ":",
            ":5000",
            "a:",
            "a:0",
            "a:65536",
            "a:x",
            "a:1:2",
            "a..b",
            ".a",
            "a.",
            "-a.b",
            "a_b.c",
            "[::1",
            "[x]:1",
            "[::1]x",
            "a/b",
            "a@b",
            "user:pw@h",
            "a b",
            "http://a",
            &long,
            "a:+1",
            "a:000080",
        ] {
            assert_eq!(bad.parse::<Host>(), Err(ParseHostError), "{bad}");
        }
    }

    #[test]
    fn only_a_dot_a_colon_or_localhost_makes_a_segment_a_host() {
        assert!(
            Host::is_host_segment("a.b")
                && Host::is_host_segment("a:1")
                && Host::is_host_segment("localhost")
        );
        assert!(!Host::is_host_segment("team"));
    }
}
