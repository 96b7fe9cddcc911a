//! buildah: builds from scratch, pushes, and pulls its own image back through an agent.

use anyhow::{Context, Result, ensure};
use shoal_e2e::Cluster;
use shoal_e2e::buildah::Buildah;
use shoal_test_images::busybox;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "e2e: needs root and buildah; run by cargo xtask test --tier e2e"]
async fn buildah_pushes_what_it_built_and_pulls_it_through_an_agent() -> Result<()> {
    let cluster = Cluster::start(1)?;
    let busybox =
        busybox::find().context("no static busybox: apt-get install busybox-static")?.display().to_string();
    let builder = Buildah::new()?;
    let container = builder.run(&["from", "scratch"])?;
    let container = container.trim();
    builder.run(&["copy", container, &busybox, "/bin/busybox"])?;
    builder.run(&["config", "--cmd", "/bin/busybox true", container])?;
    builder.run(&["commit", container, "built"])?;
    let target = format!("docker://{}/team/built:v1", cluster.server.listener("registry")?);
    builder.run(&["push", "--tls-verify=false", "built", &target])?;
    let pushed = cluster.server.registry()?.resolve("team/built", "v1").await?;
    let (digest, _) = pushed.context("the pushed tag is not there")?;

    let other = Buildah::new()?;
    let source = format!("docker://{}/team/built:v1", cluster.agents[0].listener("registry")?);
    other.run(&["pull", "--tls-verify=false", &source])?;
    let pulled = other.run(&["images", "--format", "{{.Digest}}"])?;
    ensure!(pulled.lines().any(|line| line == digest), "pushed {digest}, pulled {pulled}");
    Ok(())
}
