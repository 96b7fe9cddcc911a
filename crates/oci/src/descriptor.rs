//! Descriptors: how one document names content (image-spec "Content Descriptors").
//!
//! What is read here has a valid digest and a size that fits every store we have; what we do not interpret (platform, annotations)
//! passes through unchanged.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::Digest;

/// The largest size in bytes that a descriptor may state: what every client (Go's int64) and our store can count.
pub const DESCRIPTOR_SIZE_MAX: u64 = i64::MAX as u64;

/// Annotations: keys to values, in the order of their keys.
pub type Annotations = BTreeMap<String, String>;

/// The name, type and size of some content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct Descriptor {
    /// The content's media type.
    pub media_type: String,
    /// The content's address.
    pub digest: Digest,
    /// The content's size in bytes; at most [`DESCRIPTOR_SIZE_MAX`].
    #[serde(deserialize_with = "size")]
    pub size: u64,
    /// Where else the content can be found.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Facts about the content.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: Annotations,
    /// The type of the artifact that the content is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The content itself in base64; [`Descriptor::verify_data`] checks it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// Which machine the content runs on; passed through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<serde_json::Value>,
}

impl Descriptor {
    /// A descriptor with the three required fields only.
    pub fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.into(),
            digest,
            size,
            urls: Vec::new(),
            annotations: Annotations::new(),
            artifact_type: None,
            data: None,
            platform: None,
        }
    }

    /// Checks the embedded content, if there is some, against size and digest.
    pub fn verify_data(&self) -> Result<(), DataError> {
        let Some(data) = &self.data else { return Ok(()) };
        let content = STANDARD.decode(data).map_err(|_| DataError::Base64)?;
        if content.len() as u64 != self.size {
            return Err(DataError::Size);
        }
        if Digest::of(self.digest.algorithm(), &content) != self.digest {
            return Err(DataError::Digest);
        }
        Ok(())
    }
}

impl Serialize for Descriptor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

/// A JSON object only: what serde derives would read an array as a descriptor too, and no client does.
impl<'de> Deserialize<'de> for Descriptor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Descriptor;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a descriptor object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Descriptor, A::Error> {
        Descriptor::deserialize(MapAccessDeserializer::new(map))
    }
}

/// Why a descriptor's `data` field is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DataError {
    /// Not standard base64 with padding.
    #[error("the data field is not base64")]
    Base64,
    /// The content is not as long as `size` says.
    #[error("the data field is not as long as the size field says")]
    Size,
    /// The content does not have this digest.
    #[error("the data field does not have the stated digest")]
    Digest,
}

/// A size that is neither negative nor beyond [`DESCRIPTOR_SIZE_MAX`].
fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let size = u64::deserialize(deserializer)?;
    if size > DESCRIPTOR_SIZE_MAX {
        return Err(serde::de::Error::custom(format_args!("size {size} is too large")));
    }
    Ok(size)
}

/// The default for `null`, which is how Go's encoder writes an empty list.
pub(crate) fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(size: &str) -> Result<Descriptor, serde_json::Error> {
        let digest = Digest::sha256(b"{}");
        serde_json::from_str(&format!(r#"{{"mediaType":"a/b","digest":"{digest}","size":{size}}}"#))
    }

    #[test]
    fn sizes_outside_the_countable_are_refused() {
        assert_eq!(parse("0").unwrap().size, 0);
        assert_eq!(parse(&DESCRIPTOR_SIZE_MAX.to_string()).unwrap().size, DESCRIPTOR_SIZE_MAX);
        for bad in ["-1", "1.5", "1e3", "\"2\"", "null", "9223372036854775808", "18446744073709551616"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_array_is_not_a_descriptor_and_a_key_stands_once() {
        let digest = Digest::sha256(b"{}");
        assert!(serde_json::from_str::<Descriptor>(&format!(r#"["a/b","{digest}",2]"#)).is_err());
        let twice = format!(r#"{{"mediaType":"a/b","digest":"{digest}","size":1,"size":2}}"#);
        assert!(serde_json::from_str::<Descriptor>(&twice).is_err());
    }

    #[test]
    fn unknown_fields_are_ignored_and_known_ones_survive_a_round_trip() {
        let digest = Digest::sha256(b"{}");
        let text = format!(
            r#"{{"mediaType":"a/b","digest":"{digest}","size":2,"urls":null,"annotations":{{"k":"v"}},
               "platform":{{"os":"linux","x":[1]}},"artifactType":"t","data":"e30=","newer":1}}"#
        );
        let descriptor: Descriptor = serde_json::from_str(&text).unwrap();
        assert_eq!(descriptor.platform.as_ref().unwrap()["x"][0], 1);
        assert!(descriptor.urls.is_empty());
        let again: Descriptor = serde_json::from_str(&serde_json::to_string(&descriptor).unwrap()).unwrap();
        assert_eq!(again, descriptor);
    }

    #[test]
    fn embedded_data_must_be_the_content() {
        let mut descriptor = Descriptor::new("a/b", Digest::sha256(b"{}"), 2);
        assert_eq!(descriptor.verify_data(), Ok(()));
        for (data, expected) in [
            ("e30=", Ok(())),
            ("e30", Err(DataError::Base64)),
            ("%%%%", Err(DataError::Base64)),
            ("e30g", Err(DataError::Size)),
            ("W10=", Err(DataError::Digest)),
        ] {
            descriptor.data = Some(data.to_owned());
            assert_eq!(descriptor.verify_data(), expected, "{data}");
        }
    }
}
