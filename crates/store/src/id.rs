//! Names that the store gives: 128 random bits, so that nobody who did not start an upload can guess it.

use std::fmt;
use std::io;
use std::str::FromStr;

use rustix::rand::{GetRandomFlags, getrandom};

/// Names one upload. Written as 32 lower-case hexadecimal characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UploadId([u8; 16]);

impl UploadId {
    /// An id that was never given before. From the kernel's generator, because the id is all that a client needs to write to
    /// the upload.
    pub(crate) fn random() -> io::Result<Self> {
        let mut bytes = [0; 16];
        // So few bytes come whole, without a file, once the generator is ready, and this waits until it is.
        match getrandom(&mut bytes, GetRandomFlags::empty()) {
            Ok(len) if len == bytes.len() => Ok(Self(bytes)),
            Ok(_) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) => Err(error.into()),
        }
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not an upload id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an upload id is 32 lower-case hexadecimal characters")]
pub struct ParseUploadIdError;

impl FromStr for UploadId {
    type Err = ParseUploadIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(ParseUploadIdError);
        }
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| ParseUploadIdError)?;
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes_and_nothing_else() {
        let id = UploadId::random().unwrap();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_ne!(UploadId::random().unwrap(), id);
        for text in [
            "",
            "..",
            "zz",
            &id.to_string().to_uppercase().replace('0', "A"),
            &format!("{id}0"),
            &"é".repeat(16),
        ] {
            assert_eq!(text.parse::<UploadId>(), Err(ParseUploadIdError), "{text}");
        }
    }
}
