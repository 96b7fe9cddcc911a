//! Shaped links on one machine: a hub namespace with a bridge, and one namespace per node.
//!
//! Nothing is added to the machine's own network: veth pairs are made inside the hub. Every link is shaped in both directions
//! by a token bucket: the uplink on the node's `eth0`, the downlink on the node's port of the bridge. All namespaces are removed on
//! drop; those of a bench that was killed are removed by the next one.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Names of our namespaces begin so, followed by the id of the process that made them.
const PREFIX: &str = "shoal-bench-";
/// The bucket must hold a whole GSO packet (64 KiB) and then some, or the rate is not reached.
const BURST_LEN_MIN: u64 = 96 * 1024;
/// The bucket must also cover the time between two timer interrupts.
const BURST_MS: u64 = 4;
/// How long a packet may wait in a link's queue, as in a switch with sensible buffers.
const QUEUE_MS: u64 = 50;

/// A set of namespaces on one bridge.
pub(super) struct Network {
    hub: String,
    nodes: Vec<String>,
}

impl Network {
    /// Makes `count` nodes whose links carry `rate` bits per second in each direction. Needs root.
    pub(super) fn new(count: u16, rate: u64) -> Result<Self> {
        remove_leftovers()?;
        let prefix = format!("{PREFIX}{}-", std::process::id());
        let mut network = Self { hub: format!("{prefix}hub"), nodes: Vec::new() };
        ip(&["netns", "add", &network.hub])?;
        ip(&["-n", &network.hub, "link", "add", "br0", "type", "bridge"])?;
        ip(&["-n", &network.hub, "link", "set", "br0", "up"])?;
        for index in 0..count {
            let name = format!("{prefix}{index}");
            ip(&["netns", "add", &name])?;
            network.nodes.push(name);
            network.connect(index, rate)?;
        }
        Ok(network)
    }

    fn connect(&self, index: u16, rate: u64) -> Result<()> {
        let (hub, node) = (self.hub.as_str(), self.nodes[usize::from(index)].as_str());
        let port = format!("p{index}");
        let address = format!("{}/16", Self::address(index));
        ip(&["-n", hub, "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", node])?;
        ip(&["-n", hub, "link", "set", &port, "master", "br0", "up"])?;
        ip(&["-n", node, "address", "add", &address, "dev", "eth0"])?;
        ip(&["-n", node, "link", "set", "eth0", "up"])?;
        ip(&["-n", node, "link", "set", "lo", "up"])?;
        shape(node, "eth0", rate)?;
        shape(hub, &port, rate)
    }

    /// The address of a node.
    pub(super) fn address(index: u16) -> IpAddr {
        let [high, low] = (index + 1).to_be_bytes();
        Ipv4Addr::new(10, 77, high, low).into()
    }

    /// Words that run a program inside a node.
    pub(super) fn prefix(&self, index: u16) -> Vec<String> {
        ["ip", "netns", "exec", &self.nodes[usize::from(index)]].map(str::to_owned).to_vec()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in self.nodes.iter().chain([&self.hub]) {
            let _ = ip(&["netns", "delete", name]);
        }
    }
}

fn shape(namespace: &str, device: &str, rate: u64) -> Result<()> {
    let burst = (rate / 8 * BURST_MS / 1000).max(BURST_LEN_MIN);
    let (rate, burst, latency) = (format!("{rate}bit"), format!("{burst}b"), format!("{QUEUE_MS}ms"));
    let words = ["-n", namespace, "qdisc", "add", "dev", device, "root", "tbf"];
    call("tc", &[&words[..], &["rate", &rate, "burst", &burst, "latency", &latency]].concat()).map(drop)
}

/// Removes namespaces whose maker is gone.
fn remove_leftovers() -> Result<()> {
    for line in ip(&["netns", "list"])?.lines() {
        let name = line.split_whitespace().next().unwrap_or_default();
        let maker = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if maker.is_some_and(|maker| !Path::new("/proc").join(maker).exists()) {
            ip(&["netns", "delete", name])?;
        }
    }
    Ok(())
}

fn ip(words: &[&str]) -> Result<String> {
    call("ip", words)
}

fn call(program: &str, words: &[&str]) -> Result<String> {
    let path = shoal_e2e::tool::find(program, "iproute2")?;
    let output = Command::new(path).args(words).output().with_context(|| format!("cannot run {program}"))?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {} failed: {}", words.join(" "), error.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn addresses_differ() {
        assert_eq!(Network::address(0).to_string(), "10.77.0.1");
        assert_eq!(Network::address(255).to_string(), "10.77.1.0");
    }

    #[test]
    #[ignore = "privileged: needs root and iproute2; run by cargo xtask test --tier privileged"]
    fn privileged_links_have_their_rate_and_nothing_is_left_behind() {
        const RATE: u64 = 40_000_000;
        const SIZE: usize = 5_000_000;
        let network = Network::new(2, RATE).unwrap();
        let inside = |index: u16, script: &str| {
            let words = network.prefix(index);
            Command::new(&words[0]).args(&words[1..]).args(["busybox", "sh", "-c", script]).spawn().unwrap()
        };
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("file"), vec![0; SIZE]).unwrap();
        let mut server = inside(0, &format!("exec busybox httpd -f -p 80 -h {}", directory.path().display()));
        let url = format!("http://{}/file", Network::address(0));
        let client = format!("until busybox wget -q -O /dev/null {url} 2>/dev/null; do :; done");
        let started = Instant::now();
        let status = inside(1, &client).wait().unwrap();
        let took = started.elapsed();
        let _ = server.kill();
        let _ = server.wait();
        assert!(status.success());
        let bound = Duration::from_secs_f64(SIZE as f64 * 8.0 / RATE as f64);
        assert!(took >= bound.mul_f64(0.9), "{took:?} is less than the link allows ({bound:?})");
        let names = (network.hub.clone(), network.nodes.clone());
        drop(network);
        let left = ip(&["netns", "list"]).unwrap();
        assert!(!left.contains(&names.0) && !names.1.iter().any(|name| left.contains(name)), "{left}");
    }
}
