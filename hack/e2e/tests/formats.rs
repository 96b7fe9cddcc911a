//! What tools make besides plain gzip images: zstd and zstd:chunked layers, layouts of umoci, pushes of containerd for several platforms.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use shoal_e2e::buildah::Buildah;
use shoal_e2e::podman::Podman;
use shoal_e2e::{Cluster, Containerd, fixture, skopeo, tool};
use shoal_oci::Digest;
use shoal_test_images::{ImageSpec, Platform};

const MIB: u64 = 1024 * 1024;
/// The annotation of a zstd:chunked layer that says where its table of contents is.
const CHUNKED: &str = "io.containers.zstd-chunked.manifest-position";

/// The layers of an image as the registry tells them.
fn layers(image: &str) -> Result<Vec<Value>> {
    let manifest: Value = serde_json::from_str(&skopeo::inspect_raw(image)?)?;
    Ok(manifest["layers"].as_array().context("no layers")?.clone())
}

/// Checks that every layer is zstd, with a table of contents or without.
fn expect_zstd(image: &str, chunked: bool) -> Result<()> {
    let layers = layers(image)?;
    let zstd = |layer: &Value| layer["mediaType"] == "application/vnd.oci.image.layer.v1.tar+zstd";
    ensure!(!layers.is_empty() && layers.iter().all(zstd), "{image}: {layers:?}");
    let positions = layers.iter().filter(|layer| layer["annotations"][CHUNKED].is_string()).count();
    ensure!(positions == if chunked { layers.len() } else { 0 }, "{image}: {layers:?}");
    Ok(())
}

/// Copies an image through an agent into a plain directory, and checks every layer there.
fn arrives(cluster: &Cluster, repository: &str, name: &str) -> Result<()> {
    let agent = format!("docker://{}/{repository}", cluster.agents[0].listener("registry")?);
    let directory = cluster.directory().join(name);
    std::fs::create_dir(&directory)?;
    skopeo::copy(&agent, &skopeo::plain(&directory), false)?;
    for layer in layers(&agent)? {
        let digest: Digest = layer["digest"].as_str().context("no digest")?.parse()?;
        let bytes = std::fs::read(directory.join(digest.to_hex()))?;
        ensure!(Digest::sha256(&bytes) == digest, "{digest} arrived with other bytes");
    }
    Ok(())
}

#[test]
#[ignore = "e2e: needs root, buildah, podman and skopeo; run by cargo xtask test --tier e2e"]
fn zstd_and_zstd_chunked_layers_of_buildah_podman_and_skopeo_arrive() -> Result<()> {
    let cluster = Cluster::start(1)?;
    let server = cluster.server.listener("registry")?;
    let builder = Buildah::new()?;
    for (format, name, len) in [("zstd", "zstd", 400_000), ("zstd:chunked", "chunked", 500_000)] {
        // Other bytes for each format: these clients push again what they remember to have pushed in another form.
        let mut bytes = vec![0; len];
        fastrand::Rng::new().fill(&mut bytes);
        let file = cluster.directory().join(format!("file-{name}"));
        std::fs::write(&file, &bytes)?;
        let container = builder.run(&["from", "scratch"])?;
        builder.run(&["copy", container.trim(), &file.display().to_string(), "/file"])?;
        builder.run(&["commit", container.trim(), name])?;
        let target = format!("docker://{server}/formats/{name}:buildah");
        builder.run(&["push", "--tls-verify=false", "--compression-format", format, name, &target])?;
        expect_zstd(&target, format == "zstd:chunked")?;
        arrives(&cluster, &format!("formats/{name}:buildah"), &format!("buildah-{name}"))?;
    }

    let directory = cluster.directory().join("podman");
    fixture::runnable(&directory, vec![MIB], "podman")?;
    // From a file: what podman has pulled from this server it would push in the form that it came in.
    let archive = cluster.directory().join("image.tar").display().to_string();
    let source = skopeo::layout(&directory, fixture::TAG);
    let words =
        ["--insecure-policy", "copy", &source, &format!("docker-archive:{archive}:localhost/made:v1")];
    tool::run(tool::call("skopeo", "skopeo", words)?)?;
    let podman = Podman::new()?;
    podman.run(&["load", "--input", &archive])?;
    let target = format!("docker://{server}/formats/chunked:podman");
    let push =
        ["push", "--tls-verify=false", "--compression-format", "zstd:chunked", "localhost/made:v1", &target];
    podman.run(&push)?;
    expect_zstd(&target, true)?;
    arrives(&cluster, "formats/chunked:podman", "podman-chunked")?;

    let directory = cluster.directory().join("skopeo");
    fixture::made(&directory, &ImageSpec::new(vec![MIB], fastrand::u64(..)))?;
    let target = format!("docker://{server}/formats/zstd:skopeo");
    let words = ["--insecure-policy", "copy", "--dest-tls-verify=false", "--dest-compress-format=zstd"];
    let program = tool::call("skopeo", "skopeo", words)?;
    tool::run(program.args([&skopeo::layout(&directory, fixture::TAG), &target]))?;
    expect_zstd(&target, false)?;
    arrives(&cluster, "formats/zstd:skopeo", "skopeo-zstd")
}

