//! Media types of the documents and layers that the generator writes.

use crate::spec::{Compression, Format};

/// Media type of an image manifest.
pub const fn manifest(format: Format) -> &'static str {
    match format {
        Format::Oci => "application/vnd.oci.image.manifest.v1+json",
        Format::Docker => "application/vnd.docker.distribution.manifest.v2+json",
    }
}

/// Media type of the document that lists one manifest per platform.
pub const fn index(format: Format) -> &'static str {
    match format {
        Format::Oci => "application/vnd.oci.image.index.v1+json",
        Format::Docker => "application/vnd.docker.distribution.manifest.list.v2+json",
    }
}

/// Media type of an image configuration.
pub const fn config(format: Format) -> &'static str {
    match format {
        Format::Oci => "application/vnd.oci.image.config.v1+json",
        Format::Docker => "application/vnd.docker.container.image.v1+json",
    }
}

/// Media type of a layer. Docker schema2 has none for zstd, which [`crate::ImageSpec::check`] refuses.
pub const fn layer(format: Format, compression: Compression) -> &'static str {
    match (format, compression) {
        (Format::Oci, Compression::None) => "application/vnd.oci.image.layer.v1.tar",
        (Format::Oci, Compression::Gzip) => "application/vnd.oci.image.layer.v1.tar+gzip",
        (Format::Oci, Compression::Zstd) => "application/vnd.oci.image.layer.v1.tar+zstd",
        (Format::Docker, Compression::None) => "application/vnd.docker.image.rootfs.diff.tar",
        (Format::Docker, Compression::Gzip | Compression::Zstd) => {
            "application/vnd.docker.image.rootfs.diff.tar.gzip"
        }
    }
}
