//! The files that the rules look at: everything that git tracks or would track.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// One text file.
pub(super) struct SourceFile {
    /// Path from the root of the repository, with slashes.
    pub(super) path: String,
    pub(super) text: String,
}

impl SourceFile {
    /// The last component of the path.
    pub(super) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    pub(super) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }
}

/// The repository as the rules see it.
pub(super) struct House {
    pub(super) root: PathBuf,
    pub(super) files: Vec<SourceFile>,
}

impl House {
    /// Reads every text file that is tracked, or untracked and not ignored.
    pub(super) fn load(root: &Path) -> Result<Self> {
        let output = Command::new("git")
            .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
            .current_dir(root)
            .output()
            .context("cannot run git, which knows which files belong to the repository")?;
        ensure!(output.status.success(), "git ls-files failed: {}", String::from_utf8_lossy(&output.stderr));
        let mut files = Vec::new();
        for path in String::from_utf8_lossy(&output.stdout).split_terminator('\0') {
            // A file that is deleted but not committed yet, and one that is not text, are nothing to read.
            if let Ok(text) = fs::read_to_string(root.join(path)) {
                files.push(SourceFile { path: path.to_owned(), text });
            }
        }
        files.sort_by(|left, right| left.path.cmp(&right.path));
        files.dedup_by(|left, right| left.path == right.path);
        Ok(Self { root: root.to_owned(), files })
    }

    /// The Rust files.
    pub(super) fn rust(&self) -> impl Iterator<Item = &SourceFile> {
        self.files.iter().filter(|file| file.is_rust())
    }

    /// The file at exactly this path.
    pub(super) fn file(&self, path: &str) -> Option<&SourceFile> {
        self.files.iter().find(|file| file.path == path)
    }

    #[cfg(test)]
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        let files = files
            .iter()
            .map(|(path, text)| SourceFile { path: (*path).into(), text: (*text).into() })
            .collect();
        Self { root: PathBuf::new(), files }
    }
}
