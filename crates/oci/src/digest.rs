//! Content addresses: `algorithm:hex`, and the incremental hashing that produces them.
//!
//! A `Digest` is a fixed-size value (72 bytes at most), not a string: it is the key of nearly every map in the house.
//! sha256 and sha512 are the two algorithms that the image specification registers; anything else is refused at the door.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;

/// The longest digest in bytes (sha512).
const BYTES_MAX: usize = 64;

/// The longest digest as text: `sha512:` and two characters for each byte.
pub const TEXT_LEN_MAX: usize = 7 + 2 * BYTES_MAX;

/// A registered digest algorithm (OCI image-spec, "Digests").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// SHA-256, 32 bytes: what every client sends.
    Sha256,
    /// SHA-512, 64 bytes.
    Sha512,
}

impl Algorithm {
    /// The algorithm's name as it stands before the colon.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// Length of the raw hash in bytes.
    pub const fn byte_len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

impl FromStr for Algorithm {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "sha256" => Ok(Self::Sha256),
            "sha512" => Ok(Self::Sha512),
            _ => Err(ParseDigestError::Algorithm),
        }
    }
}

/// The address of some content: the hash of its bytes under a registered algorithm.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    algorithm: Algorithm,
    bytes: [u8; BYTES_MAX],
}

impl Digest {
    /// The digest of `content` under `algorithm`.
    pub fn of(algorithm: Algorithm, content: &[u8]) -> Self {
        let mut digester = Digester::new(algorithm);
        digester.update(content);
        digester.finish()
    }

    /// The SHA-256 digest of `content`.
    pub fn sha256(content: &[u8]) -> Self {
        Self::of(Algorithm::Sha256, content)
    }

    /// A digest from its raw hash; `None` when the length is not the algorithm's.
    pub fn from_bytes(algorithm: Algorithm, raw: &[u8]) -> Option<Self> {
        if raw.len() != algorithm.byte_len() {
            return None;
        }
        let mut bytes = [0; BYTES_MAX];
        bytes[..raw.len()].copy_from_slice(raw);
        Some(Self { algorithm, bytes })
    }

    /// The algorithm.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The raw hash: 32 or 64 bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.algorithm.byte_len()]
    }

    /// The digest as text, written to `buffer`: nearly every answer carries one, and this way it costs no memory of its own.
    pub fn write_to<'a>(&self, buffer: &'a mut [u8; TEXT_LEN_MAX]) -> &'a str {
        const PREFIX_LEN: usize = 7;
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        buffer[..PREFIX_LEN].copy_from_slice(match self.algorithm {
            Algorithm::Sha256 => b"sha256:",
            Algorithm::Sha512 => b"sha512:",
        });
        let len = PREFIX_LEN + 2 * self.algorithm.byte_len();
        for (pair, byte) in buffer[PREFIX_LEN..len].chunks_exact_mut(2).zip(self.as_bytes()) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        std::str::from_utf8(&buffer[..len]).unwrap_or_default()
    }

    /// The hash in lower-case hexadecimal: 64 or 128 characters.
    pub fn to_hex(&self) -> String {
        hex::encode(self.as_bytes())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut buffer = [0; TEXT_LEN_MAX];
        f.write_str(self.write_to(&mut buffer))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (algorithm, encoded) = text.split_once(':').ok_or(ParseDigestError::Form)?;
        let algorithm: Algorithm = algorithm.parse()?;
        if encoded.len() != algorithm.byte_len() * 2 {
            return Err(ParseDigestError::Length);
        }
        if !encoded.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(ParseDigestError::Hex);
        }
        let mut bytes = [0; BYTES_MAX];
        hex::decode_to_slice(encoded, &mut bytes[..algorithm.byte_len()])
            .map_err(|_| ParseDigestError::Hex)?;
        Ok(Self { algorithm, bytes })
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'_, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Why a text is not a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseDigestError {
    /// There is no colon between algorithm and hash.
    #[error("a digest is written algorithm:hex, as in sha256:9f86d0…")]
    Form,
    /// The algorithm is not registered.
    #[error("unsupported digest algorithm; sha256 and sha512 are supported")]
    Algorithm,
    /// The hash is too short or too long for its algorithm.
    #[error("wrong digest length; sha256 has 64 hexadecimal characters, sha512 has 128")]
    Length,
    /// The hash has characters other than `0-9a-f`.
    #[error("a digest is written in lower-case hexadecimal")]
    Hex,
}

/// Incremental hashing of content that arrives in parts.
#[derive(Clone)]
pub struct Digester(State);

#[derive(Clone)]
enum State {
    Sha256(sha2::Sha256),
    Sha512(Box<sha2::Sha512>),
}

impl Digester {
    /// A digester that has seen no bytes.
    pub fn new(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Sha256 => State::Sha256(sha2::Sha256::new()),
            Algorithm::Sha512 => State::Sha512(Box::new(sha2::Sha512::new())),
        })
    }

    /// Adds the next bytes of the content.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha256(state) => state.update(bytes),
            State::Sha512(state) => state.update(bytes),
        }
    }

    /// The digest of everything added so far.
    pub fn finish(self) -> Digest {
        let mut bytes = [0; BYTES_MAX];
        let algorithm = match self.0 {
            State::Sha256(state) => {
                bytes[..32].copy_from_slice(&state.finalize());
                Algorithm::Sha256
            }
            State::Sha512(state) => {
                bytes.copy_from_slice(&state.finalize());
                Algorithm::Sha512
            }
        };
        Digest { algorithm, bytes }
    }
}

impl fmt::Debug for Digester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digester")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn parses_and_prints() {
        let digest: Digest = EMPTY.parse().unwrap();
        assert_eq!(digest.to_string(), EMPTY);
        assert_eq!(digest, Digest::sha256(b""));
        let long = Digest::of(Algorithm::Sha512, b"x");
        assert_eq!(long.to_string().parse::<Digest>().unwrap(), long);
        assert_eq!(long.as_bytes().len(), 64);
    }

    #[test]
    fn refuses_what_is_not_a_digest() {
        for (text, why) in [
            ("", ParseDigestError::Form),
            ("sha256", ParseDigestError::Form),
            ("md5:d41d8cd98f00b204e9800998ecf8427e", ParseDigestError::Algorithm),
            ("sha256:baddigeststring", ParseDigestError::Length),
            (
                "sha256:E3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                ParseDigestError::Hex,
            ),
            (
                "sha256:../../../../../../../../../../../../../../../../../../../etc/passwd",
                ParseDigestError::Length,
            ),
            (&format!("sha256:{}", "../".repeat(21) + "."), ParseDigestError::Hex),
        ] {
            assert_eq!(text.parse::<Digest>(), Err(why), "{text}");
        }
    }

    #[test]
    fn incremental_equals_whole() {
        let mut digester = Digester::new(Algorithm::Sha256);
        digester.update(b"ab");
        digester.update(b"c");
        assert_eq!(digester.finish(), Digest::sha256(b"abc"));
    }
}
