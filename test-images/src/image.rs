//! Builds a whole image into a [`Sink`] and says what it is made of.

use anyhow::Result;
use shoal_oci::Digest;

use crate::document;
use crate::layer::{self, Layer};
use crate::media_type;
use crate::sink::Sink;
use crate::spec::{ImageSpec, Platform};

/// A reference to a blob or a document, as the specification's descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Media type.
    pub media_type: &'static str,
    /// Digest of the content.
    pub digest: Digest,
    /// Size of the content in bytes.
    pub size: u64,
}

/// One platform's part of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlatformImage {
    /// The platform.
    pub platform: Platform,
    /// The manifest.
    pub manifest: Descriptor,
    /// The configuration blob.
    pub config: Descriptor,
    /// The layer blobs, lowest first.
    pub layers: Vec<Descriptor>,
}

/// A finished image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// What a tag points to: the index when there are several platforms, else the only manifest.
    pub root: Descriptor,
    /// One entry per platform, in the order of the spec.
    pub platforms: Vec<PlatformImage>,
}

impl Image {
    /// Every blob that a registry must hold before it takes a manifest: configurations and layers, in the order a client pushes.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        self.platforms.iter().flat_map(|platform| platform.layers.iter().chain([&platform.config]))
    }

    /// Every manifest in the order a client pushes: those of the platforms, then the index if there is one.
    pub fn manifests(&self) -> impl Iterator<Item = &Descriptor> {
        let index = (self.platforms.len() > 1).then_some(&self.root);
        self.platforms.iter().map(|platform| &platform.manifest).chain(index)
    }

    /// Size of all blobs together in bytes, without manifests.
    pub fn blob_bytes(&self) -> u64 {
        self.blobs().map(|blob| blob.size).sum()
    }
}

/// Builds the image that `spec` describes.
pub fn build<S: Sink>(spec: &ImageSpec, sink: &mut S) -> Result<Image> {
    spec.check()?;
    let mut platforms = Vec::with_capacity(spec.platforms.len());
    for (number, platform) in (0..).zip(&spec.platforms) {
        platforms.push(build_platform(spec, sink, number, platform)?);
    }
    let root = match platforms.as_slice() {
        [only] => only.manifest.clone(),
        several => {
            let entries = several.iter().map(|entry| (&entry.platform, &entry.manifest));
            put(sink, media_type::index(spec.format), &document::index(spec.format, entries))?
        }
    };
    Ok(Image { root, platforms })
}

fn build_platform<S: Sink>(
    spec: &ImageSpec,
    sink: &mut S,
    number: u64,
    platform: &Platform,
) -> Result<PlatformImage> {
    let mut layers: Vec<Layer> = Vec::with_capacity(spec.layers.len() + 1);
    if let Some(rootfs) = &spec.rootfs {
        layers.push(layer::rootfs(sink, spec.compression, rootfs)?);
    }
    for (index, size) in (0..).zip(&spec.layers) {
        layers.push(layer::random(sink, spec.compression, *size, spec.seed, [number, index])?);
    }
    let config = put(sink, media_type::config(spec.format), &document::config(spec, platform, &layers))?;
    let media_type = media_type::layer(spec.format, spec.compression);
    let layers: Vec<Descriptor> = layers
        .iter()
        .map(|layer| Descriptor { media_type, digest: layer.digest, size: layer.size })
        .collect();
    let manifest =
        put(sink, media_type::manifest(spec.format), &document::manifest(spec.format, &config, &layers))?;
    Ok(PlatformImage { platform: platform.clone(), manifest, config, layers })
}

fn put<S: Sink>(sink: &mut S, media_type: &'static str, bytes: &[u8]) -> Result<Descriptor> {
    Ok(Descriptor { media_type, digest: sink.put(bytes)?, size: bytes.len() as u64 })
}
