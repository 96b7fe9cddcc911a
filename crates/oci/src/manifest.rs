//! Manifests and indexes, read for what they say about other content.
//!
//! A manifest is stored and served as the bytes that were pushed; this view only decides whether they are acceptable and what they
//! reference. It is strict where clients would disagree about the meaning (both layers and manifests, a media type that contradicts
//! the `Content-Type`, negative sizes) and lenient where the specification is (unknown fields, unknown layer types, no layers).

use std::collections::BTreeSet;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::descriptor::{Annotations, Descriptor, null_as_default};
use crate::digest::Digest;
use crate::error::{ErrorCode, OciError};
use crate::media_type::{self, ManifestType};

/// The largest manifest in bytes. The specification asks for 4 MiB at least; twice that leaves room for large annotations, and a
/// manifest of this size still fits in memory a thousand times over.
pub const MANIFEST_SIZE_MAX: u64 = 8 << 20;

/// The most descriptors in one manifest. The largest real images have some hundred layers, model artifacts some thousand; every one
/// costs a look-up inside the transaction that stores the manifest.
pub const DESCRIPTORS_MAX: usize = 16_384;

/// A manifest that may be stored.
#[derive(Clone, Debug, PartialEq)]
pub enum Manifest {
    /// One image (or artifact): a config and layers.
    Image(Box<Image>),
    /// A list of manifests.
    Index(Box<Index>),
}

/// An image manifest, OCI or Docker.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// The type under which it is stored and served.
    pub media_type: ManifestType,
    /// The configuration blob.
    pub config: Descriptor,
    /// The layers, lowest first.
    pub layers: Vec<Descriptor>,
    /// The manifest that this one refers to.
    pub subject: Option<Descriptor>,
    /// The manifest's own `artifactType`; see [`Manifest::artifact_type`].
    pub artifact_type: Option<String>,
    /// The manifest's annotations.
    pub annotations: Annotations,
}

/// An image index or a Docker manifest list.
#[derive(Clone, Debug, PartialEq)]
pub struct Index {
    /// The type under which it is stored and served.
    pub media_type: ManifestType,
    /// What it lists: manifests, and for build caches also blobs.
    pub manifests: Vec<Descriptor>,
    /// The manifest that this one refers to.
    pub subject: Option<Descriptor>,
    /// The index's `artifactType`.
    pub artifact_type: Option<String>,
    /// The index's annotations.
    pub annotations: Annotations,
}

/// The union of all fields that we look at.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: Option<i64>,
    media_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    fs_layers: Option<IgnoredAny>,
    subject: Option<Descriptor>,
    artifact_type: Option<String>,
    #[serde(default, deserialize_with = "null_as_default")]
    annotations: Annotations,
}

impl Manifest {
    /// Reads a manifest as it was sent under `content_type` (the header's value; `None` when there was none).
    ///
    /// Errors carry the protocol's code and status: MANIFEST_INVALID 400, SIZE_INVALID 413, UNSUPPORTED 400 for Docker schema 1.
    pub fn parse(bytes: &[u8], content_type: Option<&str>) -> Result<Self, OciError> {
        if bytes.len() as u64 > MANIFEST_SIZE_MAX {
            return Err(too_large());
        }
        let content_type = content_type.map(media_type::essence).filter(|essence| !essence.is_empty());
        if content_type.is_some_and(media_type::is_schema1) {
            return Err(schema1());
        }
        let document = Document::read(bytes)?;
        let media_type = document.resolve_type(content_type)?;
        document.check_shape(media_type)?;
        document.check_descriptors()?;
        document.into_manifest(media_type)
    }

    /// The type under which the manifest is stored and served.
    pub const fn media_type(&self) -> ManifestType {
        match self {
            Self::Image(image) => image.media_type,
            Self::Index(index) => index.media_type,
        }
    }

