//! The way back: a complete blob with a bad piece becomes a download that lacks just that piece.
//!
//! The blob stays visible while it is read through (every read of it is verified anyway). Then its description is written beside
//! the downloads, and one rename of the data file moves it over.

use std::fs;
use std::io;
use std::sync::{Arc, Weak};

use shoal_oci::Digest;
use shoal_swarm_types::{Bitfield, Metainfo, PieceIndex};

use crate::blob::{self, Blob, Opened};
use crate::disk;
use crate::error::{Error, Result};
use crate::locks::hold;
use crate::lost;
use crate::partial::Partial;
use crate::partials::{self, Slot, SlotState};
use crate::paths::Part;
use crate::piece;
use crate::space::Class;
use crate::steps::{Step, passed};
use crate::store::Shared;

/// How often [`demote`] starts again when the blob is removed and comes back while it looks.
const TRIES: usize = 3;

/// Turns a complete blob into a download of what is bad in it.
pub(crate) fn demote(shared: &Arc<Shared>, digest: &Digest) -> Result<Partial> {
    for _ in 0..TRIES {
        let blob = match blob::open(shared, digest) {
            Ok(blob) => blob,
            // Somebody else who met the same bad piece may have been faster, or it was set aside.
            Err(Error::BlobNotFound(_)) => match partials::resume(shared, digest) {
                Ok(partial) => return Ok(partial),
                Err(_) if shared.unquarantine(digest)? => continue,
                // Of a blob whose file is gone, every piece is bad.
                Err(_) => match lost::lost(shared, digest)? {
                    Some(metainfo) if shared.options.is_durable() => {
                        return partials::open(shared, &metainfo);
                    }
                    _ => return Err(Error::BlobNotFound(*digest)),
                },
            },
            Err(error) => return Err(error),
        };
        let Some(opened) = blob.opened() else { return demote_packed(shared, &blob) };
        let all = Bitfield::full(blob.metainfo().layout().piece_count());
        let good = piece::verified(opened.file(), opened.path(), blob.metainfo(), &all)?;
        if let Some(partial) = demote_opened(shared, opened, good)? {
            return Ok(partial);
        }
    }
    Err(Error::BlobNotFound(*digest))
}

/// Small content becomes a download with a file of its own. The download is begun before the packed copy goes, so that a crash leaves
/// one of them; when it leaves both, the next start removes the download.
fn demote_packed(shared: &Arc<Shared>, blob: &Blob) -> Result<Partial> {
    let piece = match blob.read_piece(PieceIndex(0)) {
        Ok(piece) => Some(piece),
        // The empty blob has no piece, and a bad one is what the download is for.
        Err(Error::NoSuchPiece { .. } | Error::CorruptPiece { .. }) => None,
        Err(error) => return Err(error),
    };
    let partial = partials::open(shared, blob.metainfo())?;
    if let Some(piece) = piece {
        partial.write_piece(PieceIndex(0), &piece)?;
    }
    shared.remove_packed(blob.digest())?;
    Ok(partial)
}

/// The part of [`demote`] that changes the disk; `None` when the blob is no longer the one that was looked at.
fn demote_opened(shared: &Arc<Shared>, blob: &Opened, good: Bitfield) -> Result<Option<Partial>> {
    let metainfo = blob.metainfo();
    let slot = shared.partials.get_or_insert(metainfo.digest());
    let mut state = hold(&slot.state);
    match &*state {
        SlotState::Ended => return Ok(None),
        SlotState::Stored(_) => {
            // A download of the same blob is under way: it goes on, the bad copy goes.
            drop(state);
            shared.remove_entry(blob.entry())?;
            return partials::open(shared, metainfo).map(Some);
        }
        SlotState::Fresh => {}
    }
    let have = match move_back(shared, &slot, blob, good) {
        Ok(Some(have)) => have,
        unmoved => {
            shared.partials.end(&slot, &mut state);
            return unmoved.map(|_| None);
        }
    };
    // From here on the files are a download, whether they can be opened or not.
    *state = SlotState::Stored(Weak::new());
    let live = partials::open_files(shared, &slot, metainfo, have)?;
    *state = SlotState::Stored(Arc::downgrade(&live));
    slot.note_use(shared.index.next_use());
    Ok(Some(Partial::new(live)))
}

