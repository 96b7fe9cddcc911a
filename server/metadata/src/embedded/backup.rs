//! A copy of the database, made while it is in use.
//!
//! SQLite writes the copy from one snapshot, without what was deleted. Commits go on meanwhile; only the log cannot start again until
//! the copy is done. A copy that is cut short stays under a name that says so.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::{io, schema};
use crate::{Error, Result};

/// Writes the copy to `target`, durably. Blocking, and takes about as long as reading the database.
pub(super) fn write(database: &Path, target: &Path) -> Result<()> {
    if target.exists() {
        let error = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
        return Err(io("back up to", target, &error));
    }
    let partial = partial(target);
    remove_if_there(&partial)?;
    let name = partial.to_str().ok_or_else(|| {
        let error = std::io::Error::new(std::io::ErrorKind::InvalidInput, "the path is not UTF-8");
        io("back up to", target, &error)
    })?;
    let connection = schema::open_tender(database)?;
    let copied = connection.execute("VACUUM INTO ?1", [name]).map_err(Error::from);
    let placed = copied.and_then(|_| place(&partial, target));
    if placed.is_err() {
        let _ = remove_if_there(&partial); // the first error says more
    }
    placed
}

fn place(partial: &Path, target: &Path) -> Result<()> {
    let sync = |path: &Path| File::open(path).and_then(|file| file.sync_all());
    sync(partial).map_err(|error| io("sync", partial, &error))?;
    // Unlike a rename, this fails when somebody else was faster.
    std::fs::hard_link(partial, target).map_err(|error| io("name", target, &error))?;
    std::fs::remove_file(partial).map_err(|error| io("remove", partial, &error))?;
    let directory = target.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    sync(directory).map_err(|error| io("sync", directory, &error))
}

fn partial(target: &Path) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(".partial");
    PathBuf::from(name)
}

fn remove_if_there(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io("remove", path, &error)),
        _ => Ok(()),
    }
}
