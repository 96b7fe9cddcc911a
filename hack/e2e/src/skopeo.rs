//! skopeo: copies images between layouts, directories and registries without a daemon.

use std::fs;
use std::path::Path;

use anyhow::Result;
use shoal_test_images::{Image, Layout};

use crate::tool;

/// The place of an image in an OCI layout, as skopeo spells it.
pub fn layout(directory: &Path, tag: &str) -> String {
    format!("oci:{}:{tag}", directory.display())
}

/// The place of an image's documents and blobs, byte for byte, in a plain directory.
pub fn plain(directory: &Path) -> String {
    format!("dir:{}", directory.display())
}

/// Fills a plain directory with an image, so that skopeo can read it from there. The only way to hand it documents of Docker's
/// schema2: in an OCI layout it wants OCI's.
pub fn fill_plain(directory: &Path, layout: &Layout, image: &Image) -> Result<()> {
    fs::create_dir_all(directory)?;
    fs::write(directory.join("version"), "Directory Transport Version: 1.1\n")?;
    for blob in image.blobs() {
        fs::copy(layout.blob_path(&blob.digest), directory.join(blob.digest.to_hex()))?;
    }
    for manifest in image.manifests() {
        let name = format!("{}.manifest.json", manifest.digest.to_hex());
        let name = if manifest.digest == image.root.digest { "manifest.json" } else { &name };
        fs::copy(layout.blob_path(&manifest.digest), directory.join(name))?;
    }
    Ok(())
}

/// `skopeo copy` with digests preserved: the copy has the bytes of the original or the command fails. With `all`, every
/// platform of an index.
pub fn copy(from: &str, to: &str, all: bool) -> Result<String> {
    let mut words = vec!["copy", "--preserve-digests", "--src-tls-verify=false", "--dest-tls-verify=false"];
    words.extend(all.then_some("--all"));
    words.extend([from, to]);
    // Signatures of made images are nobody's concern.
    tool::run(tool::call("skopeo", "skopeo", ["--insecure-policy"])?.args(words))
}

/// The manifest or index behind a name, exactly as the registry sent it.
pub fn inspect_raw(image: &str) -> Result<String> {
    tool::run(tool::call("skopeo", "skopeo", ["inspect", "--raw", "--tls-verify=false", image])?)
}
