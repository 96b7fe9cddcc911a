//! Trees of files in a temporary directory: applied, applied again, taken back, and stopped at every step.

mod containerd;
mod containers;
mod docker;
mod k3s;
mod whole;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::carry::{carry_out, restore, restoring, sweep};
use super::disk::Disk;
use super::error::{HostsError, Refusal};
use super::plan::{Change, Existing, Note, Plan, Wish, changes};
use super::record::State;
use super::root::Root;
use super::runtime::Runtime;
use super::view::View;

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Thing {
    File(Vec<u8>, u32),
    Directory,
    Link(PathBuf),
}

/// A root in a temporary directory.
struct Tree {
    directory: tempfile::TempDir,
}

impl Tree {
    fn new(files: &[(&str, &str)]) -> Self {
        let tree = Self { directory: tempfile::tempdir().unwrap() };
        for (path, text) in files {
            tree.write(path, text);
        }
        tree
    }

    fn real(&self, path: &str) -> PathBuf {
        self.directory.path().join(path.trim_start_matches('/'))
    }

    fn write(&self, path: &str, text: &str) {
        let real = self.real(path);
        fs::create_dir_all(real.parent().unwrap()).unwrap();
        fs::write(real, text).unwrap();
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.real(path)).unwrap()
    }

    fn has(&self, path: &str) -> bool {
        self.real(path).exists()
    }

    fn root(&self) -> Root {
        Root::new(self.directory.path()).unwrap()
    }

    fn disk(&self) -> Disk {
        Disk::new(self.root())
    }

    /// Everything below `/etc`.
    fn etc(&self) -> BTreeMap<PathBuf, Thing> {
        let mut all = BTreeMap::new();
        collect(&self.real("/etc"), &mut all);
        all
    }

    fn apply(&self, wish: &Wish) -> Result<Applied, HostsError> {
        apply_on(&self.disk(), wish, false)
    }

    fn restore(&self) -> Result<(), HostsError> {
        restore_on(&self.disk(), false)
    }

    /// The only refusal.
    fn refusal(&self, wish: &Wish) -> Refusal {
        match self.apply(wish) {
            Err(HostsError::Refused(all)) if all.len() == 1 => all.into_iter().next().unwrap(),
            other => panic!("not one refusal: {other:?}"),
        }
    }
}

fn collect(directory: &Path, all: &mut BTreeMap<PathBuf, Thing>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        let metadata = fs::symlink_metadata(&path).unwrap();
        let thing = if metadata.is_symlink() {
            Thing::Link(fs::read_link(&path).unwrap())
        } else if metadata.is_dir() {
            collect(&path, all);
            Thing::Directory
        } else {
            Thing::File(fs::read(&path).unwrap(), metadata.permissions().mode() & 0o7777)
        };
        all.insert(path, thing);
    }
}

/// What an apply did.
#[derive(Debug)]
struct Applied {
    changes: Vec<Change>,
    notes: Vec<Note>,
}

fn apply_on(disk: &Disk, wish: &Wish, force: bool) -> Result<Applied, HostsError> {
    let state = State::new(disk);
    let _lock = state.lock(true)?;
    let mut record = state.load()?;
    sweep(disk, &record)?;
    let view = View { disk, state: &state, record: &record };
    let plan = Plan::of(&view, wish)?;
    let changes = changes(&view, &plan, wish, force)?;
    carry_out(disk, &state, &mut record, &changes)?;
    Ok(Applied { changes, notes: plan.notes })
}

fn restore_on(disk: &Disk, force: bool) -> Result<(), HostsError> {
    let state = State::new(disk);
    let _lock = state.lock(false)?;
    let mut record = state.load()?;
    let changes = restoring(&View { disk, state: &state, record: &record }, force)?;
    restore(disk, &state, &mut record, &changes)
}

/// docker.io and everything else, for one runtime.
fn wish(runtime: Runtime) -> Wish {
    Wish {
        agent: "127.0.0.1:16000".parse().unwrap(),
        registries: vec!["docker.io".to_owned()],
        catch_all: true,
        existing: Existing::Front,
        runtimes: vec![runtime],
    }
}

/// `text` with the agent's table where `@AGENT@` stands.
fn with_agent(text: &str) -> String {
    let table = "[host.\"http://127.0.0.1:16000\"]\n  capabilities = [\"pull\", \"resolve\"]\n  dial_timeout = \"200ms\"\n";
    text.replace("@AGENT@\n", table)
}
