//! A dockerd of our own, with a containerd of its own: nothing of the machine's Docker is touched.
//!
//! No bridge, no iptables: the tests need the network of the host only, and must not change it. The `vfs` storage driver is
//! slow and works everywhere, also where `/tmp` is an overlay itself.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::containerd::Containerd;
use crate::mounts::MountedDir;
use crate::process::{Process, Program};
use crate::tool;
use crate::wait::wait_until;

/// How long dockerd may take until it answers.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long dockerd may take to unmount and end.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// A running Docker daemon. The fields are dropped in this order: daemon, its containerd, the directory.
#[derive(Debug)]
pub struct Docker {
    daemon: Process,
    _containerd: Containerd,
    directory: MountedDir,
    client: PathBuf,
}

impl Docker {
    /// Starts a daemon that asks `mirrors` (URLs) for images of docker.io.
    pub fn start(mirrors: &[String]) -> Result<Self> {
        let containerd = Containerd::start()?;
        let directory = MountedDir::new()?;
        let at = |name: &str| directory.path().join(name);
        let mut program = Program::new(tool::find("dockerd", "docker.io")?)
            .arg("--containerd")
            .arg(containerd.socket())
            .arg("--data-root")
            .arg(at("data"))
            .arg("--exec-root")
            .arg(at("exec"))
            .arg("--pidfile")
            .arg(at("pid"))
            .arg("--host")
            .arg(format!("unix://{}", at("docker.sock").display()))
            // An empty configuration, so that the machine's /etc/docker/daemon.json does not count.
            .arg("--config-file")
            .arg(at("daemon.json"))
            .args(["--iptables=false", "--bridge=none", "--storage-driver=vfs"]);
        std::fs::write(at("daemon.json"), "{}")?;
        for mirror in mirrors {
            program = program.arg(format!("--registry-mirror={mirror}"));
        }
        let daemon = program.start("dockerd", &at("log"))?;
        let client = tool::find("docker", "docker.io")?;
        let mut docker = Self { daemon, _containerd: containerd, directory, client };
        docker.wait()?;
        Ok(docker)
    }

    fn wait(&mut self) -> Result<()> {
        let answered = wait_until(START_TIMEOUT, || {
            let version =
                tool::output(self.program(&["version"])).is_ok_and(|output| output.status.success());
            (version || !self.daemon.is_running()).then_some(version)
        });
        if answered != Some(true) {
            bail!("dockerd does not answer\n{}", self.daemon.log_tail());
        }
        Ok(())
    }

    /// `docker WORDS`, for whoever runs it.
    pub fn program(&self, words: &[&str]) -> Program {
        let directory = self.directory.path();
        Program::new(&self.client)
            .arg("--config")
            .arg(directory.join("client"))
            .arg("--host")
            .arg(format!("unix://{}", directory.join("docker.sock").display()))
            .args(words)
    }

    /// `docker WORDS`, which must succeed; returns its standard output.
    pub fn run(&self, words: &[&str]) -> Result<String> {
        tool::run(self.program(words))
    }

    /// `docker WORDS`, whatever comes of it: success, and both outputs together.
    pub fn attempt(&self, words: &[&str]) -> Result<(bool, String)> {
        let output = tool::output(self.program(words))?;
        let text = [output.stdout, output.stderr].concat();
        Ok((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        self.daemon.stop(STOP_TIMEOUT);
    }
}
