//! `cargo xtask images`: images from nothing, as an OCI layout on disk.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use shoal_test_images::spec::RootFs;
use shoal_test_images::{Compression, Format, ImageSpec, Layout, Platform, busybox};

use crate::options;
use crate::terminal::say;

/// Options of `cargo xtask images`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Size of all layers together, before compression
    #[arg(long, default_value = "256MiB", value_parser = options::size)]
    size: u64,
    /// Number of layers
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=127))]
    layers: u32,
    /// Decides every byte of the content
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// none, gzip or zstd
    #[arg(long, default_value = "gzip")]
    compression: Compression,
    /// oci or docker (schema2)
    #[arg(long, default_value = "oci")]
    format: Format,
    /// Number of platforms; more than one gives an index
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=6))]
    platforms: u8,
    /// Put this machine's static busybox and a /marker file into a first layer
    #[arg(long)]
    runnable: bool,
    /// Name of the image inside the layout
    #[arg(long, default_value = "latest")]
    tag: String,
    /// Directory of the OCI layout; an existing layout gets one more image
    #[arg(long)]
    out: PathBuf,
}

/// Makes the image and says what it is.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut spec = ImageSpec::evenly(arguments.size, arguments.layers, arguments.seed);
    spec.compression = arguments.compression;
    spec.format = arguments.format;
    spec.platforms = Platform::several(usize::from(arguments.platforms));
    if arguments.runnable {
        let busybox =
            busybox::find().context("--runnable needs a static busybox: apt-get install busybox-static")?;
        spec.rootfs = Some(RootFs { busybox, marker: format!("image of seed {}\n", arguments.seed) });
    }
    let started = Instant::now();
    let image = Layout::open(&arguments.out)?.add(&spec, &arguments.tag)?;
    for entry in &image.platforms {
        say(format_args!("{} {}", entry.platform, entry.manifest.digest));
        for blob in entry.layers.iter().chain([&entry.config]) {
            say(format_args!("    {} {:>12} {}", blob.digest, blob.size, blob.media_type));
        }
    }
    say(format_args!(
        "{} is {}: {} bytes of blobs in {:.1} s",
        image.root.digest,
        image.root.media_type,
        image.blob_bytes(),
        started.elapsed().as_secs_f64()
    ));
    say(format_args!("skopeo inspect --raw oci:{}:{}", arguments.out.display(), arguments.tag));
    Ok(())
}
