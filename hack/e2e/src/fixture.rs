//! The images that the tests push: small enough to be quick, large enough that pieces have somewhere to travel.

use std::path::Path;

use anyhow::{Context, Result};
use shoal_test_images::spec::RootFs;
use shoal_test_images::{Image, ImageSpec, Layout, busybox};

/// The tag inside of every layout that this file makes.
pub const TAG: &str = "v1";

/// An image whose command prints `marker`, with random layers of `sizes` above the one with the shell.
pub fn runnable(directory: &Path, sizes: Vec<u64>, marker: &str) -> Result<(Layout, Image)> {
    let busybox = busybox::find().context("no static busybox: apt-get install busybox-static")?;
    let mut spec = ImageSpec::new(sizes, 1);
    spec.rootfs = Some(RootFs { busybox, marker: format!("{marker}\n") });
    made(directory, &spec)
}

/// Any image.
pub fn made(directory: &Path, spec: &ImageSpec) -> Result<(Layout, Image)> {
    let mut layout = Layout::open(directory)?;
    let image = layout.add(spec, TAG)?;
    Ok((layout, image))
}
