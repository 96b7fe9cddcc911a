//! A machine of its own as far as files go: private `/etc`, `/run` and `/var/lib` over those of this one, in a mount namespace.
//!
//! Runtimes run in it with their default paths, so that what is tested is what an operator has. Network and processes are this machine's.
//! Everything lies on a file system in memory, because an overlay cannot have its upper layer on another overlay.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::mounts::MountedDir;
use crate::process::{Process, Program};
use crate::tool;
use crate::wait::wait_until;

/// How long mounts and daemons may take. Generous, because CI machines are shared.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a daemon may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// What an operator had there before. No bridge and no iptables, because the network is this machine's; `vfs`, because it works everywhere.
const SETUP: &str = r#"
set -eu
mount -t tmpfs tmpfs "$1"
mkdir "$1/etc" "$1/work" "$1/lib" "$1/run"
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$1/etc,workdir=$1/work" /etc
mount --bind "$1/lib" /var/lib
mount --bind "$1/run" /run
rm -rf /etc/docker /etc/containerd/certs.d /etc/containers/registries.conf.d
mkdir -p /etc/docker /etc/containers/registries.conf.d
printf '{\n\t"bridge": "none",\n\t"iptables": false,\n\t"storage-driver": "vfs"\n}' > /etc/docker/daemon.json
printf '[storage]\ndriver = "vfs"\nrunroot = "/run/containers/storage"\ngraphroot = "/var/lib/containers/storage"\n' > /etc/containers/storage.conf
printf '# short names are Docker Hub\nunqualified-search-registries = ["docker.io"]\n' > /etc/containers/registries.conf
printf 'version = 2\n# of the operator\n[plugins."io.containerd.grpc.v1.cri".registry]\n  config_path = ""\n' > /etc/containerd/config.toml
: > /run/is-ready
exec sleep infinity
"#;

/// A running one. Dropped in this order: daemons, the namespace, the directory.
#[derive(Debug)]
pub struct Machine {
    daemons: Vec<Process>,
    holder: Process,
    directory: MountedDir,
}

impl Machine {
    /// Starts one without daemons.
    pub fn start() -> Result<Self> {
        let directory = MountedDir::new()?;
        std::fs::create_dir(directory.path().join("files"))?;
        let log = directory.path().join("log");
        let holder =
            tool::call("unshare", "util-linux", ["--mount", "--propagation", "private", "--", "sh", "-c"])?
                .arg(SETUP)
                .arg("sh")
                .arg(directory.path().join("files"))
                .start("namespace", &log)?;
        let mut machine = Self { daemons: Vec::new(), holder, directory };
        let ready = wait_until(START_TIMEOUT, || {
            let is_ready = machine.path("/run/is-ready").exists();
            (is_ready || !machine.holder.is_running()).then_some(is_ready)
        });
        if ready != Some(true) {
            bail!("the namespace is not ready\n{}", machine.holder.log_tail());
        }
        Ok(machine)
    }

    /// A file of it, as this machine reaches it.
    pub fn path(&self, path: &str) -> PathBuf {
        Path::new(&format!("/proc/{}/root", self.holder.id())).join(path.trim_start_matches('/'))
    }

    /// A program in it.
    pub fn program(&self, program: Program) -> Program {
        let target = self.holder.id().to_string();
        program.behind(&["nsenter", "--target", &target, "--mount", "--"].map(str::to_owned))
    }

    /// Runs a shell script in it, which must succeed; returns its standard output.
    pub fn shell(&self, script: &str) -> Result<String> {
        tool::run(self.program(Program::new("sh").args(["-euc", script])))
    }

    /// Starts containerd with its default paths.
    pub fn start_containerd(&mut self) -> Result<()> {
        self.start_daemon("containerd", "containerd", "ctr version")
    }

    /// Starts dockerd with its default paths.
    pub fn start_docker(&mut self) -> Result<()> {
        self.start_daemon("dockerd", "docker.io", "docker version")
    }

    fn start_daemon(&mut self, name: &str, package: &str, question: &str) -> Result<()> {
        let log = self.directory.path().join(format!("{name}.log"));
        let mut daemon = self.program(Program::new(tool::find(name, package)?)).start(name, &log)?;
        let answers = wait_until(START_TIMEOUT, || {
            let answers = self.shell(question).is_ok();
            (answers || !daemon.is_running()).then_some(answers)
        });
        if answers != Some(true) {
            bail!("{name} does not answer\n{}", daemon.log_tail());
        }
        self.daemons.push(daemon);
        Ok(())
    }

    /// Every file, directory and link below directories of it: kind, mode, owner, name, target, and the digests of files.
    pub fn inventory(&self, directories: &str) -> Result<String> {
        let script = format!(
            "find {directories} -printf '%y %m %U:%G %p %l\\n' | sort; find {directories} -type f -exec sha256sum {{}} + | sort"
        );
        self.shell(&script).context("cannot list the files of the machine")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // The last first: dockerd is a client of containerd.
        while let Some(mut daemon) = self.daemons.pop() {
            daemon.stop(STOP_TIMEOUT);
        }
        self.holder.kill();
    }
}
