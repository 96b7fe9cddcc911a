//! Reading complete blobs.
//!
//! All readers of a blob share one open file and one metainfo. A piece is checked when it is first read, so a disk that lies is found
//! before a client is; `reading` says when it is not checked again. The price is a BLAKE3 pass over what is read first, a fifth of a
//! CPU-second per GB.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use nix::sys::stat::futimens;
use nix::sys::time::TimeSpec;
use shoal_oci::{Algorithm, Digest, Digester};
use shoal_swarm_types::{Metainfo, PieceDigester, PieceIndex};

use crate::direct;
use crate::disk::{self, Staged};
use crate::error::{Error, Result};
use crate::index::{Entry, Pin};
use crate::locks::hold;
use crate::pack::PackedBlob;
use crate::paths::Part;
use crate::piece::is_damage;
use crate::store::Shared;

mod reading;

/// A complete blob, open for reading. While it lives the blob is not evicted; a blob that is removed meanwhile stays readable here.
#[derive(Clone)]
pub struct Blob {
    content: Content,
}

/// Where the bytes are.
#[derive(Clone)]
enum Content {
    File(Arc<Opened>),
    Packed(Arc<PackedBlob>),
}

/// What the readers of one blob share.
pub(crate) struct Opened {
    pin: Pin,
    metainfo: Metainfo,
    file: Arc<File>,
    path: PathBuf,
    shared: Arc<Shared>,
}

impl Blob {
    /// The blob's digest.
    pub fn digest(&self) -> &Digest {
        self.metainfo().digest()
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.metainfo().size()
    }

    /// How the blob is cut into pieces, and their digests.
    pub fn metainfo(&self) -> &Metainfo {
        match &self.content {
            Content::File(opened) => &opened.metainfo,
            Content::Packed(packed) => packed.metainfo(),
        }
    }

    /// Reads one piece and verifies it.
    ///
    /// # Errors
    /// [`Error::CorruptPiece`] when the disk no longer has the bytes that were stored: [`crate::Store::demote`] the blob and fetch
    /// the piece again. [`Error::NoSuchPiece`] beyond the last piece.
    pub fn read_piece(&self, index: PieceIndex) -> Result<Bytes> {
        let opened = match &self.content {
            Content::File(opened) => opened,
            Content::Packed(packed) => return packed.read_piece(index),
        };
        opened.shared.index.note_use(opened.entry());
        opened.read_piece(index)
    }

    /// Verifies one piece without holding it in memory, and remembers that if the file is one that shows its changes.
    ///
    /// # Errors
    /// As [`Self::read_piece`].
    pub fn verify_piece(&self, index: PieceIndex) -> Result<()> {
        match &self.content {
            Content::File(opened) => opened.verify_piece(index),
            Content::Packed(packed) => packed.read_piece(index).map(drop),
        }
    }

    /// What the readers of a file share; `None` for a packed blob.
    pub(crate) const fn opened(&self) -> Option<&Arc<Opened>> {
        match &self.content {
            Content::File(opened) => Some(opened),
            Content::Packed(_) => None,
        }
    }
}

impl Opened {
    pub(crate) const fn entry(&self) -> &Arc<Entry> {
        self.pin.entry()
    }

    pub(crate) const fn metainfo(&self) -> &Metainfo {
        &self.metainfo
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl std::fmt::Debug for Blob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Blob({}, {} bytes)", self.digest(), self.size())
    }
}

/// Opens a complete blob, or joins those who have it open.
pub(crate) fn open(shared: &Arc<Shared>, digest: &Digest) -> Result<Blob> {
    if let Some(packed) = shared.open_packed(digest)? {
        return Ok(Blob { content: Content::Packed(Arc::new(packed)) });
    }
    let pin = shared.pin(digest)?.ok_or(Error::BlobNotFound(*digest))?;
    let entry = pin.entry().clone();
    let mut slot = hold(&entry.opened);
    let opened = match slot.upgrade() {
        Some(opened) => opened,
        None => load(shared, pin)?,
    };
    *slot = Arc::downgrade(&opened);
    shared.index.note_use(&entry);
    if !shared.options.is_durable() && shared.index.claim_write_of_use(&entry) {
        write_use(&shared.paths.blob(digest, Part::Metainfo));
    }
    Ok(Blob { content: Content::File(opened) })
}

