//! Quantities with units, as people write them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A number of bytes: `10GiB`, `512 MiB`, `1.5GB`, `4096`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

/// From the largest, so that printing finds the largest that divides.
const BYTE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

const BYTE_FORM: &str = "a size is written as in 10GiB, 512MiB, 64KiB, 1GB or 4096";

impl ByteSize {
    /// In bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// `count` times 1024 × 1024 × 1024 bytes.
    pub const fn gib(count: u64) -> Self {
        Self(count << 30)
    }

    /// `count` times 1024 × 1024 bytes.
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a size; {BYTE_FORM}");
        let (number, unit) = split(text).ok_or_else(wrong)?;
        let factor = match unit {
            "" => 1,
            unit => BYTE_UNITS.iter().find(|known| known.0.eq_ignore_ascii_case(unit)).ok_or_else(wrong)?.1,
        };
        scale(number, factor).map(Self).ok_or_else(wrong)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = largest_unit(&BYTE_UNITS, self.0);
        write!(f, "{}{unit}", self.0 / factor)
    }
}

/// A number of bytes for each second: `200MB/s`, `10MiB/s`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteRate(pub u64);

impl FromStr for ByteRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let size = text.trim().strip_suffix("/s").and_then(|size| size.parse::<ByteSize>().ok());
        let form = "a rate is written as in 200MB/s, 10MiB/s or 65536B/s";
        size.map(|size| Self(size.0)).ok_or_else(|| format!("`{text}` is not a rate; {form}"))
    }
}

impl fmt::Display for ByteRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", ByteSize(self.0))
    }
}

/// A length of time: `30s`, `5m`, `1h30m`, `250ms`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(pub std::time::Duration);

const TIME_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

const TIME_FORM: &str = "a duration is written as in 250ms, 30s, 5m or 1h30m";

impl Duration {
    /// `count` seconds.
    pub const fn secs(count: u64) -> Self {
        Self(std::time::Duration::from_secs(count))
    }

    /// For tokio and std.
    pub const fn get(self) -> std::time::Duration {
        self.0
    }
}

impl From<Duration> for std::time::Duration {
    fn from(duration: Duration) -> Self {
        duration.0
    }
}

impl FromStr for Duration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a duration; {TIME_FORM}");
        let trimmed = text.trim();
        if trimmed == "0" {
            return Ok(Self::default());
        }
        let mut rest = trimmed;
        let mut millis: u64 = 0;
        while !rest.is_empty() {
            let unit_at = rest.find(|char: char| char.is_ascii_alphabetic()).ok_or_else(wrong)?;
            let (number, tail) = rest.split_at(unit_at);
            let unit_end = tail.find(|char: char| !char.is_ascii_alphabetic()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(unit_end);
            let factor = TIME_UNITS.iter().find(|known| known.0 == unit).ok_or_else(wrong)?.1;
            let part = scale(number.trim(), factor).ok_or_else(wrong)?;
            millis = millis.checked_add(part).ok_or_else(wrong)?;
            rest = tail.trim_start();
        }
        if trimmed.is_empty() { Err(wrong()) } else { Ok(Self(std::time::Duration::from_millis(millis))) }
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        let (unit, factor) = largest_unit(&TIME_UNITS, millis);
        write!(f, "{}{unit}", millis / factor)
    }
}

/// The largest unit that divides `value`; the smallest for zero.
fn largest_unit(units: &[(&'static str, u64)], value: u64) -> (&'static str, u64) {
    let divides = |unit: &&(&str, u64)| value > 0 && value.is_multiple_of(unit.1);
    units.iter().find(divides).copied().unwrap_or(units[units.len() - 1])
}

/// A number and the word behind it.
fn split(text: &str) -> Option<(&str, &str)> {
    let text = text.trim();
    let end = text.find(|char: char| !char.is_ascii_digit() && char != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (!number.is_empty()).then_some((number, unit.trim_start()))
}

/// `number` × `factor` for a decimal number, exact to the unit; `None` when malformed or too large.
fn scale(number: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // Nine decimals are more than anybody means.
    if !digits(whole) || (number.contains('.') && (!digits(fraction) || fraction.len() > 9)) {
        return None;
    }
    let base = whole.parse::<u64>().ok()?.checked_mul(factor)?;
    if fraction.is_empty() {
        return Some(base);
    }
    let divisor = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let part = fraction.parse::<u128>().ok()? * u128::from(factor) / divisor;
    base.checked_add(u64::try_from(part).ok()?)
}

macro_rules! textual {
    ($name:ident, $expecting:expr) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl de::Visitor<'_> for Visitor {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expecting)
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }
                    fn visit_u64<E: de::Error>(self, number: u64) -> Result<$name, E> {
                        number.to_string().parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Visitor)
            }
        }
    };
}

textual!(ByteSize, "a size such as 10GiB");
textual!(ByteRate, "a rate such as 200MB/s");
textual!(Duration, "a duration such as 30s");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, want) in [
            ("10GiB", 10 << 30),
            ("512 MiB", 512 << 20),
            ("4096", 4096),
            ("0", 0),
            ("1.5GB", 1_500_000_000),
            ("64kib", 65536),
            (" 1 b ", 1),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(want)), "{text}");
        }
        for bad in ["", "GiB", "10 gigs", "1.5.0GB", "-1", "99999999TiB", "1e3", ".5GiB", "5.GiB", "10G"] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad}");
        }
    }

    #[test]
    fn rates() {
        assert_eq!("200MB/s".parse(), Ok(ByteRate(200_000_000)));
        assert_eq!(
            " 1.5 MiB/s ".parse::<ByteRate>().map(|rate| rate.to_string()),
            Ok("1536KiB/s".to_owned())
        );
        for bad in ["200MB", "200", "MB/s", "200MB/m", "200 Mbit/s", "/s", "200MB/s/s"] {
            assert!(bad.parse::<ByteRate>().is_err(), "{bad}");
        }
    }

    #[test]
    fn durations() {
        for (text, want) in [
            ("30s", 30_000),
            ("1h30m", 5_400_000),
            ("250ms", 250),
            ("0", 0),
            ("1.5s", 1500),
            ("1m 5s", 65_000),
        ] {
            assert_eq!(text.parse(), Ok(Duration(std::time::Duration::from_millis(want))), "{text}");
        }
        for bad in ["", "30", "s", "5 minutes", "-1s", "1s5", "999999999999999999999s"] {
            assert!(bad.parse::<Duration>().is_err(), "{bad}");
        }
    }

    #[test]
    fn printing_round_trips() {
        for bytes in [0, 1, 1000, 1024, 1 << 30, 20 << 30, 1_500_000_000, 123_456_789, u64::MAX] {
            assert_eq!(ByteSize(bytes).to_string().parse(), Ok(ByteSize(bytes)));
        }
        for millis in [0, 1, 999, 1000, 90_000, 86_400_000, 5_400_000] {
            let duration = Duration(std::time::Duration::from_millis(millis));
            assert_eq!(duration.to_string().parse(), Ok(duration));
        }
        assert_eq!(ByteSize::gib(20).to_string(), "20GiB");
        assert_eq!(Duration::secs(300).to_string(), "5m");
    }
}
