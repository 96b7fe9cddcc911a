//! Changes carried out, so that stopping at any point leaves every file old or new and a later run able to go either way.
//!
//! First the contents of the operator's files are kept, then the record says which files become ours, then they are replaced one by one,
//! then the record forgets those that are as they were. To take back is to carry out the changes the other way round.

use std::path::Path;

use super::disk::{Content, Disk};
use super::error::HostsError;
use super::plan::{Change, changed_since};
use super::record::{Entry, Record, State};
use super::view::View;

/// Removes what a run that was stopped has left beside our files.
pub(crate) fn sweep(disk: &Disk, record: &Record) -> Result<(), HostsError> {
    record.files.keys().try_for_each(|path| disk.sweep(path))
}

/// Carries changes out.
pub(crate) fn carry_out(
    disk: &Disk,
    state: &State<'_>,
    record: &mut Record,
    changes: &[Change],
) -> Result<(), HostsError> {
    for change in changes {
        enter(disk, state, record, change)?;
    }
    if !changes.is_empty() {
        record.proven = false;
        state.save(record)?;
    }
    for change in changes {
        put(disk, &change.path, change.target.as_ref())?;
    }
    settle(disk, state, record)
}

/// Into the record, before anything is touched.
fn enter(disk: &Disk, state: &State<'_>, record: &mut Record, change: &Change) -> Result<(), HostsError> {
    let before = change.before.as_ref().map(|content| state.keep(content)).transpose()?;
    let mut written: Vec<_> =
        record.files.remove(&change.path).map(|entry| entry.written).unwrap_or_default();
    if let Some(target) = &change.target
        && change.before.as_ref() != Some(target)
    {
        let digest = state.keep(target)?;
        written.retain(|known| *known != target.digest());
        written.push(digest.digest());
        for directory in disk.missing_directories(&change.path) {
            if !record.directories.contains(&directory) {
                record.directories.push(directory);
            }
        }
    }
    record.files.insert(change.path.clone(), Entry { runtime: change.runtime, before, written });
    Ok(())
}

fn put(disk: &Disk, path: &Path, target: Option<&Content>) -> Result<(), HostsError> {
    match target {
        None => disk.remove(path),
        Some(content) => {
            for directory in disk.missing_directories(path) {
                disk.make_directory(&directory)?;
            }
            disk.put(path, content)
        }
    }
}

/// Forgets files that are as they were, and contents that are no longer there; removes directories that were made and are empty.
fn settle(disk: &Disk, state: &State<'_>, record: &mut Record) -> Result<(), HostsError> {
    let mut settled = record.clone();
    for (path, entry) in &record.files {
        let current = disk.read(path)?;
        if entry.is_as_before(current.as_ref()) {
            settled.files.remove(path);
        } else if let (Some(current), Some(entry)) = (current, settled.files.get_mut(path))
            && entry.written.contains(&current.digest())
        {
            entry.written = vec![current.digest()];
        }
    }
    for directory in record.directories.iter().rev() {
        let is_used = settled.files.keys().any(|path| path.starts_with(directory));
        if !is_used {
            disk.remove_directory(directory)?;
            settled.directories.retain(|known| known != directory);
        }
    }
    if settled != *record {
        state.save(&settled)?;
        *record = settled;
    }
    Ok(())
}

/// The changes that lead back to where these began.
pub(crate) fn reversed(changes: &[Change]) -> Vec<Change> {
    let back = |change: &Change| Change {
        current: change.target.clone(),
        target: change.current.clone(),
        ..change.clone()
    };
    changes.iter().rev().map(back).collect()
}

/// The changes that lead back to what the operator had.
pub(crate) fn restoring(view: &View<'_>, force: bool) -> Result<Vec<Change>, HostsError> {
    let mut changes = Vec::new();
    let mut foreign = String::new();
    for (path, entry) in &view.record.files {
        let current = view.disk.read(path)?;
        if entry.is_as_before(current.as_ref()) {
            continue;
        }
        if !force {
            foreign.push_str(&changed_since(view, path, current.as_ref())?);
        }
        let before = view.state.before(entry)?;
        let (runtime, path, target) = (entry.runtime, path.clone(), before.clone());
        changes.push(Change { runtime, path, current, target, before });
    }
    if foreign.is_empty() {
        Ok(changes)
    } else {
        Err(HostsError::Changed { remedy: "lose these changes", differences: foreign })
    }
}

/// Puts everything back.
pub(crate) fn restore(
    disk: &Disk,
    state: &State<'_>,
    record: &mut Record,
    changes: &[Change],
) -> Result<(), HostsError> {
    sweep(disk, record)?;
    carry_out(disk, state, record, changes)?;
    // What a run that was stopped before its first record has kept.
    if record.files.is_empty() { state.save(record) } else { Ok(()) }
}