fn load(shared: &Arc<Shared>, pin: Pin) -> Result<Arc<Opened>> {
    let entry = pin.entry().clone();
    let path = shared.paths.blob(entry.digest(), Part::Data);
    let file = match disk::open_for_reading(&path) {
        Ok(file) => file,
        Err(source) if source.kind() == io::ErrorKind::NotFound => {
            shared.forget_vanished(&entry, &path);
            return Err(Error::BlobNotFound(*entry.digest()));
        }
        Err(source) if is_damage(&source) => return Err(shared.lose(&entry)?),
        Err(source) => return Err(Error::io("open", &path, source)),
    };
    let metainfo = match read_metainfo(&shared.paths.blob(entry.digest(), Part::Metainfo))? {
        Some(metainfo) if *metainfo.digest() == *entry.digest() && metainfo.size() == entry.size() => {
            metainfo
        }
        _ => shared.restore_metainfo(&entry)?,
    };
    direct::read_in_order(&file);
    let file = Arc::new(file);
    Ok(Arc::new(Opened { pin, metainfo, file, path, shared: shared.clone() }))
}

/// Reads a metainfo file; `None` when it is missing or is not a metainfo.
pub(crate) fn read_metainfo(path: &Path) -> Result<Option<Metainfo>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Metainfo::decode(&bytes).ok()),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::io("read", path, source)),
    }
}

/// The metainfo of a data file, made from its bytes; `None` when they do not have the digest. Reads the file once.
pub(crate) fn derive_metainfo(path: &Path, digest: &Digest) -> Result<Option<Metainfo>> {
    let mut digester = Digester::new(digest.algorithm());
    let mut pieces = PieceDigester::new();
    disk::read_through(path, |bytes| {
        digester.update(bytes);
        pieces.update(bytes);
    })?;
    Ok((digester.finish() == *digest).then(|| pieces.finish(*digest)))
}

/// The digest of a file's content. Reads it once.
pub(crate) fn digest_of_file(path: &Path, algorithm: Algorithm) -> Result<Digest> {
    let mut digester = Digester::new(algorithm);
    disk::read_through(path, |bytes| digester.update(bytes))?;
    Ok(digester.finish())
}

/// Lets the next start know that the blob was used now: the file's modification time orders the blobs. Approximate by design, so
/// a failure is not worth more than a line in the log.
fn write_use(path: &Path) {
    let touch = || -> io::Result<()> {
        let file = File::open(path)?;
        Ok(futimens(&file, &TimeSpec::UTIME_NOW, &TimeSpec::UTIME_NOW)?)
    };
    if let Err(error) = touch() {
        tracing::debug!(%error, path = %path.display(), "the use of a blob was not written");
    }
}

impl Shared {
    /// Takes a blob out of the index whose file somebody else has removed.
    fn forget_vanished(&self, entry: &Arc<Entry>, data: &Path) {
        let _stripe = self.stripes.hold(entry.digest());
        if disk::is_absent(data) && self.index.take_entry(entry) {
            tracing::warn!(digest = %entry.digest(), "a blob has vanished from the disk");
            self.space.give_back(crate::space::Class::Blob, entry.size());
            if !self.options.is_durable() {
                disk::remove_leftover(&self.paths.blob(entry.digest(), Part::Metainfo));
            }
        }
    }

    /// Makes a lost or damaged metainfo again from the blob's bytes. When these are damaged as well, nothing is left to tell the good
    /// pieces by, and the blob leaves the store: a durable one sets it aside, a cache removes it.
    fn restore_metainfo(&self, entry: &Arc<Entry>) -> Result<Metainfo> {
        let digest = entry.digest();
        let Some(metainfo) = derive_metainfo(&self.paths.blob(digest, Part::Data), digest)? else {
            return Err(self.lose(entry)?);
        };
        self.write_metainfo(entry, &metainfo)?;
        tracing::warn!(%digest, "the metainfo of a blob was damaged and has been made again");
        Ok(metainfo)
    }

    /// Lets a blob of which no piece can be told to be good leave the store; what to say of it.
    fn lose(&self, entry: &Arc<Entry>) -> Result<Error> {
        let digest = entry.digest();
        tracing::error!(%digest, "a blob is damaged as a whole; it leaves the store");
        if self.options.is_durable() {
            self.quarantine_entry(entry)?;
        } else {
            self.remove_entry(entry)?;
        }
        Ok(Error::CorruptBlob(*digest))
    }

    /// Writes the metainfo of a blob again, while it is in the store.
    pub(crate) fn write_metainfo(&self, entry: &Arc<Entry>, metainfo: &Metainfo) -> Result<()> {
        let digest = entry.digest();
        let staged = Staged::write(&self.paths, &metainfo.encode(), self.options.is_durable())?;
        let _stripe = self.stripes.hold(digest);
        if !self.index.pin(digest).is_some_and(|pin| Arc::ptr_eq(pin.entry(), entry)) {
            return Err(Error::BlobNotFound(*digest));
        }
        staged.rename(&self.paths.blob(digest, Part::Metainfo))
    }
}
