//! What a tag meant when the server was last asked: the agent's memory of references, on disk.
//!
//! One small JSON file for each reference, under the hash of its name, written aside and renamed. Nothing from the network becomes
//! a path. The bytes of the manifest are in the blob store; this remembers only digest and media type. It is a cache: a file that
//! cannot be read is a miss, and losing all of them costs one question per tag. No fsync for the same reason.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use shoal_oci::{Digest, Reference, Repository};

/// Files read at most when the directory is trimmed at start. Beyond it the oldest knowledge is dropped.
const REFERENCES_MAX: usize = 100_000;

/// What a reference resolved to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    /// Repository on the server.
    pub repository: Repository,
    /// Tag or digest, as text.
    pub reference: String,
    /// The manifest.
    pub digest: Digest,
    /// Its media type, exactly as the server sent it.
    pub media_type: String,
    /// When the server said so, in seconds since 1970.
    pub checked_at: u64,
    /// Whether the repository is a copy of an upstream's.
    #[serde(default)]
    pub is_copy: bool,
}

impl Resolved {
    /// A fresh answer of the server.
    pub fn new(repository: &Repository, reference: &Reference, digest: Digest, media_type: String) -> Self {
        Self {
            repository: repository.clone(),
            reference: reference.to_string(),
            digest,
            media_type,
            checked_at: seconds(SystemTime::now()),
            is_copy: false,
        }
    }

    /// How long ago the server said so.
    pub fn age(&self) -> Duration {
        Duration::from_secs(seconds(SystemTime::now()).saturating_sub(self.checked_at))
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The directory of remembered references.
#[derive(Clone, Debug)]
pub struct References {
    directory: PathBuf,
}

impl References {
    /// Opens or makes the directory, and drops the oldest files when there are far too many.
    ///
    /// # Errors
    /// When the directory cannot be made or read.
    pub fn open(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        remove_leftovers(directory)?;
        trim(directory, REFERENCES_MAX)?;
        Ok(Self { directory: directory.to_owned() })
    }

    /// Drops the oldest files when there are far too many.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn trim(&self) -> io::Result<()> {
        trim(&self.directory, REFERENCES_MAX)
    }

    /// What is remembered of a reference, if anything.
    pub fn get(&self, repository: &Repository, reference: &Reference) -> Option<Resolved> {
        let bytes = fs::read(self.path(repository, reference)).ok()?;
        let found: Resolved = serde_json::from_slice(&bytes).ok()?;
        // A file that was copied or damaged must not answer for another name.
        (found.repository == *repository && found.reference == reference.to_string()).then_some(found)
    }

    /// Remembers an answer of the server.
    ///
    /// # Errors
    /// When the file cannot be written; the caller may go on, having lost only the memory.
    pub fn put(&self, repository: &Repository, reference: &Reference, resolved: &Resolved) -> io::Result<()> {
        write_aside(&self.path(repository, reference), &serde_json::to_vec(resolved)?)
    }

    /// Forgets a reference that the server no longer has.
    pub fn forget(&self, repository: &Repository, reference: &Reference) {
        let _ = fs::remove_file(self.path(repository, reference));
    }

    fn path(&self, repository: &Repository, reference: &Reference) -> PathBuf {
        let name = Digest::sha256(format!("{repository}\n{reference}").as_bytes());
        self.directory.join(name.to_hex()).with_extension("json")
    }
}

/// Writes a file so that readers see all of it or none.
pub(crate) fn write_aside(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let aside = path.with_extension(format!("{:016x}.tmp", unique()));
    fs::write(&aside, bytes).and_then(|()| fs::rename(&aside, path)).inspect_err(|_| {
        let _ = fs::remove_file(&aside);
    })
}

/// A number that no other write of this process uses.
fn unique() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Removes leftovers of writes that a former process did not finish. Not while this one writes.
pub(crate) fn remove_leftovers(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if is_aside(&path) {
            let _ = fs::remove_file(&path);
        }
    }
    Ok(())
}

/// Removes the oldest files beyond `keep`.
pub(crate) fn trim(directory: &Path, keep: usize) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let modified = entry.metadata().and_then(|metadata| metadata.modified()).unwrap_or(UNIX_EPOCH);
        files.push((modified, entry.path()));
    }
    files.retain(|(_, path)| !is_aside(path));
    if files.len() > keep {
        files.sort();
        let surplus = files.len() - keep;
        for (_, path) in files.into_iter().take(surplus) {
            let _ = fs::remove_file(path);
        }
    }
    Ok(())
}

/// Whether a file is still being written, see [`write_aside`].
fn is_aside(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "tmp")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> (Repository, Reference) {
        let (repository, tag) = text.split_once(':').unwrap();
        (repository.parse().unwrap(), tag.parse().unwrap())
    }

    fn resolved(text: &str) -> Resolved {
        let (repository, reference) = name(text);
        Resolved::new(&repository, &reference, Digest::sha256(text.as_bytes()), "application/json".to_owned())
    }

    #[test]
    fn remembers_and_forgets_across_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let (repository, reference) = name("team/app:v1");
        let references = References::open(directory.path()).unwrap();
        assert_eq!(references.get(&repository, &reference), None);
        references.put(&repository, &reference, &resolved("team/app:v1")).unwrap();
        let again = References::open(directory.path()).unwrap();
        let found = again.get(&repository, &reference).unwrap();
        assert_eq!(found.digest, Digest::sha256(b"team/app:v1"));
        assert!(found.age() < Duration::from_secs(60));
        again.forget(&repository, &reference);
        assert_eq!(again.get(&repository, &reference), None);
    }

    #[test]
    fn a_damaged_or_misplaced_file_is_a_miss() {
        let directory = tempfile::tempdir().unwrap();
        let references = References::open(directory.path()).unwrap();
        let (repository, reference) = name("team/app:v1");
        references.put(&repository, &reference, &resolved("team/other:v1")).unwrap();
        assert_eq!(references.get(&repository, &reference), None);
        fs::write(references.path(&repository, &reference), b"{\"repository\":").unwrap();
        assert_eq!(references.get(&repository, &reference), None);
    }

    #[test]
    fn the_oldest_are_dropped_beyond_the_limit() {
        let directory = tempfile::tempdir().unwrap();
        for index in 0..5 {
            let path = directory.path().join(format!("{index}.json"));
            let file = fs::File::create(path).unwrap();
            file.set_modified(UNIX_EPOCH + Duration::from_secs(index)).unwrap();
        }
        fs::write(directory.path().join("x.0.tmp"), b"").unwrap();
        trim(directory.path(), 2).unwrap();
        assert!(directory.path().join("x.0.tmp").exists());
        remove_leftovers(directory.path()).unwrap();
        let mut left: Vec<_> =
            fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["3.json", "4.json"]);
    }
}
