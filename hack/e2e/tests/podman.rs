//! podman: pulls by an agent's own name and of a foreign registry through `registries.conf`; pushes.

use anyhow::{Result, ensure};
use shoal_e2e::podman::Podman;
use shoal_e2e::{Cluster, fixture, skopeo};

const MIB: u64 = 1024 * 1024;
/// A registry that does not exist: only the agents can answer for it.
const REGISTRY: &str = "registry.example.com";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "e2e: needs root, podman and skopeo; run by cargo xtask test --tier e2e"]
async fn podman_pulls_a_foreign_name_through_the_agent_runs_it_and_pushes_it_back() -> Result<()> {
    let cluster = Cluster::start(1)?;
    let server = cluster.server.listener("registry")?;
    let directory = cluster.directory().join("image");
    fixture::runnable(&directory, vec![4 * MIB, 2 * MIB], "podman was here")?;
    let target = format!("docker://{server}/team/app:v1");
    skopeo::copy(&skopeo::layout(&directory, fixture::TAG), &target, false)?;
    let podman = Podman::new()?;
    podman.point(REGISTRY, cluster.agents[0].listener("registry")?)?;
    let name = format!("{REGISTRY}/team/app:v1");
    podman.run(&["pull", &name])?;
    let printed = podman.run_image(&name)?;
    ensure!(printed == "podman was here\n", "{printed}");
    let received = cluster.agents[0].metrics().await?.received();
    ensure!(received > 6.0 * 1024.0 * 1024.0, "the agent took {received} bytes from the swarm");
    podman.run(&["push", "--tls-verify=false", &name, &format!("{server}/team/again:v2")])?;
    let pushed = cluster.server.registry()?.resolve("team/again", "v2").await?;
    ensure!(pushed.is_some(), "the pushed tag is not there");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "e2e: needs root, podman and skopeo; run by cargo xtask test --tier e2e"]
async fn podman_pulls_by_the_agents_own_name() -> Result<()> {
    let cluster = Cluster::start(1)?;
    let directory = cluster.directory().join("image");
    fixture::runnable(&directory, vec![MIB], "by its own name")?;
    let target = format!("docker://{}/team/app:v1", cluster.server.listener("registry")?);
    skopeo::copy(&skopeo::layout(&directory, fixture::TAG), &target, false)?;
    let podman = Podman::new()?;
    let name = format!("{}/team/app:v1", cluster.agents[0].listener("registry")?);
    podman.run(&["pull", "--tls-verify=false", &name])?;
    let printed = podman.run_image(&name)?;
    ensure!(printed == "by its own name\n", "{printed}");
    Ok(())
}
