//! An unfinished push: bytes arrive in order, in as many requests as the client likes, and end under a digest or not at all.
//!
//! The length of the data file *is* the upload's offset; there is no second record that could lag behind it. Every byte in the file
//! came in order through one handle, so after a process was killed the offset may lie beyond what the client was told, which is
//! safe: the client asks for the offset, or commits, and a commit checks the digest. After a power failure the offset may have
//! gone back, because content is synced at commit and not before.
//!
//! Two ways in: [`Upload::write`] for portions of any size, and [`Upload::write_buffer`] for those who have a lot and put it into a
//! [`Buffer`] themselves. Small portions go through the page cache; buffers go past it where the file system allows it (see
//! `direct`), and are hashed by the caller's thread while another one writes them (see `writer`). Nothing is held between two
//! calls but the open file and the state of the hashes.
//!
//! One pass: SHA-256 and piece digests are computed as the bytes are written. The state survives between handles in memory, see
//! [`crate::uploads`]; otherwise it is made again by reading the file when it is first needed. A commit under a SHA-512 digest reads
//! the file once more, as nobody said beforehand that SHA-512 would be wanted.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use shoal_oci::{Algorithm, Digest};
use shoal_swarm_types::Metainfo;

use crate::append::{self, Append, Files};
use crate::blob;
use crate::commit::Placed;
use crate::direct::{self, BUFFER_LEN, Buffer};
use crate::disk;
use crate::error::{Error, Result};
use crate::faults::Op;
use crate::hashes::Hashes;
use crate::id::UploadId;
use crate::space::Class;
use crate::steps::{Step, passed};
use crate::store::Shared;
use crate::uploads::CheckedOut;
use crate::writer::Outcome;

