//! What is measured, one name each.

/// A phase of the bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Phase {
    /// One blob at a time: POST, then PUT with all bytes
    PushLarge,
    /// One blob, one connection
    PullOne,
    /// One blob by eight connections at once
    PullMany,
    /// Blobs of 4 KiB over 32 connections: POST, then PUT
    PushSmall,
    /// GET of manifests by tag over 32 connections
    ManifestTag,
    /// GET of manifests by digest
    ManifestDigest,
    /// GET of blobs of 4 KiB
    BlobGet,
    /// HEAD of blobs
    BlobHead,
    /// HEAD of manifests by tag
    ManifestHead,
    /// GET of /v2/
    Version,
    /// From the start of the program to its first answer, with many blobs
    StartUp,
}

impl Phase {
    pub(super) const ALL: [Self; 11] = [
        Self::PushLarge,
        Self::PullOne,
        Self::PullMany,
        Self::PushSmall,
        Self::ManifestTag,
        Self::ManifestDigest,
        Self::BlobGet,
        Self::BlobHead,
        Self::ManifestHead,
        Self::Version,
        Self::StartUp,
    ];

    /// In names of measurements.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::PushLarge => "push_large",
            Self::PullOne => "pull_one_stream",
            Self::PullMany => "pull_8_streams",
            Self::PushSmall => "push_4kib",
            Self::ManifestTag => "manifest_get_by_tag",
            Self::ManifestDigest => "manifest_get_by_digest",
            Self::BlobGet => "blob_get_4kib",
            Self::BlobHead => "blob_head",
            Self::ManifestHead => "manifest_head",
            Self::Version => "version_get",
            Self::StartUp => "start",
        }
    }

    /// Whether it moves bytes, so that MiB/s is its figure, or answers, so that it is answers per second.
    pub(super) const fn is_large(self) -> bool {
        matches!(self, Self::PushLarge | Self::PullOne | Self::PullMany)
    }
}
