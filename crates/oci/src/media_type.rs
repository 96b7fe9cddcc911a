//! Media types that decide something: what is stored as a manifest, what is refused, which layers need not be here.
//!
//! Every other media type passes through the house as text. The list of manifest types is closed on purpose: a manifest of an
//! unknown type cannot be checked for what it references, and so could neither be protected from collection nor be preheated.

use std::fmt;

/// OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Docker manifest list (schema 2): the older word for an index.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker image manifest, schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// The `Accept` value with which a manifest is asked for upstream: every type we store, none that we refuse.
pub const MANIFEST_ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";
/// The content type of blobs whose media type the registry does not know.
pub const OCTET_STREAM: &str = "application/octet-stream";
/// The content type of JSON answers.
pub const JSON: &str = "application/json";

/// Docker schema 1, which has no content addresses for its layers' order and is refused everywhere.
const DOCKER_SCHEMA1: [&str; 2] = [
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
];
/// Layers that a registry is not expected to hold (image-spec "Non-distributable Layers", and Docker's foreign layers).
const NONDISTRIBUTABLE: [&str; 5] = [
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
];

/// A media type that is stored as a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ManifestType {
    /// [`OCI_MANIFEST`].
    OciManifest,
    /// [`OCI_INDEX`].
    OciIndex,
    /// [`DOCKER_MANIFEST`].
    DockerManifest,
    /// [`DOCKER_LIST`].
    DockerList,
}

impl ManifestType {
    /// The type named by `text`, which may be a whole `Content-Type` value with parameters; `None` for any other type.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::OciManifest, Self::OciIndex, Self::DockerManifest, Self::DockerList]
            .into_iter()
            .find(|known| known.as_str().eq_ignore_ascii_case(essence(text)))
    }

    /// The media type as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OciManifest => OCI_MANIFEST,
            Self::OciIndex => OCI_INDEX,
            Self::DockerManifest => DOCKER_MANIFEST,
            Self::DockerList => DOCKER_LIST,
        }
    }

    /// Whether documents of this type list manifests (an index) and not layers (an image).
    pub const fn is_index(self) -> bool {
        matches!(self, Self::OciIndex | Self::DockerList)
    }
}

impl fmt::Display for ManifestType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A media type without its parameters: `a/b; charset=utf-8` is `a/b`.
pub fn essence(text: &str) -> &str {
    text.split_once(';').map_or(text, |(essence, _)| essence).trim()
}

/// Whether `media_type` is Docker's schema 1.
pub fn is_schema1(media_type: &str) -> bool {
    DOCKER_SCHEMA1.iter().any(|known| known.eq_ignore_ascii_case(essence(media_type)))
}

/// Whether `media_type` is a layer that may stay outside the registry (its descriptor's `urls` say where it is).
pub fn is_nondistributable(media_type: &str) -> bool {
    NONDISTRIBUTABLE.iter().any(|known| known.eq_ignore_ascii_case(essence(media_type)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifest_types_are_known_with_parameters_and_in_any_case() {
        assert_eq!(ManifestType::parse(OCI_MANIFEST), Some(ManifestType::OciManifest));
        assert_eq!(
            ManifestType::parse(&format!("{DOCKER_LIST}; charset=utf-8")),
            Some(ManifestType::DockerList)
        );
        assert_eq!(ManifestType::parse(&OCI_INDEX.to_uppercase()), Some(ManifestType::OciIndex));
        for other in ["", ";", JSON, "application/vnd.docker.distribution.manifest.v1+prettyjws", "text/html"]
        {
            assert_eq!(ManifestType::parse(other), None, "{other}");
        }
    }

    #[test]
    fn the_accept_list_names_exactly_the_stored_types() {
        let listed: Vec<_> = MANIFEST_ACCEPT.split(", ").collect();
        assert_eq!(listed, [OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST]);
    }

    #[test]
    fn schema1_and_foreign_layers_are_recognised() {
        assert!(is_schema1("application/vnd.docker.distribution.manifest.v1+prettyjws"));
        assert!(!is_schema1(DOCKER_MANIFEST));
        assert!(is_nondistributable("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"));
        assert!(is_nondistributable("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"));
        assert!(!is_nondistributable("application/vnd.oci.image.layer.v1.tar+gzip"));
    }
}
