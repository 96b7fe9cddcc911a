//! Where a participant stands: bytes within one zone are cheap, bytes between zones are not.
//!
//! An operator gives zones names; what travels between peers is a number made of the name, because nobody but a person reads the name.
//! Two names that make the same number (one pair in 4 billion) cost a preference, nothing else. Non-goal: distances between zones.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest name of a zone in bytes: as long as those of the large clouds twice over.
pub const ZONE_NAME_LEN_MAX: usize = 32;

/// A zone as a number; equal numbers are one zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Zone(pub u32);

impl Zone {
    /// Nobody said where: no preference for anybody.
    pub const UNKNOWN: Self = Self(0);

    /// Whether both are known and the same.
    pub fn is_same(self, other: Self) -> bool {
        self == other && self != Self::UNKNOWN
    }

    /// Whether both are known and different.
    pub fn is_foreign(self, other: Self) -> bool {
        self != other && self != Self::UNKNOWN && other != Self::UNKNOWN
    }

    /// Whether nobody said where.
    pub fn is_unknown(&self) -> bool {
        *self == Self::UNKNOWN
    }
}

/// A zone's name: 1 to [`ZONE_NAME_LEN_MAX`] ASCII letters, digits, `.`, `_`, `-`, `/` and `:`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ZoneName(Box<str>);

/// A text is not the name of a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a zone's name has 1 to {ZONE_NAME_LEN_MAX} letters, digits, '.', '_', '-', '/' or ':'")]
pub struct InvalidZoneName;

impl ZoneName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The number that stands for it, the same in every process: FNV-1a, never 0.
    pub fn zone(&self) -> Zone {
        let (offset, prime) = (0x811c_9dc5_u32, 0x0100_0193);
        let hash = self.0.bytes().fold(offset, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(prime));
        Zone(hash.max(1))
    }
}

impl FromStr for ZoneName {
    type Err = InvalidZoneName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:".contains(&byte);
        let whole = (1..=ZONE_NAME_LEN_MAX).contains(&text.len()) && text.bytes().all(fits);
        if whole { Ok(Self(text.into())) } else { Err(InvalidZoneName) }
    }
}

impl fmt::Display for ZoneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for ZoneName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ZoneName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'_, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_and_make_one_number_everywhere() {
        let zone = |name: &str| name.parse::<ZoneName>().unwrap().zone();
        assert_eq!(zone("eu-1a"), Zone(0xaf86_491c), "other processes know it by this number");
        assert!(zone("eu-1a").is_same(zone("eu-1a")) && zone("eu-1a").is_foreign(zone("eu-1b")));
        assert!(!Zone::UNKNOWN.is_same(Zone::UNKNOWN) && !Zone::UNKNOWN.is_foreign(zone("eu-1a")));
        for bad in ["", "a zone", "ü", &"a".repeat(33)] {
            assert_eq!(bad.parse::<ZoneName>(), Err(InvalidZoneName), "{bad}");
        }
    }
}