/// From this many bytes on a portion is worth the way around the page cache: below it, waiting for the disk costs more than the
/// copy.
const DIRECT_LEN_MIN: usize = 256 * 1024;

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
    /// `None` until they are needed; there is no file on the disk before the first byte.
    files: Option<Files>,
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
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while bytes.len() >= DIRECT_LEN_MIN {
            let Some(mut buffer) = self.shared.buffers.take(self.size) else { break };
            let taken = buffer.extend(bytes);
            self.write_buffer(buffer)?;
            bytes = &bytes[taken..];
        }
        // In portions, so that what is hashed is still in the processor's cache when it is written. Nothing is no portion.
        bytes.chunks(BUFFER_LEN).try_for_each(|portion| self.write_portion(portion))
    }

    /// Appends what is in a buffer that was made for this offset by [`crate::Store::buffer`]. As [`Upload::write`], with less work.
    ///
    /// # Errors
    /// As [`Upload::write`].
    pub fn write_buffer(&mut self, mut buffer: Buffer) -> Result<()> {
        let lead = buffer.lead();
        if buffer.is_empty() {
            return Ok(());
        }
        if (self.size % direct::BLOCK_LEN as u64) as usize != lead {
            // Made for another offset: its blocks are not the file's.
            return self.write_portion(buffer.bytes());
        }
        let files = self.files()?;
        self.hashes()?;
        if files.direct.is_some() && lead > 0 {
            let start = self.size - lead as u64;
            let read = files.cached.read_exact_at(buffer.lead_mut(), start);
            read.map_err(|source| Error::io("read", &self.path, source))?;
        }
        let len = buffer.len() as u64;
        self.shared.reserve(Class::Upload, len)?;
        let buffer = Arc::new(buffer);
        let append = Append {
            files,
            buffer: buffer.clone(),
            offset: self.size,
            buffers: self.shared.buffers.clone(),
            faults: self.shared.faults.clone(),
        };
        let pending = self.shared.writers.start(move || append.run());
        if let Some(hashes) = &mut self.hashes {
            hashes.update(buffer.bytes());
        }
        let outcome = pending.wait();
        self.written(len, outcome)
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
        // Also when it is there: then its stored copy is looked at, and replaced when it is damaged.
        if self.shared.packs(self.size) {
            return self.commit_small(&metainfo);
        }
        if self.shared.size(expected)?.is_some() {
            self.end();
            return Ok(metainfo);
        }
        let file = self.cached()?;
        let syncing = self.shared.start_sync(&file);
        let staged = self.shared.stage(&metainfo);
        if let (_, Err(source)) = syncing.wait() {
            // See sync_content: what the file has is not known any more.
            self.end();
            return Err(Error::io("sync", &self.path, source));
        }
        let staged = staged?;
        match self.shared.place(staged, &metainfo, &self.path, Class::Upload)? {
            Placed::New(_pin) => {
                self.shared.note_pushed(&file, &metainfo);
                self.become_blob();
                // One that nobody goes on with, such as what a repair has left.
                self.shared.drop_idle_partial(expected);
            }
            Placed::Present(_pin) => self.end(),
        }
        Ok(metainfo)
    }

    /// Ends the upload without a blob. Its bytes are removed.
    pub fn cancel(mut self) {
        self.end();
    }

    /// Small content moves into the pack. The upload's own copy goes only when that is durable.
    fn commit_small(mut self, metainfo: &Metainfo) -> Result<Metainfo> {
        let mut bytes = vec![0; usize::try_from(self.size).unwrap_or(0)];
        if self.size > 0 {
            let read = self.cached()?.read_exact_at(&mut bytes, 0);
            read.map_err(|source| Error::io("read", &self.path, source))?;
        }
        self.shared.put(metainfo.digest(), &bytes)?;
        self.end();
        Ok(metainfo.clone())
    }

    /// Wraps an upload that was checked out.
    pub(crate) fn open(shared: &Arc<Shared>, id: UploadId, out: CheckedOut) -> Self {
        let path = shared.paths.upload_data(&id);
        let CheckedOut { label, size, stored, hashes } = out;
        Self { shared: shared.clone(), id, label, path, files: None, stored, size, hashes, ended: false }
    }

    /// Appends bytes through the page cache.
    fn write_portion(&mut self, bytes: &[u8]) -> Result<()> {
        let cached = self.cached()?;
        self.hashes()?;
        let len = bytes.len() as u64;
        self.shared.reserve(Class::Upload, len)?;
        if let Some(hashes) = &mut self.hashes {
            hashes.update(bytes);
        }
        let outcome = append::write_all(&cached, bytes, self.size, &self.shared.faults);
        self.written(len, outcome)
    }

    /// Counts what was written of the `len` bytes that were reserved and hashed, so that file, hashes and counters tell the same
    /// story when the disk fills up midway.
    fn written(&mut self, len: u64, (written, result): Outcome) -> Result<()> {
        self.size += written;
        if written < len {
            self.shared.space.give_back(Class::Upload, len - written);
            // They know more than the file has. Whoever goes on reads the file.
            self.hashes = None;
            self.cut();
        }
        passed(Step::UploadWritten);
        result.map_err(|source| Error::io("write", &self.path, source))
    }

    /// Makes the file as long as the upload is, in case that a write which failed has made it longer.
    fn cut(&self) {
        let Some(files) = &self.files else { return };
        if let Err(error) = files.cached.set_len(self.size) {
            // The next write goes over it; only a restart would take these bytes for the upload's, and the commit's digest would
            // tell.
            tracing::warn!(%error, path = %self.path.display(), "an upload's file stays longer than the upload");
        }
    }

    /// The data file; made, with the label before it, for the first byte.
    fn cached(&mut self) -> Result<Arc<File>> {
        if let Some(files) = &self.files {
            return Ok(files.cached.clone());
        }
        let file = if self.stored {
            disk::open_for_writing(&self.path, false)?
        } else {
            self.shared.attempt(Op::Create, "create", &self.path)?;
            self.shared.create_upload_files(&self.id, &self.label)?
        };
        self.stored = true;
        let cached = Arc::new(file);
        self.files = Some(Files { cached: cached.clone(), direct: None });
        Ok(cached)
    }

    /// The file, open both ways if the file system allows it.
    fn files(&mut self) -> Result<Files> {
        let cached = self.cached()?;
        if !self.shared.buffers.is_direct() {
            return Ok(Files { cached, direct: None });
        }
        let known = self.files.as_ref().and_then(|files| files.direct.clone());
        let direct = match known.map_or_else(|| direct::open(&self.path).map(Arc::new), Ok) {
            Ok(direct) => Some(direct),
            Err(error) => {
                tracing::debug!(%error, path = %self.path.display(), "no direct writes");
                None
            }
        };
        let files = Files { cached, direct };
        self.files = Some(files.clone());
        Ok(files)
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

#[cfg(test)]
mod tests;
