//! Images of a foreign registry, which the clients cannot reach: through an agent, by way of the cluster, while that registry is up and
//! while it is down.

use anyhow::{Result, ensure};
use shoal_e2e::podman::Podman;
use shoal_e2e::programs::{self, Place};
use shoal_e2e::{Containerd, Node, fixture, skopeo};

const MIB: u64 = 1024 * 1024;
/// A registry whose name leads nowhere: only the cluster knows where it is.
const REGISTRY: &str = "registry.example.com";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "e2e: needs root, containerd, podman and skopeo; run by cargo xtask test --tier e2e"]
async fn containerd_and_podman_pull_through_and_go_on_while_the_upstream_is_down() -> Result<()> {
    let directory = tempfile::Builder::new().prefix("shoal-upstreams-").tempdir()?;
    let (bin_dir, at) = (programs::bin_dir()?, |name: &str| Place::loopback(directory.path().join(name)));
    let mut far = Node::server(&bin_dir, at("far"))?;
    let upstream = format!(
        "[{{registry: {REGISTRY}, endpoint: 'http://{}', plain_http: true, proxy: none, freshness: [{{valid_for: 0s}}]}}]",
        far.listener("registry")?
    );
    let near = Node::server(&bin_dir, at("near").with("upstreams", &upstream))?;
    let agents = [Node::agent(&bin_dir, at("agent-1"), &near)?, Node::agent(&bin_dir, at("agent-2"), &near)?];
    let image = directory.path().join("image");
    let (_, made) = fixture::runnable(&image, vec![12 * MIB, 6 * MIB], "from afar")?;
    let target = format!("docker://{}/team/app:v1", far.listener("registry")?);
    skopeo::copy(&skopeo::layout(&image, fixture::TAG), &target, false)?;
    let name = format!("{REGISTRY}/team/app:v1");

    let containerd = Containerd::start()?;
    containerd.point(REGISTRY, agents[0].listener("registry")?)?;
    containerd.pull(&name)?;
    for blob in made.blobs() {
        ensure!(containerd.has(&blob.digest.to_string())?, "{} is not in the content store", blob.digest);
    }
    let printed = containerd.run(&name, "app")?;
    ensure!(printed == "from afar\n", "{printed}");
    let fetched = near.metrics().await?.sum("shoal_upstream_received_bytes_total", &[]);

    far.kill();
    let podman = Podman::new()?;
    podman.point_by_name(REGISTRY, agents[1].listener("registry")?)?;
    podman.run(&["pull", &name])?;
    let printed = podman.run_image(&name)?;
    ensure!(printed == "from afar\n", "{printed}");
    let size: u64 = made.blobs().map(|blob| blob.size).sum();
    let all = near.metrics().await?.sum("shoal_upstream_received_bytes_total", &[]);
    ensure!(all == fetched && fetched <= size as f64 * 1.02, "{all} bytes came from the upstream for {size}");
    Ok(())
}