    /// The manifest that this one refers to.
    pub const fn subject(&self) -> Option<&Descriptor> {
        match self {
            Self::Image(image) => image.subject.as_ref(),
            Self::Index(index) => index.subject.as_ref(),
        }
    }

    /// The type shown in a list of referrers: the manifest's own, else an image's config media type.
    pub fn artifact_type(&self) -> Option<&str> {
        let (own, config) = match self {
            Self::Image(image) => (&image.artifact_type, Some(image.config.media_type.as_str())),
            Self::Index(index) => (&index.artifact_type, None),
        };
        own.as_deref().filter(|own| !own.is_empty()).or(config)
    }

    /// The manifest's annotations.
    pub const fn annotations(&self) -> &Annotations {
        match self {
            Self::Image(image) => &image.annotations,
            Self::Index(index) => &index.annotations,
        }
    }

    /// The blobs without which the manifest is of no use, each once: config, layers, and what an index lists that is no manifest
    /// (build caches do that).
    pub fn blobs(&self) -> Vec<Digest> {
        distinct(self.required_blobs())
    }

    /// The descriptors behind [`Manifest::blobs`], in the order of the document and as often as they stand there.
    pub fn required_blobs(&self) -> impl Iterator<Item = &Descriptor> {
        let (config, listed) = match self {
            Self::Image(image) => (Some(&image.config), &image.layers),
            Self::Index(index) => (None, &index.manifests),
        };
        let is_index = config.is_none();
        let required = move |entry: &&Descriptor| match is_index {
            true => !is_manifest(entry),
            false => !media_type::is_nondistributable(&entry.media_type),
        };
        config.into_iter().chain(listed.iter().filter(required))
    }

    /// The blobs that may be missing because their type is non-distributable, each once.
    pub fn blobs_optional(&self) -> Vec<Digest> {
        match self {
            Self::Image(image) => distinct(
                image.layers.iter().filter(|layer| media_type::is_nondistributable(&layer.media_type)),
            ),
            Self::Index(_) => Vec::new(),
        }
    }

    /// The manifests that an index lists, each once.
    pub fn children(&self) -> Vec<Digest> {
        match self {
            Self::Image(_) => Vec::new(),
            Self::Index(index) => distinct(index.manifests.iter().filter(|entry| is_manifest(entry))),
        }
    }
}

