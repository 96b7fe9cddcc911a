//! The few things the store does to files, each with the path in its error.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::direct;
use crate::error::{Error, Result};
use crate::id::UploadId;
use crate::paths::Paths;

/// Bytes read at a time when a whole file is hashed: large enough that system calls do not count, small enough for the cache.
const READ_LEN: usize = 256 * 1024;

/// Creates a file that must not exist.
pub(crate) fn create_new(path: &Path) -> Result<File> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(path);
    file.map_err(|source| Error::io("create", path, source))
}

/// Opens a file for reading and writing; creates it when `create` is set.
pub(crate) fn open_for_writing(path: &Path, create: bool) -> Result<File> {
    let file = OpenOptions::new().read(true).write(true).create(create).truncate(false).open(path);
    file.map_err(|source| Error::io("open", path, source))
}

/// Opens a file of bytes for reading. Whatever else stands in its place counts as a file that has ended: a directory cannot be read, and a
/// pipe would be waited for.
pub(crate) fn open_for_reading(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it is not a regular file"))
    }
}

/// Writes a whole small file, replacing what is there; on the disk when it returns if `sync` is set.
pub(crate) fn write_small(path: &Path, bytes: &[u8], sync: bool) -> Result<()> {
    let write = || -> io::Result<()> {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        if sync { file.sync_data() } else { Ok(()) }
    };
    write().map_err(|source| Error::io("write", path, source))
}

pub(crate) fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(|source| Error::io("rename a file to", to, source))
}

/// Removes a file; false when it was not there.
pub(crate) fn remove(path: &Path) -> Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(Error::io("remove", path, source)),
    }
}

/// Removes a file that is in nobody's way; a failure is worth a line in the log and no more, as the next start tries again.
pub(crate) fn remove_leftover(path: &Path) {
    if let Err(error) = remove(path) {
        tracing::warn!(%error, "a file that is no longer needed stays on the disk");
    }
}

/// Whether nothing has this name. That the disk does not tell is not absence.
pub(crate) fn is_absent(path: &Path) -> bool {
    matches!(path.try_exists(), Ok(false))
}

/// Makes the names in a directory as durable as the files they lead to.
pub(crate) fn sync_dir(path: &Path) -> Result<()> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(|source| Error::io("sync", path, source))
}

/// Calls `each` with the content of `path` from its beginning, in order.
pub(crate) fn read_through(path: &Path, mut each: impl FnMut(&[u8])) -> Result<()> {
    read_file(path, false, &mut each).map_err(|source| Error::io("read", path, source))
}

/// As [`read_through`]. With `passing` the page cache forgets what was read, as far as nobody else has it in use.
pub(crate) fn read_file(path: &Path, passing: bool, each: &mut dyn FnMut(&[u8])) -> io::Result<()> {
    let mut file = open_for_reading(path)?;
    direct::read_in_order(&file);
    let mut buffer = vec![0; READ_LEN];
    let mut offset = 0;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(len) => {
                each(&buffer[..len]);
                if passing {
                    direct::let_go(&file, offset, len as u64);
                }
                offset += len as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Reads exactly `len` bytes from `offset` on, into memory that nobody has to clear first.
pub(crate) fn read_exact_at(file: &File, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        let at = offset + bytes.len() as u64;
        match rustix::io::pread(file, rustix::buffer::spare_capacity(&mut bytes), at) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // The allocation may be larger than what was asked for.
    bytes.truncate(len);
    Ok(bytes)
}

/// A file under `tmp/` that goes away unless it was renamed.
#[derive(Debug)]
pub(crate) struct Staged {
    path: PathBuf,
    kept: bool,
}

impl Staged {
    /// Writes `bytes` into a new file under `tmp/`.
    pub(crate) fn write(paths: &Paths, bytes: &[u8], sync: bool) -> Result<Self> {
        let id = UploadId::random().map_err(|source| Error::io("make a name in", &paths.tmp(), source))?;
        let staged = Self { path: paths.tmp_file(&id), kept: false };
        write_small(&staged.path, bytes, sync)?;
        Ok(staged)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the file its final name, over whatever has it.
    pub(crate) fn rename(mut self, to: &Path) -> Result<()> {
        rename(&self.path, to)?;
        self.keep();
        Ok(())
    }

    /// The file has another name by now.
    pub(crate) const fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.kept {
            remove_leftover(&self.path);
        }
    }
}
