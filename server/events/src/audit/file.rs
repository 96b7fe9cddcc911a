//! The audit log's file: opened for appending, followed when it is rotated, and whole lines even after a write that broke off.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Readable by the owner and by those whom the operator put into its group; nobody else needs to know who pushes.
const MODE: u32 = 0o640;

/// An open audit log.
pub(super) struct AuditFile {
    path: PathBuf,
    file: File,
    /// The file ends in the middle of a line.
    torn: bool,
}

impl AuditFile {
    /// Opens the file at `path`, or makes it.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(MODE).open(path)?;
        let torn = ends_in_a_line(path, &file)?;
        Ok(Self { path: path.to_owned(), file, torn })
    }

    /// Appends whole lines; with `flush` they are on the disk afterwards. A file that was moved away or removed is made anew.
    pub(super) fn append(&mut self, lines: &[u8], flush: bool) -> io::Result<()> {
        if self.was_rotated()? {
            *self = Self::open(&self.path)?;
        }
        if self.torn {
            self.file.write_all(b"\n")?;
            self.torn = false;
        }
        self.write_all(lines)?;
        if flush { self.file.sync_data() } else { Ok(()) }
    }

    fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let whole = bytes.len();
        while !bytes.is_empty() {
            match self.file.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => bytes = &bytes[len..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    // The lines count as lost; those that are whole all the same are only repeated.
                    self.torn |= bytes.len() < whole;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Whether the path now names another file, or none.
    fn was_rotated(&self) -> io::Result<bool> {
        let ours = self.file.metadata()?;
        match std::fs::metadata(&self.path) {
            Ok(there) => Ok((there.dev(), there.ino()) != (ours.dev(), ours.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(error),
        }
    }
}

/// Whether a file ends in the middle of a line, because its last writer was cut off. A pipe or a device has no end to look at.
fn ends_in_a_line(path: &Path, file: &File) -> io::Result<bool> {
    let metadata = file.metadata()?;
    let kind = metadata.file_type();
    if metadata.len() == 0 || kind.is_fifo() || kind.is_char_device() {
        return Ok(false);
    }
    let mut reader = File::open(path)?;
    reader.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    reader.read_exact(&mut last)?;
    Ok(last != *b"\n")
}
