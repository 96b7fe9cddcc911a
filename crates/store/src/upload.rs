//! An unfinished push: bytes arrive in order, in as many requests as the client likes, and end under a digest or not at all.
//!
//! The length of the data file *is* the upload's offset; there is no second record that could lag behind it. Every byte in the file
//! came in order through one handle, so after a process was killed the offset may lie beyond what the client was told, which is
//! safe: the client asks for the offset, or commits, and a commit checks the digest. After a power failure the offset may have
//! gone back, because content is synced at commit and not before.
//!
//! One pass: SHA-256 and piece digests are computed as the bytes are written. The state survives between handles in memory, see
//! [`crate::uploads`]; otherwise it is made again by reading the file when it is first needed. A commit under a SHA-512 digest reads
//! the file once more, as nobody said beforehand that SHA-512 would be wanted.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use shoal_oci::{Algorithm, Digest};
use shoal_swarm_types::Metainfo;

use crate::blob;
use crate::commit::Placed;
use crate::disk;
use crate::error::{Error, Result};
use crate::hashes::Hashes;
use crate::id::UploadId;
use crate::space::Class;
use crate::steps::{Step, passed};
use crate::store::Shared;
use crate::uploads::CheckedOut;

/// How far an upload is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadStatus {
    /// Bytes that are in the store. While somebody writes, this is the count from before they began.
    pub size: u64,
    /// What [`crate::Store::create_upload`] was given.
    pub label: String,
}

/// An upload, held by this handle alone. Dropping it is the same as [`Upload::suspend`].
pub struct Upload {
    shared: Arc<Shared>,
    id: UploadId,
    label: Arc<str>,
    path: PathBuf,
    /// `None` until it is needed; there is none on the disk before the first byte.
    file: Option<File>,
    /// Whether the files exist.
    stored: bool,
    size: u64,
    /// `None` until somebody needs it, after a restart or when too many uploads were open at once.
    hashes: Option<Box<Hashes>>,
    /// Set when the upload is gone and there is nothing to hand back.
    ended: bool,
}

impl Upload {
    /// The upload's name.
    pub const fn id(&self) -> &UploadId {
        &self.id
    }

    /// What [`crate::Store::create_upload`] was given.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Bytes written so far; the next byte goes here.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Appends bytes. They survive the end of this process once this returns.
    ///
    /// # Errors
    /// [`Error::NoSpace`], or the disk's error. [`Upload::size`] then tells how many bytes were written before it.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.hashes()?;
        self.open_file()?;
        self.shared.reserve(Class::Upload, bytes.len() as u64)?;
        let before = self.size;
        let result = self.append(bytes);
        let unused = bytes.len() as u64 - (self.size - before);
        if unused > 0 {
            self.shared.space.give_back(Class::Upload, unused);
        }
        passed(Step::UploadWritten);
        result.map_err(|source| Error::io("write", &self.path, source))
    }

    /// Lets go of the upload; it can be opened again with [`crate::Store::open_upload`].
    pub fn suspend(self) {
        drop(self);
    }

    /// Ends the upload as the blob `expected`. If the store has that blob already, the upload's copy is dropped.
    ///
    /// # Errors
    /// [`Error::DigestMismatch`] when the bytes have another digest: nothing of them remains, the upload included. After other errors
    /// the upload can be opened and committed again, unless the disk failed to sync its bytes.
    pub fn commit(mut self, expected: &Digest) -> Result<Metainfo> {
        let got = self.digest(expected.algorithm())?;
        if got != *expected {
            self.end();
            return Err(Error::DigestMismatch { expected: Box::new(*expected), got: Box::new(got) });
        }
        let metainfo = self.hashes()?.metainfo(expected);
        if self.shared.size(expected).is_some() {
            self.end();
            return Ok(metainfo);
        }
        if self.shared.packs(self.size) {
            return self.commit_small(&metainfo);
        }
        self.open_file()?;
        if let Some(file) = &self.file
            && let Err(error) = self.shared.sync_content(file, &self.path)
        {
            self.end();
            return Err(error);
        }
        let staged = self.shared.stage(&metainfo)?;
        match self.shared.place(staged, &metainfo, &self.path, Class::Upload)? {
            Placed::New(_pin) => self.become_blob(),
            Placed::Present(_pin) => self.end(),
        }
        Ok(metainfo)
    }

    /// Small content moves into the pack. The upload's own copy goes only when that is durable.
    fn commit_small(mut self, metainfo: &Metainfo) -> Result<Metainfo> {
        let mut bytes = vec![0; usize::try_from(self.size).unwrap_or(0)];
        if self.size > 0 {
            self.open_file()?;
        }
        if let Some(file) = &self.file {
            file.read_exact_at(&mut bytes, 0).map_err(|source| Error::io("read", &self.path, source))?;
        }
        self.shared.put(metainfo.digest(), &bytes)?;
        self.end();
        Ok(metainfo.clone())
    }

    /// Ends the upload without a blob. Its bytes are removed.
    pub fn cancel(mut self) {
        self.end();
    }

    /// Wraps an upload that was checked out.
    pub(crate) fn open(shared: &Arc<Shared>, id: UploadId, out: CheckedOut) -> Self {
        let path = shared.paths.upload_data(&id);
        let CheckedOut { label, size, stored, hashes } = out;
        Self { shared: shared.clone(), id, label, path, file: None, stored, size, hashes, ended: false }
    }

    /// Opens the data file; makes it, with the label before it, for the first byte.
    fn open_file(&mut self) -> Result<()> {
        if self.file.is_some() {
            return Ok(());
        }
        self.file = Some(if self.stored {
            disk::open_for_writing(&self.path, false)?
        } else {
            self.shared.create_upload_files(&self.id, &self.label)?
        });
        self.stored = true;
        Ok(())
    }

    /// Writes and hashes as the bytes get through, so that both tell the same story when the disk fills up midway.
    fn append(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let file = self.file.as_ref().ok_or(io::ErrorKind::NotFound)?;
        while !bytes.is_empty() {
            let len = match file.write_at(bytes, self.size) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if let Some(hashes) = &mut self.hashes {
                hashes.update(&bytes[..len]);
            }
            self.size += len as u64;
            bytes = &bytes[len..];
        }
        Ok(())
    }

    fn hashes(&mut self) -> Result<&Hashes> {
        if self.hashes.is_none() && self.size > 0 {
            self.hashes = Some(Box::new(Hashes::of_file(&self.path, self.size)?));
        }
        Ok(self.hashes.get_or_insert_with(|| Box::new(Hashes::new())))
    }

    fn digest(&mut self, algorithm: Algorithm) -> Result<Digest> {
        match algorithm {
            Algorithm::Sha256 => Ok(self.hashes()?.sha256()),
            Algorithm::Sha512 if !self.stored => Ok(Digest::of(algorithm, b"")),
            Algorithm::Sha512 => blob::digest_of_file(&self.path, algorithm),
        }
    }

    /// The data file has moved and counts as a blob; only the label remains to be removed.
    fn become_blob(&mut self) {
        self.ended = true;
        disk::remove_leftover(&self.shared.paths.upload_label(&self.id));
        passed(Step::LeftoversRemoved);
        self.shared.uploads.end(&self.id);
    }

    /// Removes everything.
    fn end(&mut self) {
        self.ended = true;
        if self.stored {
            self.shared.remove_upload_files(&self.id, self.size);
        }
        self.shared.uploads.end(&self.id);
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.ended {
            self.shared.uploads.check_in(&self.id, self.size, self.stored, self.hashes.take());
        }
    }
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Upload({}, {} bytes)", self.id, self.size)
    }
}
