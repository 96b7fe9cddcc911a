//! A server in the ring: its name, its share, and where it is reached.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest member id in bytes: that of a DNS name (RFC 1035, section 2.3.4).
pub const MEMBER_ID_LEN_MAX: usize = 253;

/// Name of a member. It is what ownership is computed from: a member that comes back under the same id owns the same digests,
/// whatever its addresses.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MemberId(String);

/// Why a text is not a member id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a member id has 1 to {MEMBER_ID_LEN_MAX} of the characters a-z A-Z 0-9 . _ - and :")]
pub struct ParseMemberIdError;

impl MemberId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for MemberId {
    type Err = ParseMemberIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b':');
        if text.is_empty() || text.len() > MEMBER_ID_LEN_MAX || !text.bytes().all(valid) {
            return Err(ParseMemberIdError);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for MemberId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for MemberId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A member's share relative to the others: one with weight 200 owns twice as much as one with 100. Never zero: a member that
/// should own nothing is left out of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Weight(std::num::NonZeroU32);

impl Weight {
    /// A weight; `None` for zero.
    pub fn new(share: u32) -> Option<Self> {
        std::num::NonZeroU32::new(share).map(Self)
    }

    /// The share as a number.
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl Default for Weight {
    /// 100, so that a smaller member can be given less.
    fn default() -> Self {
        const USUAL: std::num::NonZeroU32 = std::num::NonZeroU32::new(100).expect("100 is not zero");
        Self(USUAL)
    }
}

/// Where a member's listeners are reached, as `host:port`. A host that is an unspecified address (`0.0.0.0`, `[::]`) stands for
/// the host at which the reader reached the tracker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// The swarm port of its origin.
    pub peer: String,
    /// The HTTP port of its origin.
    pub origin: String,
}

/// A server in the ring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub id: MemberId,
    /// Its share.
    #[serde(default)]
    pub weight: Weight,
    /// Where it is reached.
    pub addresses: Addresses,
}
