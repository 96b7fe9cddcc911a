//! podman with storage and configuration of its own; there is no daemon to start.

use std::fs;
use std::net::SocketAddr;

use anyhow::Result;

use crate::mounts::MountedDir;
use crate::process::Program;
use crate::tool;

/// A podman that shares nothing with the machine's.
#[derive(Debug)]
pub struct Podman {
    directory: MountedDir,
}

impl Podman {
    /// A podman with empty storage.
    pub fn new() -> Result<Self> {
        let podman = Self { directory: MountedDir::new()? };
        fs::write(podman.directory.path().join("auth.json"), "{}")?;
        fs::write(podman.directory.path().join("registries.conf"), "")?;
        Ok(podman)
    }

    /// Sends pulls of `registry` to an agent, as docs/operations/clients.md tells users to.
    pub fn point(&self, registry: &str, agent: SocketAddr) -> Result<()> {
        self.mirror(registry, &agent.to_string())
    }

    /// The same, with the registry's name in the path, by which an agent knows which of several is meant: podman says it nowhere else.
    pub fn point_by_name(&self, registry: &str, agent: SocketAddr) -> Result<()> {
        self.mirror(registry, &format!("{agent}/{registry}"))
    }

    fn mirror(&self, registry: &str, location: &str) -> Result<()> {
        let configuration = format!(
            "[[registry]]\nprefix = \"{registry}\"\nlocation = \"{registry}\"\n\n\
             [[registry.mirror]]\nlocation = \"{location}\"\ninsecure = true\n"
        );
        Ok(fs::write(self.directory.path().join("registries.conf"), configuration)?)
    }

    /// Runs the image's command to its end and returns what it printed.
    pub fn run_image(&self, image: &str) -> Result<String> {
        // Modest limits: podman asks for more open files and processes than a machine may allow.
        let limits = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"];
        self.run(&[&["run", "--rm", "--network=none"], &limits[..], &[image]].concat())
    }

    /// `podman WORDS`, which must succeed; returns its standard output.
    pub fn run(&self, words: &[&str]) -> Result<String> {
        let at = |name: &str| self.directory.path().join(name);
        let program = Program::new(tool::find("podman", "podman")?)
            .env("CONTAINERS_REGISTRIES_CONF", at("registries.conf"))
            .env("REGISTRY_AUTH_FILE", at("auth.json"))
            .arg("--root")
            .arg(at("root"))
            .arg("--runroot")
            .arg(at("run"))
            .arg("--tmpdir")
            .arg(at("tmp"))
            // runc, because Debian 12's crun refuses machines with both versions of cgroups.
            .arg("--runtime")
            .arg(tool::find("runc", "runc")?)
            .args(["--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--events-backend=none"])
            .args(words);
        tool::run(program)
    }
}
