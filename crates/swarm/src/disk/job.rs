//! What the actor asks of the disk. Everything here blocks.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use shoal_oci::Digest;
use shoal_store::{Error, ErrorKind, FileRange, Partial, PieceWriter};
use shoal_swarm_protocol::Source;
use shoal_swarm_types::{Metainfo, PieceIndex, PieceVerdict};
use tokio::sync::oneshot;

use super::Shared;
use crate::event::{Done, Finding};
use crate::pool::Segment;
use crate::view::Storage;

/// A piece that may be sent: its bytes were verified by this process, or written by it and not sent before.
pub(crate) enum Load {
    /// In the file.
    File(FileRange),
    /// In memory.
    Bytes(Bytes),
}

impl Load {
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::File(range) => range.len,
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }
}

/// Where the bytes of a piece are that came in.
pub(crate) enum Landed {
    /// In memory, and looked at.
    Held { segments: Vec<Segment>, verdict: PieceVerdict },
    /// At their place in the file, and looked at on the way.
    Written { writer: Arc<PieceWriter>, verdict: PieceVerdict },
    /// In memory, and not looked at.
    Whole(Bytes),
    /// Not on the disk, for this reason.
    Failed(Error),
    /// Thrown away: there was no place for them.
    Nowhere,
}

/// One job.
pub(crate) enum Job {
    /// What does the store hold of this blob? For somebody who opens it.
    Find { digest: Digest },
    /// Make ready to take pieces.
    Prepare { metainfo: Metainfo },
    /// Does the store hold this blob? For a peer.
    Lookup { digest: Digest },
    /// Write some of a piece that is still arriving.
    Write { writer: Arc<PieceWriter>, segment: Segment, reply: oneshot::Sender<shoal_store::Result<bool>> },
    /// Make a piece present, if it is good.
    Store { digest: Digest, index: PieceIndex, source: Source, landed: Landed },
    /// Make a piece ready to be sent to a peer.
    Load { digest: Digest, index: PieceIndex, reply: oneshot::Sender<shoal_store::Result<Load>> },
    /// Compare content with its digest and store it, unless a download of it has begun.
    Supply { digest: Digest, content: Bytes },
    /// Turn a partial that has every piece into a blob.
    Commit { digest: Digest },
    /// Throw away what has come of a blob that is wrong.
    Discard { partial: Partial },
    /// Turn a blob with a bad piece into a partial.
    Demote { metainfo: Metainfo },
}

impl Job {
    /// Does it.
    pub(super) fn run(self, disk: &Shared) -> Option<Done> {
        Some(match self {
            Self::Find { digest } => Done::Found { digest, result: disk.find(&digest) },
            Self::Prepare { metainfo } => {
                Done::Prepared { digest: *metainfo.digest(), result: disk.prepare(&metainfo) }
            }
            Self::Lookup { digest } => Done::LookedUp { digest, held: disk.lookup(&digest) },
            Self::Write { writer, segment, reply } => {
                let written = writer.write(segment.bytes());
                drop((segment, writer));
                // The connection may have ended.
                let _ = reply.send(written);
                return None;
            }
            Self::Store { digest, index, source, landed } => {
                Done::Stored { digest, index, source, result: disk.store_piece(digest, index, landed) }
            }
            Self::Load { digest, index, reply } => {
                if !reply.is_closed() {
                    // The connection may end while we read.
                    let _ = reply.send(disk.load(digest, index));
                }
                return None;
            }
            Self::Supply { digest, content } => {
                let result = disk.supply(&digest, &content);
                Done::Supplied { digest, content, result }
            }
            Self::Discard { partial } => {
                partial.discard();
                return None;
            }
            Self::Commit { digest } => Done::Committed { digest, result: disk.commit(&digest) },
            Self::Demote { metainfo } => {
                Done::Demoted { digest: *metainfo.digest(), result: disk.demote(&metainfo) }
            }
        })
    }
}

