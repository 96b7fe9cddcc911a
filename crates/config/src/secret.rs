//! Values that must not show up in logs or in `--print-config`.

use std::fmt;
use std::path::Path;

use serde::de::{self, MapAccess};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What is shown instead.
const REDACTED: &str = "<redacted>";

/// The longest secret file in bytes: room for a key pair, not for a disk image.
const FILE_LEN_MAX: u64 = 64 * 1024;

/// A secret, written in the configuration as a value or as `{file: /path}`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A secret from a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself. Do not log it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The content of a file without the line end that editors add.
    fn from_file(path: &str) -> Result<Self, String> {
        let cannot = |why: &dyn fmt::Display| format!("the secret file {path} cannot be read: {why}");
        let size = std::fs::metadata(Path::new(path)).map_err(|error| cannot(&error))?.len();
        if size > FILE_LEN_MAX {
            return Err(cannot(&format_args!("{size} bytes are more than the limit of {FILE_LEN_MAX}")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| cannot(&error))?;
        let value = text.trim_end_matches(['\r', '\n']);
        if value.is_empty() { Err(cannot(&"it is empty")) } else { Ok(Self::new(value)) }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Visitor)
    }
}

struct Visitor;

impl<'de> de::Visitor<'de> for Visitor {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a secret, or {file: /path/to/it}")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Secret, E> {
        match text {
            REDACTED => {
                Err(E::custom("this is what --print-config shows instead of a secret; write the secret"))
            }
            "" => Err(E::custom("the secret is empty; remove the key or set a value")),
            text => match text.trim().strip_prefix("{file:").and_then(|rest| rest.strip_suffix('}')) {
                // From an environment variable, which has no structure of its own.
                Some(path) => Secret::from_file(path.trim()).map_err(E::custom),
                None => Ok(Secret::new(text)),
            },
        }
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Secret, E> {
        Ok(Secret::new(number.to_string()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Secret, A::Error> {
        let Some((key, path)) = map.next_entry::<String, String>()? else {
            return Err(de::Error::custom("expected {file: /path/to/it}"));
        };
        if key != "file" || map.next_key::<String>()?.is_some() {
            return Err(de::Error::custom("a secret has the single key `file`"));
        }
        Secret::from_file(&path).map_err(de::Error::custom)
    }
}
