//! What the tiers need of the machine: installed by apt when we are root on a Debian, else named loudly.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use shoal_e2e::tool;

use super::tier::Tier;
use crate::terminal::complain;

/// A program and the Debian package that has it.
struct Tool {
    program: &'static str,
    package: &'static str,
    tiers: &'static [Tier],
}

const TOOLS: &[Tool] = &[
    Tool { program: "ip", package: "iproute2", tiers: &[Tier::Privileged] },
    Tool { program: "tc", package: "iproute2", tiers: &[Tier::Privileged] },
    Tool { program: "dockerd", package: "docker.io", tiers: &[Tier::E2e] },
    // Debian 13 has the client in a package of its own; in Debian 12 docker.io has both.
    Tool { program: "docker", package: "docker.io", tiers: &[Tier::E2e] },
    Tool { program: "containerd", package: "containerd", tiers: &[Tier::E2e] },
    Tool { program: "ctr", package: "containerd", tiers: &[Tier::E2e] },
    Tool { program: "runc", package: "runc", tiers: &[Tier::E2e] },
    Tool { program: "podman", package: "podman", tiers: &[Tier::E2e] },
    Tool { program: "skopeo", package: "skopeo", tiers: &[Tier::E2e] },
    Tool { program: "buildah", package: "buildah", tiers: &[Tier::E2e] },
    Tool { program: "umoci", package: "umoci", tiers: &[Tier::E2e] },
    Tool { program: "curl", package: "curl", tiers: &[Tier::E2e] },
    Tool { program: "openssl", package: "openssl", tiers: &[Tier::E2e] },
    Tool { program: "mkfs.ext4", package: "e2fsprogs", tiers: &[Tier::E2e] },
    Tool { program: "busybox", package: "busybox-static", tiers: &[Tier::E2e] },
    // dockerd refuses to start without it, even with --iptables=false.
    Tool { program: "iptables", package: "iptables", tiers: &[Tier::E2e] },
];

/// Tiers that change network namespaces and mounts.
const ROOT_TIERS: [Tier; 2] = [Tier::Privileged, Tier::E2e];

/// A program of the machine: where it is, after it was installed when that is allowed and possible.
pub(crate) fn provide(program: &'static str, package: &'static str, may_install: bool) -> Option<PathBuf> {
    let is_able = || is_root().unwrap_or(false) && tool::locate("apt-get").is_some();
    if tool::locate(program).is_none()
        && may_install
        && is_able()
        && let Err(error) = install(&[&Tool { program, package, tiers: &[] }])
    {
        complain(format_args!("{error:#}"));
    }
    tool::locate(program)
}

/// What the machine has.
pub(super) struct Setup {
    is_root: bool,
    absent: Vec<&'static Tool>,
}

/// Looks for every tool of `tiers`, and installs what is missing when allowed and able to.
pub(super) fn prepare(tiers: &[Tier], may_install: bool) -> Result<Setup> {
    let is_root = is_root()?;
    let mut absent = absent_tools(tiers);
    if !absent.is_empty() && may_install && is_root && tool::locate("apt-get").is_some() {
        if let Err(error) = install(&absent) {
            complain(format_args!("{error:#}"));
        }
        absent = absent_tools(tiers);
    }
    for tool in &absent {
        complain(format_args!("MISSING: {} (apt-get install {})", tool.program, tool.package));
    }
    if !is_root && tiers.iter().any(|tier| ROOT_TIERS.contains(tier)) {
        complain(
            "MISSING: root, which network namespaces and container engines need (sudo -E cargo xtask test)",
        );
    }
    Ok(Setup { is_root, absent })
}

impl Setup {
    /// What keeps a tier from running here.
    pub(super) fn missing(&self, tier: Tier) -> Vec<String> {
        let root = (!self.is_root && ROOT_TIERS.contains(&tier)).then(|| "root".to_owned());
        let tools = self.absent.iter().filter(|tool| tool.tiers.contains(&tier));
        root.into_iter().chain(tools.map(|tool| tool.program.to_owned())).collect()
    }
}

fn absent_tools(tiers: &[Tier]) -> Vec<&'static Tool> {
    let wanted = TOOLS.iter().filter(|tool| tool.tiers.iter().any(|tier| tiers.contains(tier)));
    wanted.filter(|tool| !is_present(tool)).collect()
}

fn is_present(tool: &Tool) -> bool {
    // A dynamic busybox is of no use: the images have no libraries.
    if tool.program == "busybox" {
        return shoal_test_images::busybox::find().is_some();
    }
    tool::locate(tool.program).is_some()
}

fn is_root() -> Result<bool> {
    let output = Command::new("id").arg("-u").output().context("cannot run id")?;
    Ok(output.stdout.trim_ascii() == b"0")
}

/// Tries at once, and again with fresh package lists when that fails.
fn install(tools: &[&Tool]) -> Result<()> {
    let mut packages: Vec<&str> = tools.iter().map(|tool| tool.package).collect();
    packages.sort_unstable();
    packages.dedup();
    complain(format_args!("installing {} …", packages.join(" ")));
    let words = [&["install", "--yes", "--no-install-recommends"], packages.as_slice()].concat();
    if apt_get(&words)? || (apt_get(&["update"])? && apt_get(&words)?) {
        return Ok(());
    }
    anyhow::bail!("apt-get could not install {}", packages.join(" "))
}

fn apt_get(words: &[&str]) -> Result<bool> {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").arg("--quiet=2").args(words);
    Ok(command.status().context("cannot run apt-get")?.success())
}
