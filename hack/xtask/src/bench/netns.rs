//! Shaped links on one machine: a hub namespace with a bridge, and one namespace per node.
//!
//! Nothing is added to the machine's own network: veth pairs are made inside the hub. Every link is shaped in both directions
//! by a token bucket: the uplink on the node's `eth0`, the downlink on the node's port of the bridge. The buckets also count what
//! passed, packet by packet as on a wire. All namespaces are removed on drop; those of a bench that was killed are removed by the
//! next one.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Names of our namespaces begin so, followed by the id of the process that made them.
const PREFIX: &str = "shoal-bench-";
/// The bucket must hold a whole GSO packet (64 KiB) and then some, or the rate is not reached.
const BURST_LEN_MIN: u64 = 96 * 1024;
/// The bucket must also cover the time between two timer interrupts.
const BURST_MS: u64 = 4;
/// How long a packet may wait in a link's queue, as in a switch with sensible buffers.
const QUEUE_MS: u64 = 50;

/// What a full-sized TCP segment carries beside its payload: Ethernet 14, IPv4 20, TCP 20, time stamps 12.
const HEADERS_LEN: f64 = 66.0;

/// The link of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// Bits per second in each direction. `None`: as fast as the machine.
    pub(super) rate: Option<u64>,
    pub(super) mtu: u16,
}

impl Link {
    /// How much longer TCP takes than the raw rate allows, because of its headers.
    pub(super) fn floor(mtu: u16) -> f64 {
        let mtu = f64::from(mtu);
        (mtu + 14.0) / (mtu + 14.0 - HEADERS_LEN)
    }
}

/// What passed one direction of a shaped link so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Flow {
    /// With headers.
    pub(super) bytes: f64,
    pub(super) packets: f64,
    pub(super) drops: f64,
}

impl Flow {
    /// Bytes without those of the headers.
    pub(super) fn payload(&self) -> f64 {
        (self.bytes - HEADERS_LEN * self.packets).max(0.0)
    }

    pub(super) fn since(&self, before: &Self) -> Self {
        Self {
            bytes: self.bytes - before.bytes,
            packets: self.packets - before.packets,
            drops: self.drops - before.drops,
        }
    }
}

/// A set of namespaces on one bridge.
pub(super) struct Network {
    hub: String,
    nodes: Vec<String>,
}

impl Network {
    /// Makes one node for each link. Needs root.
    pub(super) fn new(links: &[Link]) -> Result<Self> {
        remove_leftovers()?;
        make_room_for_neighbours(links.len())?;
        let prefix = format!("{PREFIX}{}-", std::process::id());
        let mut network = Self { hub: format!("{prefix}hub"), nodes: Vec::new() };
        ip(&["netns", "add", &network.hub])?;
        ip(&["-n", &network.hub, "link", "add", "br0", "type", "bridge"])?;
        ip(&["-n", &network.hub, "link", "set", "br0", "up"])?;
        for (index, link) in (0..).zip(links) {
            let name = format!("{prefix}{index}");
            ip(&["netns", "add", &name])?;
            network.nodes.push(name);
            network.connect(index, link)?;
        }
        Ok(network)
    }

