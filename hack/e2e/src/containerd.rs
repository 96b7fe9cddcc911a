//! A containerd of our own, and `ctr` talking to it.
//!
//! The CRI plugin is off (it wants a network plugin and sandbox images); `ctr` reads the same `hosts.toml` that CRI does.
//! The `native` snapshotter copies files and works everywhere, also where `/tmp` is an overlay itself.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::mounts::MountedDir;
use crate::process::{Process, Program};
use crate::tool;
use crate::wait::wait_until;

/// How long containerd may take until it answers.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long containerd may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// A running containerd.
#[derive(Debug)]
pub struct Containerd {
    daemon: Process,
    directory: MountedDir,
}

impl Containerd {
    /// Starts a containerd with an empty store.
    pub fn start() -> Result<Self> {
        let directory = MountedDir::new()?;
        let at = |name: &str| directory.path().join(name);
        let configuration = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\naddress = {:?}\n[ttrpc]\naddress = {:?}\n[debug]\nlevel = \"debug\"\naddress = {:?}\n",
            at("root"),
            at("state"),
            at("c.sock"),
            at("t.sock"),
            at("d.sock"),
        );
        fs::write(at("config.toml"), configuration)?;
        let daemon = Program::new(tool::find("containerd", "containerd")?)
            .arg("--config")
            .arg(at("config.toml"))
            .start("containerd", &at("log"))?;
        let mut containerd = Self { daemon, directory };
        containerd.wait()?;
        Ok(containerd)
    }

    fn wait(&mut self) -> Result<()> {
        let answered = wait_until(START_TIMEOUT, || {
            let version = self.program(&["version"]).and_then(tool::output);
            let version = version.is_ok_and(|output| output.status.success());
            (version || !self.daemon.is_running()).then_some(version)
        });
        if answered != Some(true) {
            bail!("containerd does not answer\n{}", self.daemon.log_tail());
        }
        Ok(())
    }

    /// The Unix socket of its API.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("c.sock")
    }

    /// Writes a `hosts.toml` that sends pulls of `registry` to an agent, as docs/operations/clients.md tells users to.
    pub fn point(&self, registry: &str, agent: SocketAddr) -> Result<()> {
        let directory = self.hosts().join(registry);
        fs::create_dir_all(&directory)?;
        // Without `server` containerd would go on to the real host of the name, which does not exist here.
        let hosts = format!(
            "server = \"http://{agent}\"\n\n[host.\"http://{agent}\"]\n  capabilities = [\"pull\", \"resolve\"]\n"
        );
        Ok(fs::write(directory.join("hosts.toml"), hosts)?)
    }

    /// The same with a second host behind the agent, which is asked for what the agent does not give.
    pub fn point_with_fallback(&self, registry: &str, agent: SocketAddr, next: SocketAddr) -> Result<()> {
        let directory = self.hosts().join(registry);
        fs::create_dir_all(&directory)?;
        let capabilities = "  capabilities = [\"pull\", \"resolve\"]\n";
        let hosts = format!("server = \"http://{next}\"\n\n[host.\"http://{agent}\"]\n{capabilities}");
        Ok(fs::write(directory.join("hosts.toml"), hosts)?)
    }

    fn hosts(&self) -> PathBuf {
        self.directory.path().join("hosts")
    }

    fn program(&self, words: &[&str]) -> Result<Program> {
        Ok(tool::call("ctr", "containerd", ["--address"])?.arg(self.socket()).args(words))
    }

    /// `ctr WORDS`, which must succeed; returns its standard output.
    pub fn ctr(&self, words: &[&str]) -> Result<String> {
        tool::run(self.program(words)?)
    }

    /// Pulls an image through the hosts that [`Containerd::point`] has set. Unpacks it too.
    pub fn pull(&self, image: &str) -> Result<String> {
        self.ctr(&self.pull_words(image).iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Pulls an image, whatever comes of it: success, and both outputs together.
    pub fn try_pull(&self, image: &str) -> Result<(bool, String)> {
        let output = tool::output(self.program(&[])?.args(self.pull_words(image)))?;
        let text = [output.stdout, output.stderr].concat();
        Ok((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
    }

    /// The call that pulls an image, for whoever runs it.
    pub fn pull_program(&self, image: &str) -> Result<Program> {
        Ok(self.program(&[])?.args(self.pull_words(image)))
    }

    fn pull_words(&self, image: &str) -> Vec<String> {
        let hosts = self.hosts().display().to_string();
        ["images", "pull", "--snapshotter=native", "--hosts-dir", &hosts, image].map(str::to_owned).to_vec()
    }

    /// Runs the image's command to its end and returns what it printed.
    pub fn run(&self, image: &str, id: &str) -> Result<String> {
        self.ctr(&["run", "--rm", "--snapshotter=native", image, id])
    }

    /// Whether the content store has this blob.
    pub fn has(&self, digest: &str) -> Result<bool> {
        Ok(self.ctr(&["content", "ls", "--quiet"])?.lines().any(|line| line == digest))
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        self.daemon.stop(STOP_TIMEOUT);
    }
}
