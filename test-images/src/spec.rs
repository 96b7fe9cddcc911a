//! What an image shall be like: the one argument of the generator.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, Result, ensure};

use crate::layer::SIZE_MIN;

/// How the layers' tar archives are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Plain tar.
    None,
    /// Gzip, what nearly every image in the world uses.
    #[default]
    Gzip,
    /// Zstandard; the OCI image specification has it, Docker schema2 does not.
    Zstd,
}

/// Which family of documents describes the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// OCI image manifest and image index.
    #[default]
    Oci,
    /// Docker image manifest version 2, schema 2, and manifest list.
    Docker,
}

/// One entry of a multi-platform image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// Operating system in Go's spelling, such as `linux`.
    pub os: String,
    /// Architecture in Go's spelling, such as `amd64`.
    pub architecture: String,
    /// Variant of the architecture, such as `v8`.
    pub variant: Option<String>,
}

/// Files that make an image runnable.
#[derive(Clone, Debug)]
pub struct RootFs {
    /// The static busybox to place at `/bin/busybox`.
    pub busybox: PathBuf,
    /// Text of the file `/marker`, which the image's command prints.
    pub marker: String,
}

/// A whole image. The same spec gives the same bytes everywhere.
#[derive(Clone, Debug)]
pub struct ImageSpec {
    /// Size of each layer's tar archive in bytes before compression; rounded up to 512. The blob is that size plus the little
    /// that compression of random bytes adds.
    pub layers: Vec<u64>,
    /// Compression of every layer.
    pub compression: Compression,
    /// Family of the documents.
    pub format: Format,
    /// One platform gives a manifest, several give an index over one manifest each. Layers differ between platforms.
    pub platforms: Vec<Platform>,
    /// Everything random comes from this.
    pub seed: u64,
    /// When present, a first layer with a shell and a marker precedes [`ImageSpec::layers`].
    pub rootfs: Option<RootFs>,
}

impl ImageSpec {
    /// An OCI image of gzip layers for this machine's platform.
    pub fn new(layers: Vec<u64>, seed: u64) -> Self {
        Self {
            layers,
            compression: Compression::default(),
            format: Format::default(),
            platforms: vec![Platform::host()],
            seed,
            rootfs: None,
        }
    }

    /// `count` layers that are `size` bytes together; the first takes the remainder.
    pub fn evenly(size: u64, count: u32, seed: u64) -> Self {
        let count = u64::from(count.max(1));
        let each = size / count;
        let layers = (0..count).map(|index| if index == 0 { each + size % count } else { each }).collect();
        Self::new(layers, seed)
    }

    /// Says why the spec cannot be built, if it cannot.
    pub fn check(&self) -> Result<()> {
        ensure!(!self.platforms.is_empty(), "an image needs at least one platform");
        ensure!(
            !self.layers.is_empty() || self.rootfs.is_some(),
            "an image needs at least one layer: give a layer size, or a root file system"
        );
        ensure!(
            !(self.compression == Compression::Zstd && self.format == Format::Docker),
            "Docker schema2 has no media type for zstd layers: use gzip, or the OCI format"
        );
        for size in &self.layers {
            ensure!(
                *size >= SIZE_MIN,
                "a layer of {size} bytes is too small: the smallest tar with a file is {SIZE_MIN}"
            );
        }
        Ok(())
    }
}

impl Platform {
    /// The platform this program was built for.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Self { os: "linux".to_owned(), architecture: architecture.to_owned(), variant: None }
    }

    /// `count` different platforms, this machine's first.
    pub fn several(count: usize) -> Vec<Self> {
        let known = [
            "linux/amd64",
            "linux/arm64/v8",
            "linux/arm/v7",
            "linux/s390x",
            "linux/ppc64le",
            "linux/riscv64",
        ];
        let host = Self::host();
        let others = known
            .iter()
            .filter_map(|text| text.parse::<Self>().ok())
            .filter(|platform| platform.architecture != host.architecture);
        std::iter::once(host.clone()).chain(others).take(count).collect()
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

impl FromStr for Platform {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut words = text.split('/').map(str::to_owned);
        let os = words.next().filter(|word| !word.is_empty());
        let architecture = words.next().filter(|word| !word.is_empty());
        let variant = words.next();
        ensure!(
            words.next().is_none(),
            "a platform has at most three words, as in linux/arm/v7; got {text:?}"
        );
        os.zip(architecture).map(|(os, architecture)| Self { os, architecture, variant }).with_context(|| {
            format!("a platform is written os/architecture, as in linux/amd64; got {text:?}")
        })
    }
}

impl FromStr for Compression {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "none" => Ok(Self::None),
            "gzip" => Ok(Self::Gzip),
            "zstd" => Ok(Self::Zstd),
            _ => anyhow::bail!("compression is none, gzip or zstd; got {text:?}"),
        }
    }
}

impl FromStr for Format {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "oci" => Ok(Self::Oci),
            "docker" => Ok(Self::Docker),
            _ => anyhow::bail!("format is oci or docker; got {text:?}"),
        }
    }
}
