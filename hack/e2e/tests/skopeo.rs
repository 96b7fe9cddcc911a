//! skopeo: every kind of image arrives through an agent byte for byte as it was pushed.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use shoal_e2e::{Cluster, fixture, skopeo};
use shoal_oci::Digest;
use shoal_test_images::{Compression, Format, Image, ImageSpec, Platform};

const MIB: u64 = 1024 * 1024;

/// Checks that skopeo's plain directory has every document and blob of the image.
fn verify(directory: &Path, image: &Image) -> Result<()> {
    for blob in image.blobs() {
        let path = directory.join(blob.digest.to_hex());
        let bytes = std::fs::read(&path).with_context(|| format!("{} did not arrive", blob.digest))?;
        ensure!(Digest::sha256(&bytes) == blob.digest, "{} arrived with other bytes", blob.digest);
    }
    let manifest = std::fs::read(directory.join("manifest.json"))?;
    ensure!(Digest::sha256(&manifest) == image.root.digest, "the manifest arrived with other bytes");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "e2e: needs skopeo; run by cargo xtask test --tier e2e"]
async fn every_kind_of_image_survives_the_way_from_skopeo_to_skopeo() -> Result<()> {
    let cluster = Cluster::start(2)?;
    let server = cluster.server.listener("registry")?;
    let kinds = [
        (Compression::Gzip, Format::Oci, 1),
        (Compression::Gzip, Format::Oci, 4),
        (Compression::Zstd, Format::Oci, 2),
        (Compression::None, Format::Oci, 1),
        (Compression::Gzip, Format::Docker, 1),
        (Compression::Gzip, Format::Docker, 3),
    ];
    for (number, (compression, format, platforms)) in (0..).zip(kinds) {
        let mut spec = ImageSpec::new(vec![3 * MIB, 700_000, 4096], number);
        (spec.compression, spec.format, spec.platforms) = (compression, format, Platform::several(platforms));
        let directory = cluster.directory().join(format!("image-{number}"));
        let (layout, image) = fixture::made(&directory, &spec)?;
        let plain = directory.join("plain");
        skopeo::fill_plain(&plain, &layout, &image)?;
        let source = match format {
            Format::Oci => skopeo::layout(&directory, fixture::TAG),
            Format::Docker => skopeo::plain(&plain),
        };
        let repository = format!("kinds/k{number}:v1");
        let target = format!("docker://{server}/{repository}");
        skopeo::copy(&source, &target, true)?;
        for (at, agent) in cluster.agents.iter().enumerate() {
            let source = format!("docker://{}/{repository}", agent.listener("registry")?);
            let arrived = cluster.directory().join(format!("arrived-{number}-{at}"));
            std::fs::create_dir(&arrived)?;
            skopeo::copy(&source, &skopeo::plain(&arrived), true)?;
            verify(&arrived, &image)?;
            let raw = skopeo::inspect_raw(&source)?;
            ensure!(
                Digest::sha256(raw.as_bytes()) == image.root.digest,
                "inspect --raw shows another document"
            );
        }
    }
    Ok(())
}