impl Document {
    fn read(bytes: &[u8]) -> Result<Self, OciError> {
        // Serde would read an array as a struct too.
        if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
            return Err(invalid("a manifest is a JSON object"));
        }
        serde_json::from_slice(bytes).map_err(|error| invalid(without_quotes(&error)))
    }

    /// The type to store under, which the header, the document or (when both are silent) the document's shape tells.
    fn resolve_type(&self, content_type: Option<&str>) -> Result<ManifestType, OciError> {
        if self.schema_version == Some(1) || self.media_type.as_deref().is_some_and(media_type::is_schema1) {
            return Err(schema1());
        }
        if self.schema_version != Some(2) {
            return Err(invalid("schemaVersion is not 2"));
        }
        let stated = self.media_type.as_deref().map(known_type).transpose()?;
        let sent = content_type.map(known_type).transpose()?;
        match (stated, sent) {
            (Some(stated), Some(sent)) if stated != sent => {
                Err(invalid(format!("mediaType is {stated}, but the Content-Type is {sent}")))
            }
            (Some(known), _) | (None, Some(known)) => Ok(known),
            (None, None) if self.manifests.is_some() => Ok(ManifestType::OciIndex),
            (None, None) if self.config.is_some() => Ok(ManifestType::OciManifest),
            (None, None) => Err(invalid("the manifest has neither a mediaType nor a config nor manifests")),
        }
    }

    /// Refuses documents that are an image to some clients and an index to others (CVE-2021-41190).
    fn check_shape(&self, media_type: ManifestType) -> Result<(), OciError> {
        if self.fs_layers.is_some() {
            return Err(invalid("a manifest of schema 2 has no fsLayers"));
        }
        if media_type.is_index() && (self.config.is_some() || self.layers.is_some()) {
            return Err(invalid("an index has neither config nor layers"));
        }
        if !media_type.is_index() && self.manifests.is_some() {
            return Err(invalid("an image manifest has no manifests"));
        }
        Ok(())
    }

    fn check_descriptors(&self) -> Result<(), OciError> {
        let lists = [("layers", &self.layers), ("manifests", &self.manifests)];
        let listed = lists.iter().filter_map(|(_, list)| list.as_ref()).map(Vec::len).sum::<usize>();
        if listed > DESCRIPTORS_MAX {
            return Err(invalid(format!("more than {DESCRIPTORS_MAX} descriptors in one manifest")));
        }
        for (name, descriptor) in [("config", &self.config), ("subject", &self.subject)] {
            descriptor.iter().try_for_each(|descriptor| check_descriptor(descriptor, || name.to_owned()))?;
        }
        for (name, list) in lists {
            for (index, descriptor) in list.iter().flatten().enumerate() {
                check_descriptor(descriptor, || format!("{name}[{index}]"))?;
            }
        }
        Ok(())
    }

    fn into_manifest(self, media_type: ManifestType) -> Result<Manifest, OciError> {
        let Self { config, layers, manifests, subject, artifact_type, annotations, .. } = self;
        if media_type.is_index() {
            let manifests = manifests.unwrap_or_default();
            return Ok(Manifest::Index(Box::new(Index {
                media_type,
                manifests,
                subject,
                artifact_type,
                annotations,
            })));
        }
        let config = config.ok_or_else(|| invalid("the image manifest has no config"))?;
        let layers = layers.unwrap_or_default();
        Ok(Manifest::Image(Box::new(Image {
            media_type,
            config,
            layers,
            subject,
            artifact_type,
            annotations,
        })))
    }
}

/// The answer to a manifest beyond [`MANIFEST_SIZE_MAX`]: 413.
pub fn too_large() -> OciError {
    let message = format!("a manifest has at most {MANIFEST_SIZE_MAX} bytes");
    OciError::new(ErrorCode::SizeInvalid, message).with_status(413)
}

fn check_descriptor(descriptor: &Descriptor, place: impl Fn() -> String) -> Result<(), OciError> {
    if descriptor.media_type.is_empty() {
        return Err(invalid(format!("{}: the mediaType is empty", place())));
    }
    descriptor.verify_data().map_err(|error| invalid(format!("{}: {error}", place())))
}

fn known_type(text: &str) -> Result<ManifestType, OciError> {
    ManifestType::parse(text).ok_or_else(|| {
        invalid("not a manifest media type; OCI image manifests and indexes, Docker schema 2 manifests and lists are stored")
    })
}

fn is_manifest(entry: &Descriptor) -> bool {
    ManifestType::parse(&entry.media_type).is_some()
}

fn distinct<'a>(descriptors: impl Iterator<Item = &'a Descriptor>) -> Vec<Digest> {
    let mut seen = BTreeSet::new();
    descriptors.map(|descriptor| descriptor.digest).filter(|digest| seen.insert(*digest)).collect()
}

/// What the parser says, without what it quotes of the document: an answer repeats nothing that came from outside. What it expected,
/// and where, is its own.
fn without_quotes(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let quotes = message.starts_with("invalid ") || message.starts_with("unknown ");
    match message.rsplit_once(", expected ") {
        Some((_, expected)) if quotes => format!("expected {expected}"),
        _ if quotes => format!("a field cannot be read at line {} column {}", error.line(), error.column()),
        _ => message,
    }
}

fn invalid(message: impl Into<String>) -> OciError {
    OciError::new(ErrorCode::ManifestInvalid, message)
}

fn schema1() -> OciError {
    let message = "Docker schema 1 manifests are not supported; push with Docker 1.10 or newer";
    OciError::new(ErrorCode::Unsupported, message).with_status(400)
}

#[cfg(test)]
mod tests;
