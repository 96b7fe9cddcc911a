//! The clients: each pulls an image of a registry that does not exist, through an agent first and the server's registry behind it.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::containerd::Containerd;
use crate::docker::Docker;
use crate::mounts::MountedDir;
use crate::process::Program;
use crate::tool;

/// The registry in whose name everybody but Docker pulls what is the cluster's own. Nothing listens there.
pub const REGISTRY: &str = "registry.example.com";
/// The registry that the cluster pulls from. Clients cannot reach it.
pub const FOREIGN: &str = "upstream.example.com";

/// A client of one machine.
pub trait Client: Send + Sync {
    /// What it is called.
    fn name(&self) -> &'static str;

    /// Whether a call of it goes on after a connection was cut in the middle of a layer. podman, skopeo and buildah of Debian 12 give up
    /// then, whatever the mirror does; whoever calls them tries again.
    fn resumes(&self) -> bool {
        false
    }

    /// Pulls `team/app:tag`, given as a repository and a tag, of a registry, within `limit`.
    fn pull(&self, registry: &str, reference: &str, limit: Duration) -> Result<()>;
}

/// All of Debian's, each with the agent of its number.
pub fn all(mirrors: &[SocketAddr], server: SocketAddr) -> Result<Vec<Box<dyn Client>>> {
    ensure!(mirrors.len() >= COUNT, "one agent for each client");
    Ok(vec![
        Box::new(CtrClient::new(mirrors[0], server)?),
        Box::new(DockerClient {
            docker: Docker::start(&[format!("http://{}", mirrors[1]), format!("http://{server}")])?,
            mirror: mirrors[1],
        }),
        Box::new(PodmanClient(Storage::new(mirrors[2], server)?)),
        Box::new(SkopeoClient(Storage::new(mirrors[3], server)?)),
        Box::new(BuildahClient(Storage::new(mirrors[4], server)?)),
    ])
}

/// How many there are.
pub const COUNT: usize = 5;

/// Runs a client and makes its words the error.
fn run(program: Program, limit: Duration) -> Result<()> {
    let patience = limit.as_secs() + 5;
    let output = tool::output(program.behind(&["timeout".to_owned(), patience.to_string()]))?;
    let words = [output.stdout, output.stderr].concat();
    ensure!(output.status.success(), "{}: {}", output.status, last_lines(&String::from_utf8_lossy(&words)));
    Ok(())
}

fn last_lines(words: &str) -> String {
    let lines: Vec<_> = words.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(3)..].join(" | ")
}

struct CtrClient(Containerd);

impl CtrClient {
    fn new(mirror: SocketAddr, server: SocketAddr) -> Result<Self> {
        let containerd = Containerd::start()?;
        for registry in [REGISTRY, FOREIGN] {
            containerd.point_with_fallback(registry, mirror, server)?;
        }
        Ok(Self(containerd))
    }
}

impl Client for CtrClient {
    fn name(&self) -> &'static str {
        "containerd"
    }

    fn resumes(&self) -> bool {
        true
    }

    fn pull(&self, registry: &str, reference: &str, limit: Duration) -> Result<()> {
        run(self.0.pull_program(&format!("{registry}/{reference}"))?, limit)
    }
}

struct DockerClient {
    docker: Docker,
    mirror: SocketAddr,
}

impl Client for DockerClient {
    fn name(&self) -> &'static str {
        "docker"
    }

    fn resumes(&self) -> bool {
        true
    }

    fn pull(&self, registry: &str, reference: &str, limit: Duration) -> Result<()> {
        // It has mirrors for Docker Hub only; an image of another registry is asked of the agent by name.
        let foreign = registry == FOREIGN;
        let name =
            if foreign { format!("{}/{registry}/{reference}", self.mirror) } else { reference.to_owned() };
        run(self.docker.program(&["pull", &name]), limit)
    }
}

/// Configuration and images of a program of the containers family.
struct Storage(MountedDir);

impl Storage {
    fn new(mirror: SocketAddr, server: SocketAddr) -> Result<Self> {
        let storage = Self(MountedDir::new()?);
        let section = |registry: &str, path: &str| {
            format!(
                "[[registry]]\nprefix = \"{registry}\"\nlocation = \"{registry}\"\n\n\
                 [[registry.mirror]]\nlocation = \"{mirror}{path}\"\ninsecure = true\n\n\
                 [[registry.mirror]]\nlocation = \"{server}{path}\"\ninsecure = true\n\n"
            )
        };
        let configuration = section(REGISTRY, "") + &section(FOREIGN, &format!("/{FOREIGN}"));
        fs::write(storage.0.path().join("registries.conf"), configuration)?;
        fs::write(storage.0.path().join("auth.json"), "{}")?;
        fs::write(
            storage.0.path().join("policy.json"),
            r#"{"default":[{"type":"insecureAcceptAnything"}]}"#,
        )?;
        Ok(storage)
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn program(&self, name: &str) -> Result<Program> {
        Ok(Program::new(tool::find(name, name)?)
            .env("CONTAINERS_REGISTRIES_CONF", self.at("registries.conf"))
            .env("REGISTRY_AUTH_FILE", self.at("auth.json"))
            .env("HOME", self.0.path())
            .env("TMPDIR", self.0.path()))
    }
}

struct PodmanClient(Storage);

impl Client for PodmanClient {
    fn name(&self) -> &'static str {
        "podman"
    }

    fn pull(&self, registry: &str, reference: &str, limit: Duration) -> Result<()> {
        let program = self.0.program("podman")?;
        let program = program.arg("--root").arg(self.0.at("root")).arg("--runroot").arg(self.0.at("run"));
        let program = program.arg("--tmpdir").arg(self.0.at("tmp"));
        let program =
            program.args(["--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--events-backend=none"]);
        run(program.args(["pull", &format!("{registry}/{reference}")]), limit)
    }
}

struct SkopeoClient(Storage);

impl Client for SkopeoClient {
    fn name(&self) -> &'static str {
        "skopeo"
    }

    fn pull(&self, registry: &str, reference: &str, limit: Duration) -> Result<()> {
        let target = self.0.at("copies").join(reference.replace(['/', ':'], "-"));
        fs::create_dir_all(&target)?;
        let program = self.0.program("skopeo")?.arg("--insecure-policy");
        let program = program.arg("--registries-conf").arg(self.0.at("registries.conf"));
        // Its own way of trying again, as whoever scripts it would ask for; podman does the same unasked.
        let program = program.args(["copy", "--retry-times=3", &format!("docker://{registry}/{reference}")]);
        run(program.arg(dir(&target)), limit)
    }
}

fn dir(path: &Path) -> String {
    format!("dir:{}", path.display())
}

struct BuildahClient(Storage);

impl Client for BuildahClient {
    fn name(&self) -> &'static str {
        "buildah"
    }

    fn pull(&self, registry: &str, reference: &str, limit: Duration) -> Result<()> {
        let program = self.0.program("buildah")?;
        let program = program.arg("--registries-conf").arg(self.0.at("registries.conf"));
        let program = program.arg("--root").arg(self.0.at("root")).arg("--runroot").arg(self.0.at("run"));
        let words = ["--storage-driver=vfs", "pull", "--signature-policy"];
        let program = program.args(words).arg(self.0.at("policy.json"));
        run(program.arg(format!("{registry}/{reference}")), limit)
    }
}
