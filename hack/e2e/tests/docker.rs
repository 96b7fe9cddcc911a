//! Docker: push to the server, pull through an agent, run; and the agent as a mirror of Docker Hub.

use anyhow::{Result, ensure};
use shoal_e2e::{Cluster, Docker, fixture, skopeo, tool};

const MIB: u64 = 1024 * 1024;

/// Makes a runnable image and loads it into a Docker daemon under `name`.
fn load(docker: &Docker, cluster: &Cluster, name: &str, marker: &str) -> Result<()> {
    let directory = cluster.directory().join("image");
    fixture::runnable(&directory, vec![3 * MIB, 5 * MIB], marker)?;
    let archive = cluster.directory().join("image.tar");
    let target = format!("docker-archive:{}:{name}", archive.display());
    let words = ["--insecure-policy", "copy", &skopeo::layout(&directory, fixture::TAG), &target];
    tool::run(tool::call("skopeo", "skopeo", words)?)?;
    docker.run(&["load", "--input", &archive.display().to_string()])?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "e2e: needs root, docker and skopeo; run by cargo xtask test --tier e2e"]
async fn docker_pushes_to_the_server_pulls_through_an_agent_and_runs() -> Result<()> {
    let cluster = Cluster::start(1)?;
    let docker = Docker::start(&[])?;
    let pushed = format!("{}/team/app:v1", cluster.server.listener("registry")?);
    let pulled = format!("{}/team/app:v1", cluster.agents[0].listener("registry")?);
    load(&docker, &cluster, &pushed, "docker was here")?;
    docker.run(&["push", &pushed])?;
    docker.run(&["rmi", "--force", &pushed])?;
    docker.run(&["pull", &pulled])?;
    let printed = docker.run(&["run", "--rm", "--network=none", &pulled])?;
    ensure!(printed == "docker was here\n", "{printed}");
    let received = cluster.agents[0].metrics().await?.received();
    ensure!(received > 8.0 * 1024.0 * 1024.0, "the agent took {received} bytes from the swarm");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "e2e: needs root, docker and skopeo; run by cargo xtask test --tier e2e"]
async fn docker_pushes_an_image_twice_and_the_second_time_nothing_is_sent() -> Result<()> {
    let cluster = Cluster::start(0)?;
    let docker = Docker::start(&[])?;
    let first = format!("{}/team/app:v1", cluster.server.listener("registry")?);
    let second = format!("{}/other/app:v2", cluster.server.listener("registry")?);
    load(&docker, &cluster, &first, "twice")?;
    docker.run(&["push", &first])?;
    let once = cluster.server.metrics().await?.sum("shoal_registry_received_bytes_total", &[]);
    docker.run(&["push", &first])?;
    docker.run(&["tag", &first, &second])?;
    // Into another repository: Docker asks for a mount of what it pushed to the first one.
    docker.run(&["push", &second])?;
    let thrice = cluster.server.metrics().await?.sum("shoal_registry_received_bytes_total", &[]);
    ensure!(thrice - once < 1024.0 * 1024.0, "{once} bytes the first time, {thrice} in all");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "e2e: needs root, docker and skopeo; run by cargo xtask test --tier e2e"]
async fn docker_pulls_names_of_docker_hub_through_the_agent_as_registry_mirror() -> Result<()> {
    let cluster = Cluster::start(1)?;
    let docker = Docker::start(&[format!("http://{}", cluster.agents[0].listener("registry")?)])?;
    let pushed = format!("{}/library/hello:v1", cluster.server.listener("registry")?);
    load(&docker, &cluster, &pushed, "not from the hub")?;
    docker.run(&["push", &pushed])?;
    docker.run(&["rmi", "--force", &pushed])?;
    docker.run(&["pull", "hello:v1"])?;
    let printed = docker.run(&["run", "--rm", "--network=none", "hello:v1"])?;
    ensure!(printed == "not from the hub\n", "{printed}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "e2e: needs root and docker; run by cargo xtask test --tier e2e"]
async fn docker_is_told_plainly_that_an_image_does_not_exist() -> Result<()> {
    let cluster = Cluster::start(1)?;
    let docker = Docker::start(&[])?;
    let name = format!("{}/team/absent:v1", cluster.agents[0].listener("registry")?);
    let (pulled, words) = docker.attempt(&["pull", &name])?;
    ensure!(!pulled && words.contains("manifest unknown"), "{words}");
    Ok(())
}
