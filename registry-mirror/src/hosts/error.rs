//! Why runtimes are not wired, or not unwired, in words that name file, line, key and remedy.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// One thing about one file that keeps us from touching it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The file, as it is called inside the root.
    pub file: PathBuf,
    /// Where in it, from one; `None` when it concerns the whole file.
    pub line: Option<usize>,
    /// The key; empty when it concerns no key.
    pub key: String,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub remedy: String,
}

impl Refusal {
    /// About a file as a whole.
    pub(super) fn new(file: &Path, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (problem, remedy) = (problem.into(), remedy.into());
        Self { file: file.to_owned(), line: None, key: String::new(), problem, remedy }
    }

    /// About a line and a key in it.
    pub(super) fn at(mut self, line: usize, key: impl Into<String>) -> Self {
        (self.line, self.key) = (Some(line), key.into());
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}; {}", self.problem, self.remedy)
    }
}

/// Why nothing was done, or not everything.
#[derive(Debug, thiserror::Error)]
pub enum HostsError {
    /// Files that are not understood or say something else; all of them.
    #[error("nothing was changed:{}", listed(.0))]
    Refused(Vec<Refusal>),
    /// Somebody changed files since; each with the difference.
    #[error(
        "changed by somebody since `hosts apply` wrote them; nothing was touched. Put them right, or say --force to {remedy}\n{differences}"
    )]
    Changed {
        /// What `--force` would do.
        remedy: &'static str,
        /// From what was written to what is there.
        differences: String,
    },
    /// A file or directory cannot be read, written or removed.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// The verb.
        what: &'static str,
        /// Its name on this machine.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// What a former run has remembered cannot be used.
    #[error("{}: {why}", path.display())]
    Record {
        /// The record, or a content that it names.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        why: String,
    },
    /// A pull through a runtime did not come through the agent, or a runtime refuses its file.
    #[error("{0}")]
    Unproven(String),
    /// The wish itself makes no sense.
    #[error("{0}")]
    Wish(String),
}

impl HostsError {
    /// For `map_err` on a call of the system.
    pub(super) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }
}

impl From<Refusal> for HostsError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(vec![refusal])
    }
}

fn listed(refusals: &[Refusal]) -> String {
    refusals.iter().map(|refusal| format!("\n  {refusal}")).collect()
}
