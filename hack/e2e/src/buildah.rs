//! buildah with storage of its own: builds from scratch, pushes and pulls.

use anyhow::Result;

use crate::mounts::MountedDir;
use crate::process::Program;
use crate::tool;

/// A buildah that shares nothing with the machine's.
#[derive(Debug)]
pub struct Buildah {
    directory: MountedDir,
}

impl Buildah {
    /// A buildah with empty storage.
    pub fn new() -> Result<Self> {
        Ok(Self { directory: MountedDir::new()? })
    }

    /// `buildah WORDS`, which must succeed; returns its standard output.
    pub fn run(&self, words: &[&str]) -> Result<String> {
        let at = |name: &str| self.directory.path().join(name);
        let program = Program::new(tool::find("buildah", "buildah")?)
            .arg("--root")
            .arg(at("root"))
            .arg("--runroot")
            .arg(at("run"))
            .args(["--storage-driver=vfs"])
            .args(words);
        tool::run(program)
    }
}