/// Turns data of the wrong size that no index knows into a download that claims every piece: resuming verifies them. False when
/// somebody else was faster. When a download of the same blob is there already, the bad data goes.
pub(crate) fn demote_unknown(shared: &Shared, metainfo: &Metainfo) -> Result<bool> {
    let digest = metainfo.digest();
    let data = shared.paths.blob(digest, Part::Data);
    let slot = shared.partials.get_or_insert(digest);
    let mut state = hold(&slot.state);
    let is_fresh = matches!(&*state, SlotState::Fresh);
    let _stripe = shared.stripes.hold(digest);
    if shared.index.size(digest).is_some() || disk::is_absent(&data) {
        if is_fresh {
            shared.partials.end(&slot, &mut state);
        }
        return Ok(false);
    }
    if is_fresh {
        let claims = Bitfield::full(metainfo.layout().piece_count());
        let moved = shared
            .describe_partial(metainfo, &claims)
            .and_then(|()| disk::rename(&data, &shared.paths.partial(digest, Part::Data)));
        if let Err(error) = moved {
            shared.partials.end(&slot, &mut state);
            return Err(error);
        }
        let there = fs::metadata(shared.paths.partial(digest, Part::Data)).map_or(0, |file| file.len());
        slot.promise(&shared.space, metainfo.size().saturating_sub(there));
        slot.set_size(metainfo.size());
        shared.space.found(Class::Partial, metainfo.size());
        *state = SlotState::Stored(Weak::new());
    } else {
        disk::remove(&data)?;
    }
    disk::remove_leftover(&shared.paths.blob(digest, Part::Metainfo));
    Ok(is_fresh)
}

/// Moves the files of a blob into a fresh slot and gives the pieces that are in them; `None` when the blob has left the store. The
/// data's rename is the moment at which the blob becomes a download.
fn move_back(shared: &Shared, slot: &Slot, blob: &Opened, mut have: Bitfield) -> Result<Option<Bitfield>> {
    let metainfo = blob.metainfo();
    let digest = metainfo.digest();
    let _stripe = shared.stripes.hold(digest);
    let prepared = prepare_demotion(shared, metainfo, &have);
    if prepared.is_err() || !shared.index.take_entry(blob.entry()) {
        shared.remove_partial_records(slot);
        return prepared.map(|()| None);
    }
    match disk::rename(blob.path(), &shared.paths.partial(digest, Part::Data)) {
        Ok(()) => {}
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            // What was read just now had lost its name: the new file begins with nothing, whatever the claims say.
            have = Bitfield::empty(have.len());
            disk::remove_leftover(&shared.paths.partial(digest, Part::Have));
        }
        Err(error) => {
            shared.index.put_back(blob.entry().clone());
            shared.remove_partial_records(slot);
            return Err(error);
        }
    }
    passed(Step::DataDemoted);
    shared.space.transfer(Class::Blob, Class::Partial, metainfo.size());
    slot.set_size(metainfo.size());
    disk::remove_leftover(&shared.paths.blob(digest, Part::Metainfo));
    passed(Step::LeftoversRemoved);
    Ok(Some(have))
}

fn prepare_demotion(shared: &Shared, metainfo: &Metainfo, good: &Bitfield) -> Result<()> {
    shared.describe_partial(metainfo, good)?;
    if shared.options.is_durable() {
        disk::sync_dir(&shared.paths.partials(metainfo.digest().algorithm()))?;
    }
    passed(Step::DemotionPrepared);
    Ok(())
}