    fn connect(&self, index: u16, link: &Link) -> Result<()> {
        let (hub, node) = (self.hub.as_str(), self.nodes[usize::from(index)].as_str());
        let (port, mtu) = (format!("p{index}"), link.mtu.to_string());
        let address = format!("{}/16", Self::address(index));
        ip(&["-n", hub, "link", "add", &port, "mtu", &mtu, "type", "veth"]
            .into_iter()
            .chain(["peer", "name", "eth0", "mtu", &mtu, "netns", node])
            .collect::<Vec<_>>())?;
        ip(&["-n", hub, "link", "set", &port, "master", "br0", "up"])?;
        ip(&["-n", node, "address", "add", &address, "dev", "eth0"])?;
        ip(&["-n", node, "link", "set", "eth0", "up"])?;
        ip(&["-n", node, "link", "set", "lo", "up"])?;
        if let Some(rate) = link.rate {
            shape(node, "eth0", rate)?;
            shape(hub, &port, rate)?;
        }
        Ok(())
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

    /// What each node has received; zeros for links that are not shaped.
    pub(super) fn received(&self) -> Result<Vec<Flow>> {
        let disciplines = disciplines(&self.hub)?;
        Ok((0..self.nodes.len()).map(|index| flow(&disciplines, &format!("p{index}"))).collect())
    }

    /// What each node has sent; zeros for links that are not shaped.
    pub(super) fn sent(&self) -> Result<Vec<Flow>> {
        self.nodes.iter().map(|node| Ok(flow(&disciplines(node)?, "eth0"))).collect()
    }

    /// TCP segments that all nodes together have sent again.
    pub(super) fn retransmits(&self) -> Result<f64> {
        let mut total = 0.0;
        for node in &self.nodes {
            let text = ip(&["netns", "exec", node, "cat", "/proc/net/snmp"])?;
            total += snmp(&text, "Tcp:", "RetransSegs").context("/proc/net/snmp has no RetransSegs")?;
        }
        Ok(total)
    }
}

fn disciplines(namespace: &str) -> Result<Value> {
    Ok(serde_json::from_str(&call("tc", &["-n", namespace, "-s", "-j", "qdisc", "show"])?)?)
}

/// The counters of the token bucket of a device.
fn flow(disciplines: &Value, device: &str) -> Flow {
    let mut all = disciplines.as_array().into_iter().flatten();
    let Some(found) = all.find(|found| found["dev"] == device && found["kind"] == "tbf") else {
        return Flow::default();
    };
    let number = |name: &str| found[name].as_f64().unwrap_or_default();
    Flow { bytes: number("bytes"), packets: number("packets"), drops: number("drops") }
}

/// A field of a table such as /proc/net/snmp, where a line of names stands above one of values.
fn snmp(text: &str, table: &str, name: &str) -> Option<f64> {
    let mut lines = text.lines().filter(|line| line.starts_with(table));
    let (names, values) = (lines.next()?, lines.next()?);
    let at = names.split_whitespace().position(|found| found == name)?;
    values.split_whitespace().nth(at)?.parse().ok()
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in self.nodes.iter().chain([&self.hub]) {
            let _ = ip(&["netns", "delete", name]);
        }
    }
}

/// Lets every node know every other one: the kernel's table of neighbours is one for all namespaces and holds 1,024 by default, and
/// beyond that connections between some nodes cannot be made at all.
fn make_room_for_neighbours(nodes: usize) -> Result<()> {
    // Each of a pair knows the other, and as many again from networks that were removed a moment ago.
    let wanted = 4 * nodes * nodes;
    for name in ["gc_thresh1", "gc_thresh2", "gc_thresh3"] {
        let path = format!("/proc/sys/net/ipv4/neigh/default/{name}");
        let standing = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        if standing.trim().parse::<usize>()? < wanted {
            std::fs::write(&path, wanted.to_string()).with_context(|| format!("cannot write {path}"))?;
        }
    }
    Ok(())
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
    fn counters_are_read() {
        let text = "Ip: A\nIp: 1\nTcp: RtoMin RetransSegs\nTcp: 200 17\n";
        assert_eq!(snmp(text, "Tcp:", "RetransSegs"), Some(17.0));
        assert_eq!(snmp(text, "Tcp:", "Nothing"), None);
        let shown = r#"[{"kind":"noqueue","dev":"lo"},{"kind":"tbf","dev":"eth0","bytes":1514,"packets":1,"drops":2}]"#;
        let found = flow(&serde_json::from_str(shown).unwrap(), "eth0");
        assert_eq!((found.payload(), found.drops), (1448.0, 2.0));
        assert_eq!(flow(&serde_json::from_str(shown).unwrap(), "p0"), Flow::default());
        assert!((Link::floor(1500) - 1.0456).abs() < 1e-4 && (Link::floor(9000) - 1.0074).abs() < 1e-4);
    }

    #[test]
    #[ignore = "privileged: needs root and iproute2; run by cargo xtask test --tier privileged"]
    fn privileged_links_have_their_rate_and_nothing_is_left_behind() {
        const RATE: u64 = 40_000_000;
        const SIZE: usize = 5_000_000;
        let network = Network::new(&[Link { rate: Some(RATE), mtu: 1500 }; 2]).unwrap();
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
        let payload = network.received().unwrap()[1].payload() / SIZE as f64;
        assert!((0.99..1.03).contains(&payload), "{payload} times the file's bytes were counted");
        assert!(network.sent().unwrap()[0].bytes > SIZE as f64 && network.retransmits().is_ok());
        let names = (network.hub.clone(), network.nodes.clone());
        drop(network);
        let left = ip(&["netns", "list"]).unwrap();
        assert!(!left.contains(&names.0) && !names.1.iter().any(|name| left.contains(name)), "{left}");
    }
}
