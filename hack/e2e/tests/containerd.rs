//! containerd: pulls of a foreign registry name through `hosts.toml`, on several machines' worth of agents.

use anyhow::{Result, ensure};
use shoal_e2e::{Cluster, Containerd, fixture, skopeo};
use shoal_test_images::{Compression, Format, ImageSpec, Platform};

const MIB: u64 = 1024 * 1024;
/// A registry that does not exist: only the agents can answer for it.
const REGISTRY: &str = "registry.example.com";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "e2e: needs root, containerd and skopeo; run by cargo xtask test --tier e2e"]
async fn three_agents_serve_containerd_and_the_later_ones_are_fed_by_their_peers() -> Result<()> {
    let cluster = Cluster::start(3)?;
    let directory = cluster.directory().join("image");
    let (_, image) = fixture::runnable(&directory, vec![24 * MIB, 16 * MIB, 8 * MIB], "containerd was here")?;
    let server = format!("docker://{}/team/app:v1", cluster.server.listener("registry")?);
    skopeo::copy(&skopeo::layout(&directory, fixture::TAG), &server, false)?;
    let name = format!("{REGISTRY}/team/app:v1");
    for (index, agent) in cluster.agents.iter().enumerate() {
        let containerd = Containerd::start()?;
        containerd.point(REGISTRY, agent.listener("registry")?)?;
        containerd.pull(&name)?;
        for blob in image.blobs() {
            ensure!(containerd.has(&blob.digest.to_string())?, "{} is not in the content store", blob.digest);
        }
        let printed = containerd.run(&name, &format!("app-{index}"))?;
        ensure!(printed == "containerd was here\n", "{printed}");
        let metrics = agent.metrics().await?;
        let (peers, all) = (metrics.received_from("peer"), metrics.received());
        ensure!(all >= 48.0 * 1024.0 * 1024.0, "agent {index} received {all} bytes");
        // The first has nobody but the origin; the others must not need it.
        ensure!(index == 0 || peers / all > 0.5, "agent {index} took {peers} of {all} bytes from peers");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "e2e: needs root, containerd and skopeo; run by cargo xtask test --tier e2e"]
async fn containerd_pulls_every_kind_of_image() -> Result<()> {
    let cluster = Cluster::start(1)?;
    let containerd = Containerd::start()?;
    containerd.point(REGISTRY, cluster.agents[0].listener("registry")?)?;
    let kinds = [
        (Compression::Zstd, Format::Oci, 3),
        (Compression::None, Format::Oci, 1),
        (Compression::Gzip, Format::Docker, 2),
    ];
    for (number, (compression, format, platforms)) in kinds.into_iter().enumerate() {
        let mut spec = ImageSpec::new(vec![2 * MIB, MIB], 7);
        (spec.compression, spec.format, spec.platforms) = (compression, format, Platform::several(platforms));
        let (layout, image) = fixture::made(&cluster.directory().join(format!("image-{number}")), &spec)?;
        cluster.server.registry()?.push(&format!("kinds/k{number}"), "v1", &layout, &image, &|_| {}).await?;
        containerd.pull(&format!("{REGISTRY}/kinds/k{number}:v1"))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "e2e: needs root and containerd; run by cargo xtask test --tier e2e"]
async fn containerd_is_told_plainly_that_an_image_does_not_exist() -> Result<()> {
    let cluster = Cluster::start(1)?;
    let containerd = Containerd::start()?;
    containerd.point(REGISTRY, cluster.agents[0].listener("registry")?)?;
    let (pulled, words) = containerd.try_pull(&format!("{REGISTRY}/team/absent:v1"))?;
    ensure!(!pulled && words.contains("not found"), "{words}");
    Ok(())
}
