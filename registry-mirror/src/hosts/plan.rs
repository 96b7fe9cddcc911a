//! What the files of the runtimes should say: made from the operator's files and a wish, without touching anything.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::Serialize;

use super::disk::Content;
use super::error::{HostsError, Refusal};
use super::runtime::Runtime;
use super::view::View;
use super::{containerd, containers, difference, docker, k3s};

/// The first line of every file that is ours alone.
pub(super) const MARK: &str =
    "# Written by `shoal-agent hosts apply`; `shoal-agent hosts restore` takes it away.\n";

/// What to do where the operator has mirrors of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Existing {
    /// The agent goes in front of them; they stay behind it, in their order
    #[default]
    Front,
    /// Nothing is changed anywhere, and the places are named
    Refuse,
}

/// What an operator wants.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    /// The agent's mirror, as runtimes reach it.
    pub(crate) agent: SocketAddr,
    /// Registries by the name in front of images.
    pub(crate) registries: Vec<String>,
    /// All others too, where a runtime can.
    pub(crate) catch_all: bool,
    /// Where somebody else's mirrors are.
    pub(crate) existing: Existing,
    /// Whose files.
    pub(crate) runtimes: Vec<Runtime>,
}

impl Wish {
    /// The mirror as a URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.agent)
    }

    /// Refuses where others' mirrors are, when that is wished.
    pub(super) fn check_others(
        &self,
        file: &Path,
        line: usize,
        key: &str,
        other: &str,
    ) -> Result<(), Refusal> {
        if self.existing == Existing::Front {
            return Ok(());
        }
        let refusal = Refusal::new(
            file,
            format!("sends pulls to {other}"),
            "remove it, or let the agent go in front of it with --existing front",
        );
        Err(refusal.at(line, key))
    }
}

/// One file as it should be.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) runtime: Runtime,
    /// As it is called, links and all.
    pub(crate) file: PathBuf,
    pub(crate) text: String,
}

/// Something that an operator should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Note {
    pub(crate) runtime: Runtime,
    pub(crate) note: String,
}

/// All files, and everything that keeps us from writing them.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) wanted: Vec<Wanted>,
    pub(crate) refusals: Vec<Refusal>,
    pub(crate) notes: Vec<Note>,
    /// The directory in which containerd looks for `hosts.toml`.
    pub(crate) hosts_directory: Option<PathBuf>,
    /// The version of containerd's configuration.
    pub(crate) containerd_version: i64,
}

impl Plan {
    /// Plans for every runtime of the wish.
    pub(crate) fn of(view: &View<'_>, wish: &Wish) -> Result<Self, HostsError> {
        let mut plan = Self::default();
        for runtime in &wish.runtimes {
            let planned = match runtime {
                Runtime::Containerd => containerd::plan(view, wish, &mut plan),
                Runtime::Docker => docker::plan(view, wish, &mut plan),
                Runtime::Podman => containers::plan(view, wish, &mut plan),
                Runtime::K3s => k3s::plan(view, wish, &mut plan),
            };
            plan.take(planned)?;
        }
        if plan.refusals.is_empty() { Ok(plan) } else { Err(HostsError::Refused(plan.refusals)) }
    }

    /// Remembers refusals, so that all of them are told at once; other errors end everything.
    pub(super) fn take(&mut self, result: Result<(), HostsError>) -> Result<(), HostsError> {
        match result {
            Err(HostsError::Refused(refusals)) => {
                self.refusals.extend(refusals);
                Ok(())
            }
            other => other,
        }
    }

    /// A file is wanted.
    pub(super) fn want(&mut self, runtime: Runtime, file: &Path, text: String) {
        self.wanted.push(Wanted { runtime, file: file.to_owned(), text });
    }

    /// An operator should know.
    pub(super) fn note(&mut self, runtime: Runtime, note: impl Into<String>) {
        self.notes.push(Note { runtime, note: note.into() });
    }
}

/// One file that becomes another.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) runtime: Runtime,
    /// Without links.
    pub(crate) path: PathBuf,
    /// As it is now.
    pub(crate) current: Option<Content>,
    /// As it shall be.
    pub(crate) target: Option<Content>,
    /// As the operator had it.
    pub(crate) before: Option<Content>,
}

impl Change {
    /// What changes, for people.
    pub(crate) fn difference(&self) -> String {
        let bytes = |content: &Option<Content>| content.as_ref().map(|content| content.bytes.clone());
        difference::unified(&self.path, bytes(&self.current).as_deref(), bytes(&self.target).as_deref())
    }
}

/// What has to change so that the files are as planned, and files of the same runtimes that are no longer wanted are as they were.
///
/// With `force`, a file that somebody changed since it was written is taken as it is for the operator's.
pub(crate) fn changes(
    view: &View<'_>,
    plan: &Plan,
    wish: &Wish,
    force: bool,
) -> Result<Vec<Change>, HostsError> {
    let mut changes: Vec<Change> = Vec::new();
    let mut kept: Vec<PathBuf> = Vec::new();
    let mut foreign = String::new();
    for wanted in &plan.wanted {
        let (path, before) = view.content(&wanted.file)?;
        let bytes = wanted.text.clone().into_bytes();
        let current = view.disk.read(&path)?;
        kept.push(path.clone());
        if let Some(other) = changes.iter().find(|other| other.path == path) {
            if other.target.as_ref().is_some_and(|target| target.bytes == bytes) {
                continue;
            }
            let problem = format!(
                "is the same file as {}, which {} wants otherwise",
                other.path.display(),
                other.runtime
            );
            return Err(Refusal::new(&wanted.file, problem, "remove the link, or name one --runtime").into());
        }
        if current.as_ref().is_some_and(|current| current.bytes == bytes) {
            continue;
        }
        let target =
            before.as_ref().map_or_else(|| Content::new(bytes.clone()), |before| before.with(bytes.clone()));
        if !force {
            foreign.push_str(&changed_since(view, &path, current.as_ref())?);
        }
        changes.push(Change { runtime: wanted.runtime, path, current, target: Some(target), before });
    }
    for (path, entry) in &view.record.files {
        let is_over = wish.runtimes.contains(&entry.runtime) && !kept.contains(path);
        let current = view.disk.read(path)?;
        if is_over && entry.has_written(current.as_ref()) {
            let before = view.state.before(entry)?;
            let target = before.clone();
            changes.push(Change { runtime: entry.runtime, path: path.clone(), current, target, before });
        }
    }
    if foreign.is_empty() {
        Ok(changes)
    } else {
        Err(HostsError::Changed {
            remedy: "take them as they are now for the operator's",
            differences: foreign,
        })
    }
}

/// What somebody else has made of a file of ours; empty when nobody has.
pub(crate) fn changed_since(
    view: &View<'_>,
    path: &Path,
    current: Option<&Content>,
) -> Result<String, HostsError> {
    let Some(entry) = view.record.files.get(path) else { return Ok(String::new()) };
    if entry.is_as_before(current) || entry.has_written(current) {
        return Ok(String::new());
    }
    let written = entry.written.last().map(|digest| view.state.bytes(digest)).transpose()?;
    Ok(difference::unified(path, written.as_deref(), current.map(|content| content.bytes.as_slice())))
}
