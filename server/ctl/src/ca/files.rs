//! Writing keys and certificates: whole or not at all, and keys never readable by others, not even for a moment.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Who may read a file.
#[derive(Clone, Copy)]
pub(crate) enum Secrecy {
    /// Everybody.
    Public,
    /// The owner alone.
    Private,
}

impl Secrecy {
    const fn mode(self) -> u32 {
        match self {
            Self::Public => 0o644,
            Self::Private => 0o600,
        }
    }
}

/// The longest file that is read, in bytes: room for a bundle of hundreds.
const FILE_LEN_MAX: u64 = 1024 * 1024;

/// Makes a directory for keys, if it is not there.
pub(crate) fn make_directory(directory: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .with_context(|| format!("cannot make the directory {}", directory.display()))
}

/// Reads a text file.
pub(crate) fn read(path: &Path) -> Result<String> {
    let cannot = || format!("cannot read {}", path.display());
    let size = fs::metadata(path).with_context(cannot)?.len();
    if size > FILE_LEN_MAX {
        bail!("{} has {size} bytes, which is no file of keys or certificates", path.display());
    }
    fs::read_to_string(path).with_context(cannot)
}

/// Writes a file that must not be there yet.
pub(crate) fn create(path: &Path, text: &str, secrecy: Secrecy) -> Result<()> {
    let staged = stage(path, text, secrecy)?;
    let linked = fs::hard_link(&staged, path);
    let removed = fs::remove_file(&staged);
    linked.with_context(|| format!("cannot make {}", path.display()))?;
    removed.with_context(|| format!("cannot remove {}", staged.display()))?;
    sync_directory(path)
}

/// Writes a file, in place of the one that is there.
pub(crate) fn replace(path: &Path, text: &str, secrecy: Secrecy) -> Result<()> {
    let staged = stage(path, text, secrecy)?;
    fs::rename(&staged, path).with_context(|| format!("cannot replace {}", path.display()))?;
    sync_directory(path)
}

/// Replaces a certificate and its key. Both are on the disk before either is seen, and a process that looks between the two
/// renames finds a pair that does not match, keeps what it has, and looks again.
pub(crate) fn replace_pair(certificate: (&Path, &str), key: (&Path, &str)) -> Result<()> {
    let staged_key = stage(key.0, key.1, Secrecy::Private)?;
    let staged_certificate = stage(certificate.0, certificate.1, Secrecy::Public)?;
    let renames = [(&staged_key, key.0), (&staged_certificate, certificate.0)];
    for (staged, path) in renames {
        fs::rename(staged, path).with_context(|| format!("cannot replace {}", path.display()))?;
    }
    sync_directory(certificate.0)
}

/// Writes the content beside `path` and flushes it.
fn stage(path: &Path, text: &str, secrecy: Secrecy) -> Result<PathBuf> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let staged = path.with_file_name(format!(".{name}.{}.new", std::process::id()));
    let written = (|| {
        // What a killed predecessor with the same process id left behind.
        if staged.exists() {
            fs::remove_file(&staged)?;
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(secrecy.mode()).open(&staged)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    })();
    written.with_context(|| format!("cannot write {}", staged.display()))?;
    Ok(staged)
}

fn sync_directory(path: &Path) -> Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)
        .and_then(|directory| directory.sync_all())
        .with_context(|| format!("cannot flush the directory {}", parent.display()))
}