#[test]
#[ignore = "e2e: needs umoci and skopeo; run by cargo xtask test --tier e2e"]
fn layouts_of_umoci_are_copied_there_and_back() -> Result<()> {
    let cluster = Cluster::start(1)?;
    let umoci = |words: &[&str]| tool::run(tool::call("umoci", "umoci", words)?);
    let layout = cluster.directory().join("layout").display().to_string();
    let tree = cluster.directory().join("tree");
    std::fs::create_dir(&tree)?;
    std::fs::write(tree.join("hello"), "made by umoci\n")?;
    let image = format!("{layout}:v1");
    umoci(&["init", "--layout", &layout])?;
    umoci(&["new", "--image", &image])?;
    umoci(&["insert", "--rootless", "--image", &image, &tree.display().to_string(), "/data"])?;
    umoci(&[
        "config",
        "--image",
        &image,
        "--config.cmd",
        "/bin/true",
        "--manifest.annotation",
        "made=by-umoci",
    ])?;
    let target = format!("docker://{}/formats/umoci:v1", cluster.server.listener("registry")?);
    skopeo::copy(&format!("oci:{image}"), &target, false)?;
    let manifest: Value = serde_json::from_str(&skopeo::inspect_raw(&target)?)?;
    ensure!(manifest["annotations"]["made"] == "by-umoci", "{manifest}");
    let agent = format!("docker://{}/formats/umoci:v1", cluster.agents[0].listener("registry")?);
    let back = cluster.directory().join("back").display().to_string();
    skopeo::copy(&agent, &format!("oci:{back}:v1"), false)?;
    let bundle = cluster.directory().join("bundle");
    umoci(&["unpack", "--rootless", "--image", &format!("{back}:v1"), &bundle.display().to_string()])?;
    let read = std::fs::read_to_string(bundle.join("rootfs/data/hello"))?;
    ensure!(read == "made by umoci\n", "{read}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "e2e: needs root and containerd; run by cargo xtask test --tier e2e"]
async fn containerd_pushes_an_index_with_all_its_platforms() -> Result<()> {
    let cluster = Cluster::start(1)?;
    let server = cluster.server.listener("registry")?;
    let mut spec = ImageSpec::new(vec![2 * MIB, 4096], 11);
    spec.platforms = Platform::several(3);
    let (layout, image) = fixture::made(&cluster.directory().join("image"), &spec)?;
    cluster.server.registry()?.push("formats/several", "v1", &layout, &image, &|_| {}).await?;
    let containerd = Containerd::start()?;
    let local = ["images", "pull", "--plain-http", "--local", "--snapshotter=native", "--all-platforms"];
    // Older releases know no other way than the local one.
    let pull: Vec<_> = if containerd.ctr(&["images", "pull", "--help"])?.contains("--local") {
        local.to_vec()
    } else {
        local.into_iter().filter(|word| *word != "--local").collect()
    };
    let name = format!("{server}/formats/several:v1");
    containerd.ctr(&[&pull[..], &[&name]].concat())?;
    let again = format!("{server}/formats/pushed:v2");
    containerd.ctr(&["images", "push", "--plain-http", &again, &name])?;
    let pushed =
        cluster.server.registry()?.resolve("formats/pushed", "v2").await?.context("nothing pushed")?;
    ensure!(pushed.0 == image.root.digest.to_string(), "another index: {}", pushed.0);
    for blob in image.blobs() {
        let size = cluster.server.registry()?.blob_size("formats/pushed", &blob.digest.to_string()).await?;
        ensure!(size.is_some(), "{} was not pushed", blob.digest);
    }
    // All of it through an agent.
    let agent = format!("docker://{}/formats/pushed:v2", cluster.agents[0].listener("registry")?);
    let directory = cluster.directory().join("arrived");
    std::fs::create_dir(&directory)?;
    skopeo::copy(&agent, &skopeo::plain(&directory), true)?;
    for blob in image.blobs() {
        let bytes = std::fs::read(directory.join(blob.digest.to_hex()))?;
        ensure!(Digest::sha256(&bytes) == blob.digest, "{} arrived with other bytes", blob.digest);
    }
    Ok(())
}
