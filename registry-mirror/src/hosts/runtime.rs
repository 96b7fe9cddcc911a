//! The container runtimes that can be wired, and how to tell that one is there.

use std::fmt;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::root::Root;

/// A family of programs that read the same files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// containerd, with or without Kubernetes
    Containerd,
    /// Docker Engine
    Docker,
    /// podman, buildah, skopeo and CRI-O, which read the same files
    Podman,
    /// k3s with its own containerd
    K3s,
}

/// Where programs are installed.
const DIRECTORIES: [&str; 6] =
    ["/usr/local/bin", "/usr/local/sbin", "/usr/bin", "/usr/sbin", "/bin", "/sbin"];

impl Runtime {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Containerd, Self::Docker, Self::Podman, Self::K3s];

    /// One of these programs is there when the runtime is installed.
    const fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Containerd => &["containerd"],
            Self::Docker => &["dockerd"],
            Self::Podman => &["podman", "crio", "buildah", "skopeo"],
            Self::K3s => &["k3s"],
        }
    }

    /// Whether it is installed below a root.
    pub(crate) fn is_installed(self, root: &Root) -> bool {
        self.programs().iter().any(|program| locate(root, program).is_some())
    }
}

/// Where a program is below a root.
pub(crate) fn locate(root: &Root, program: &str) -> Option<PathBuf> {
    let places = DIRECTORIES.iter().map(|directory| Path::new(directory).join(program));
    places.map(|path| root.real(&path)).find(|path| path.is_file())
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Containerd => "containerd",
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::K3s => "k3s",
        })
    }
}