impl Shared {
    fn find(&self, digest: &Digest) -> shoal_store::Result<Finding> {
        match self.store.blob(digest) {
            Ok(blob) => return Ok(Finding::Held(Storage::Blob(blob))),
            // A blob that was found damaged as a whole has left the store.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => {}
            Err(error) => return Err(error),
        }
        match self.store.resume(digest) {
            Ok(partial) => Ok(Finding::Held(self.keep(*digest, Storage::Partial(partial)))),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // A handle may have outlived the blob.
                self.handles.close(digest);
                Ok(Finding::Nothing)
            }
            Err(error) => Err(error),
        }
    }

    fn prepare(&self, metainfo: &Metainfo) -> shoal_store::Result<Storage> {
        let digest = metainfo.digest();
        // An open handle of a complete blob proves nothing: the blob may have been removed.
        if let Some(storage @ Storage::Partial(_)) = self.handles.get(digest) {
            return Ok(storage);
        }
        let storage = match self.store.blob(digest) {
            Ok(blob) => Storage::Blob(blob),
            Err(_) => Storage::Partial(self.make_room_for(metainfo)?),
        };
        Ok(self.keep(*digest, storage))
    }

    /// A new partial. A blob that is open for peers cannot be evicted, so when there is no room those that nobody is using now are
    /// closed first.
    fn make_room_for(&self, metainfo: &Metainfo) -> shoal_store::Result<Partial> {
        match self.store.partial(metainfo) {
            Err(error) if error.kind() == ErrorKind::NoSpace => {
                self.handles.sweep(Duration::ZERO);
                self.store.partial(metainfo)
            }
            result => result,
        }
    }

    fn lookup(&self, digest: &Digest) -> Option<Storage> {
        // Only what is complete or being downloaded: a forgotten partial is left for whoever opens the blob.
        self.handles.get(digest).or_else(|| self.store.blob(digest).ok().map(Storage::Blob))
    }

    fn store_piece(&self, digest: Digest, index: PieceIndex, landed: Landed) -> shoal_store::Result<()> {
        match landed {
            // It is in the file that it was begun in, whatever has become of the download.
            Landed::Written { writer, verdict } => {
                let writer = Arc::into_inner(writer).ok_or(Error::PieceMissing { digest, index })?;
                writer.finish(&verdict)?;
            }
            Landed::Held { segments, verdict } => {
                let parts: Vec<&[u8]> = segments.iter().map(Segment::bytes).collect();
                if let Some(partial) = self.taker(digest, index)? {
                    partial.write_checked(&verdict, &parts)?;
                }
            }
            Landed::Whole(bytes) => {
                if let Some(partial) = self.taker(digest, index)? {
                    partial.write_piece(index, &bytes)?;
                }
            }
            Landed::Failed(error) => return Err(error),
            Landed::Nowhere => return Err(Error::PieceMissing { digest, index }),
        }
        Ok(())
    }

    /// What takes a piece; `None` when there is no need, because the blob is complete and the piece is good.
    fn taker(&self, digest: Digest, index: PieceIndex) -> shoal_store::Result<Option<Partial>> {
        match self.handles.get(&digest) {
            Some(Storage::Partial(partial)) => Ok(Some(partial)),
            // Committed just before the piece was found to be bad.
            Some(Storage::Blob(blob)) if blob.read_piece(index).is_ok() => Ok(None),
            Some(Storage::Blob(blob)) => self.demote_opened(blob.metainfo()).map(Some),
            // The download has ended meanwhile.
            None => Err(Error::PartialNotFound(digest)),
        }
    }

    fn load(&self, digest: Digest, index: PieceIndex) -> shoal_store::Result<Load> {
        let storage = self.handles.get_or_open(&self.store, &digest)?;
        let known = |storage: &Storage| storage.piece_to_send(index).map(Load::File);
        if let Some(load) = known(&storage) {
            return Ok(load);
        }
        if let Storage::Blob(blob) = &storage {
            blob.verify_piece(index)?;
        }
        // From now on it is known, unless the file has changed a moment ago or holds many blobs.
        known(&storage).map_or_else(|| storage.read_piece(index).map(Load::Bytes), Ok)
    }

    fn supply(&self, digest: &Digest, content: &Bytes) -> shoal_store::Result<Option<Storage>> {
        if matches!(self.handles.get(digest), Some(Storage::Partial(_))) {
            let got = Digest::of(digest.algorithm(), content);
            if got != *digest {
                return Err(Error::DigestMismatch { expected: Box::new(*digest), got: Box::new(got) });
            }
            return Ok(None);
        }
        // This compares with the digest as well.
        match self.store.put(digest, content) {
            Err(error) if error.kind() == ErrorKind::NoSpace => {
                self.handles.sweep(Duration::ZERO);
                self.store.put(digest, content)
            }
            result => result,
        }?;
        Ok(Some(self.keep(*digest, Storage::Blob(self.store.blob(digest)?))))
    }

    fn commit(&self, digest: &Digest) -> shoal_store::Result<Storage> {
        let blob = match self.handles.get(digest) {
            Some(Storage::Partial(partial)) => partial.commit()?,
            Some(Storage::Blob(blob)) => blob,
            None => self.store.blob(digest)?,
        };
        Ok(self.keep(*digest, Storage::Blob(blob)))
    }

    fn demote(&self, metainfo: &Metainfo) -> shoal_store::Result<Storage> {
        match self.handles.get(metainfo.digest()) {
            Some(storage @ Storage::Partial(_)) => Ok(storage),
            _ => self.demote_opened(metainfo).map(Storage::Partial),
        }
    }

    fn demote_opened(&self, metainfo: &Metainfo) -> shoal_store::Result<Partial> {
        let digest = metainfo.digest();
        let partial = match self.store.demote(digest) {
            // Evicted or removed meanwhile: begin anew.
            Err(error) if error.kind() == ErrorKind::NotFound => self.store.partial(metainfo),
            other => other,
        }?;
        self.keep(*digest, Storage::Partial(partial.clone()));
        Ok(partial)
    }

    fn keep(&self, digest: Digest, storage: Storage) -> Storage {
        self.handles.put(digest, storage.clone());
        storage
    }
}
