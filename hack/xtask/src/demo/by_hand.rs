//! What to try by hand while the demo's programs are left running.

use std::fs;

use anyhow::Result;
use shoal_e2e::Cluster;

use crate::terminal::say;

/// Prints commands that work as they stand.
pub(super) fn explain(cluster: &Cluster, namespace: &str, repository: &str, tag: &str) -> Result<()> {
    let server = cluster.server.listener("registry")?;
    let mut agents = Vec::new();
    for agent in &cluster.agents {
        agents.push(agent.listener("registry")?);
    }
    let agent = agents.first().copied().unwrap_or(server);
    let hosts = cluster.directory().join("hosts");
    let directory = hosts.join(namespace);
    fs::create_dir_all(&directory)?;
    let host = format!(
        "server = \"http://{agent}\"\n\n[host.\"http://{agent}\"]\n  capabilities = [\"pull\", \"resolve\"]\n"
    );
    fs::write(directory.join("hosts.toml"), host)?;

    say(format_args!("\nEverything keeps running. The server's registry is {server}; the agents are"));
    for (number, address) in (1..).zip(&agents) {
        say(format_args!("    agent {number}  {address}"));
    }
    say(format_args!(
        "
docker
    docker pull {agent}/{repository}:{tag}
    docker tag {agent}/{repository}:{tag} {server}/demo/again:v1
    docker push {server}/demo/again:v1
    docker pull {agent}/demo/again:v1

containerd, for a registry name that is not ours
    cat {hosts}/{namespace}/hosts.toml
    ctr images pull --hosts-dir {hosts} {namespace}/{repository}:{tag}

podman
    podman pull --tls-verify=false {agent}/{repository}:{tag}
    podman push --tls-verify=false {agent}/{repository}:{tag} {server}/demo/podman:v1

what the programs count
    curl -s http://{server_admin}/metrics
    curl -s http://{agent_admin}/metrics

Ctrl-C stops everything and removes {directory}",
        hosts = hosts.display(),
        server_admin = cluster.server.listener("admin")?,
        agent_admin = cluster
            .agents
            .first()
            .map_or_else(|| cluster.server.listener("admin"), |agent| agent.listener("admin"))?,
        directory = cluster.directory().display(),
    ));
    Ok(())
}
