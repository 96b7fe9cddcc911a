//! Files that an operator may change while the server runs: read within bounds, and noticed when they have changed.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::rejection::AuthError;

/// Reads a text file of at most `len_max` bytes. Blocks.
pub(crate) fn read(path: &Path, len_max: u64) -> Result<String, AuthError> {
    let fail = |source| AuthError::Read { path: path.to_owned(), source };
    let mut text = String::new();
    File::open(path).and_then(|file| file.take(len_max + 1).read_to_string(&mut text)).map_err(fail)?;
    if text.len() as u64 > len_max {
        let why = format!("it has more than {len_max} bytes");
        return Err(fail(std::io::Error::new(std::io::ErrorKind::FileTooLarge, why)));
    }
    Ok(text)
}

/// What tells one content of a file from another without reading it. A file that is not there is a state like any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

fn stamp(path: &Path) -> Option<Stamp> {
    let meta = fs::metadata(path).ok()?;
    Some(Stamp {
        device: meta.dev(),
        inode: meta.ino(),
        size: meta.size(),
        modified: (meta.mtime(), meta.mtime_nsec()),
        changed: (meta.ctime(), meta.ctime_nsec()),
    })
}

/// Notices changes of some files. A change counts once the files have looked the same twice, so that a file is not read while
/// somebody is still writing it.
#[derive(Debug)]
pub(crate) struct Watch {
    paths: Vec<PathBuf>,
    taken: Vec<Option<Stamp>>,
    seen: Vec<Option<Stamp>>,
}

impl Watch {
    /// Watches from now on.
    pub(crate) fn new(paths: Vec<PathBuf>) -> Self {
        let taken: Vec<_> = paths.iter().map(|path| stamp(path)).collect();
        Self { paths, seen: taken.clone(), taken }
    }

    /// Whether the files have changed since they were taken last, and have settled. Then they count as taken. Blocks.
    pub(crate) fn changed(&mut self) -> bool {
        let now: Vec<_> = self.paths.iter().map(|path| stamp(path)).collect();
        let settled = now == self.seen;
        self.seen.clone_from(&now);
        if settled && now != self.taken {
            self.taken = now;
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_counts_once_it_has_settled() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "one").unwrap();
        let mut watch = Watch::new(vec![path.clone()]);
        assert!(!watch.changed());
        fs::write(&path, "half of tw").unwrap();
        assert!(!watch.changed());
        fs::write(&path, "two, whole").unwrap();
        // It may have the same size, but it was written later.
        File::open(&path).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        assert!(!watch.changed());
        assert!(watch.changed());
        assert!(!watch.changed());
        fs::remove_file(&path).unwrap();
        assert!(!watch.changed());
        assert!(watch.changed());
    }

    #[test]
    fn what_is_too_long_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), "12345");
        assert!(read(&path, 4).unwrap_err().to_string().contains("more than 4 bytes"));
    }
}
