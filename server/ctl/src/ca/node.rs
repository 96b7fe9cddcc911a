//! Who a certificate is for: a name that is safe in a file name and in a URI, what it is, and the hosts it answers at.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use anyhow::{Result, bail};
use clap::ValueEnum;

/// The longest common name that X.509 allows (RFC 5280, ub-common-name).
const NAME_LEN_MAX: usize = 64;
/// The longest host name (RFC 1035), and the longest label in it.
const HOST_LEN_MAX: usize = 253;
const LABEL_LEN_MAX: usize = 63;

/// A node's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeName(String);

impl NodeName {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NodeName {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let usable = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        let starts_well = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if !starts_well || !text.bytes().all(usable) || text.len() > NAME_LEN_MAX {
            bail!(
                "a name begins with a letter or digit and has letters, digits, `.`, `-` and `_`, at most {NAME_LEN_MAX} of them"
            );
        }
        if matches!(text, "ca" | "ca-bundle") || text.ends_with("-key") {
            bail!("this name is that of one of the authority's own files; choose another");
        }
        Ok(Self(text.to_owned()))
    }
}

/// What a node is. Its certificate says so, and a policy can ask for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// A server of the cluster
    Server,
    /// An agent on a machine that pulls
    Agent,
    /// A client that pushes or pulls: it only calls, nobody calls it
    Client,
}

impl Kind {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Agent => "agent",
            Self::Client => "client",
        }
    }

    /// Whether others connect to it.
    pub(crate) const fn listens(self) -> bool {
        !matches!(self, Self::Client)
    }

    /// The name by which other programs recognise the node, whatever hosts it has.
    pub(crate) fn uri(self, name: &str) -> String {
        format!("shoal://{}/{name}", self.as_str())
    }

    /// The reverse of [`Self::uri`].
    pub(crate) fn of_uri(uri: &str) -> Option<Self> {
        let (kind, _name) = uri.strip_prefix("shoal://")?.split_once('/')?;
        Self::value_variants().iter().copied().find(|known| known.as_str() == kind)
    }
}

/// Where a node is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    Address(IpAddr),
    Name(String),
}

impl FromStr for Host {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Ok(address) = text.trim_matches(['[', ']']).parse() {
            return Ok(Self::Address(address));
        }
        // One wildcard label in front is what clients accept.
        let labels = text.strip_prefix("*.").unwrap_or(text);
        let good = |label: &str| {
            let usable = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            (1..=LABEL_LEN_MAX).contains(&label.len())
                && label.bytes().all(usable)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if text.len() > HOST_LEN_MAX || !labels.split('.').all(good) {
            bail!("`{text}` is neither an address nor a host name; write it without scheme and port");
        }
        Ok(Self::Name(text.to_ascii_lowercase()))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}
