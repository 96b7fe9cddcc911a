//! A made image is what its documents say: digests, sizes, diff ids, media types; and the same on every machine.

#![expect(clippy::unwrap_used, reason = "helpers of tests; a panic is the failure report")]

use std::collections::BTreeMap;
use std::io::Read;

use serde_json::Value;
use shoal_oci::Digest;
use shoal_test_images::spec::RootFs;
use shoal_test_images::{
    Compression, Format, Image, ImageSpec, Layout, MemoryBlobs, Platform, build, busybox,
};

fn in_memory(spec: &ImageSpec) -> (Image, MemoryBlobs) {
    let mut blobs = MemoryBlobs::new();
    let image = build(spec, &mut blobs).unwrap();
    (image, blobs)
}

fn json(blobs: &MemoryBlobs, digest: &Digest) -> Value {
    serde_json::from_slice(blobs.get(digest).unwrap()).unwrap()
}

fn uncompress(compression: Compression, blob: &[u8]) -> Vec<u8> {
    let mut archive = Vec::new();
    match compression {
        Compression::None => archive.extend_from_slice(blob),
        Compression::Gzip => drop(flate2::read::GzDecoder::new(blob).read_to_end(&mut archive).unwrap()),
        Compression::Zstd => zstd::stream::copy_decode(blob, &mut archive).unwrap(),
    }
    archive
}

/// Checks every digest, size and diff id of an image against the bytes.
fn verify(spec: &ImageSpec, image: &Image, blobs: &MemoryBlobs) {
    for (digest, bytes) in blobs.iter() {
        assert_eq!(*digest, Digest::sha256(bytes));
    }
    for entry in &image.platforms {
        let manifest = json(blobs, &entry.manifest.digest);
        let config = json(blobs, &entry.config.digest);
        assert_eq!(manifest["config"]["digest"], entry.config.digest.to_string());
        assert_eq!(config["architecture"], entry.platform.architecture);
        let diff_ids = config["rootfs"]["diff_ids"].as_array().unwrap();
        assert_eq!(diff_ids.len(), entry.layers.len());
        assert_eq!(manifest["layers"].as_array().unwrap().len(), entry.layers.len());
        for (index, layer) in entry.layers.iter().enumerate() {
            let blob = blobs.get(&layer.digest).unwrap();
            let archive = uncompress(spec.compression, blob);
            assert_eq!(layer.size, blob.len() as u64);
            assert_eq!(manifest["layers"][index]["size"], layer.size);
            assert_eq!(manifest["layers"][index]["mediaType"], layer.media_type);
            assert_eq!(diff_ids[index], Digest::sha256(&archive).to_string());
        }
    }
}

#[test]
fn every_kind_of_image_is_what_its_documents_say() {
    for (compression, format) in [
        (Compression::None, Format::Oci),
        (Compression::Gzip, Format::Oci),
        (Compression::Zstd, Format::Oci),
        (Compression::None, Format::Docker),
        (Compression::Gzip, Format::Docker),
    ] {
        for count in [1, 3] {
            let mut spec = ImageSpec::new(vec![300_000, 4096], 7);
            (spec.compression, spec.format, spec.platforms) = (compression, format, Platform::several(count));
            let (image, blobs) = in_memory(&spec);
            assert_eq!(image.platforms.len(), count);
            assert_eq!(image.manifests().count(), if count == 1 { 1 } else { count + 1 });
            verify(&spec, &image, &blobs);
        }
    }
}

#[test]
fn an_archive_is_exactly_as_large_as_asked_and_its_files_are_readable() {
    for size in [2048, 2560, 3072, 100_352, 8 * 1024 * 1024 + 2048, 20 * 1024 * 1024] {
        let mut spec = ImageSpec::new(vec![size], 1);
        spec.compression = Compression::None;
        let (image, blobs) = in_memory(&spec);
        assert_eq!(image.platforms[0].layers[0].size, size, "{size}");
        let mut archive = tar::Archive::new(blobs.get(&image.platforms[0].layers[0].digest).unwrap());
        let files: u64 = archive.entries().unwrap().map(|entry| entry.unwrap().size() + 512).sum();
        assert_eq!(files + 1024, size);
    }
}

#[test]
fn the_seed_decides_every_byte() {
    let spec = ImageSpec::evenly(200_000, 3, 42);
    assert_eq!(in_memory(&spec).0, in_memory(&spec).0);
    let other = ImageSpec { seed: 43, ..spec.clone() };
    assert_ne!(in_memory(&spec).0.root.digest, in_memory(&other).0.root.digest);
    let layers: BTreeMap<_, _> =
        in_memory(&spec).0.platforms[0].layers.iter().map(|layer| (layer.digest, layer.size)).collect();
    assert_eq!(layers.len(), 3, "layers of one image differ");
}

#[test]
fn a_layout_holds_what_the_memory_holds_and_lists_each_tag_once() {
    let directory = std::env::temp_dir().join(format!("shoal-layout-{}", std::process::id()));
    let spec = ImageSpec::new(vec![50_000], 3);
    let (image, blobs) = in_memory(&spec);
    let mut layout = Layout::open(&directory).unwrap();
    assert_eq!(layout.add(&spec, "v1").unwrap(), image);
    for tag in ["v1", "v2"] {
        layout.add(&ImageSpec::new(vec![50_000], 4), tag).unwrap();
    }
    for (digest, bytes) in blobs.iter() {
        assert_eq!(std::fs::read(layout.blob_path(digest)).unwrap(), bytes);
    }
    let index: Value = serde_json::from_slice(&std::fs::read(directory.join("index.json")).unwrap()).unwrap();
    assert_eq!(index["manifests"].as_array().unwrap().len(), 2);
    let unfinished = std::fs::read_dir(directory.join("blobs")).unwrap().count();
    std::fs::remove_dir_all(&directory).unwrap();
    assert_eq!(unfinished, 1, "only the sha256 directory is left");
}

#[test]
fn impossible_specs_are_refused_with_a_reason() {
    let good = ImageSpec::new(vec![4096], 0);
    let refusals = [
        (ImageSpec { layers: vec![], ..good.clone() }, "at least one layer"),
        (ImageSpec { layers: vec![100], ..good.clone() }, "too small"),
        (ImageSpec { platforms: vec![], ..good.clone() }, "at least one platform"),
        (ImageSpec { compression: Compression::Zstd, format: Format::Docker, ..good }, "zstd"),
    ];
    for (spec, reason) in refusals {
        let error = build(&spec, &mut MemoryBlobs::new()).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
    for bad in ["", "linux", "linux/", "/amd64", "linux/arm/v7/x"] {
        assert!(bad.parse::<Platform>().is_err(), "{bad:?}");
    }
}

#[test]
fn a_runnable_image_has_busybox_and_its_marker() {
    let Some(busybox) = busybox::find() else { return };
    let mut spec = ImageSpec::new(vec![], 0);
    spec.rootfs = Some(RootFs { busybox, marker: "here\n".to_owned() });
    let (image, blobs) = in_memory(&spec);
    verify(&spec, &image, &blobs);
    let archive = uncompress(spec.compression, blobs.get(&image.platforms[0].layers[0].digest).unwrap());
    let mut archive = tar::Archive::new(archive.as_slice());
    let names: Vec<String> = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect();
    for name in ["bin/busybox", "bin/sh", "marker"] {
        assert!(names.contains(&name.to_owned()), "{name} in {names:?}");
    }
}
