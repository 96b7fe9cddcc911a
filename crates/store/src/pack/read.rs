//! Reading packed blobs. As everywhere in the store, no byte leaves it unverified.

use std::sync::Arc;

use bytes::Bytes;
use shoal_oci::Digest;
use shoal_swarm_types::{Metainfo, PieceIndex};

use super::Inner;
use super::record::{Content, HEADER_LEN, Header, Spot};
use super::segment::Segment;
use super::table::Place;
use crate::error::{Error, Result};
use crate::piece::{check_index, is_damage};
use crate::store::Shared;

/// How often a reader looks again when the blob is moved while it looks. Each time means that a whole segment was compacted in
/// between.
const LOOKS_MAX: usize = 8;

/// A packed blob, open for reading. Its segment stays open with it, also when the segment is compacted away.
pub(crate) struct PackedBlob {
    metainfo: Metainfo,
    place: Place,
    segment: Arc<Segment>,
    shared: Arc<Shared>,
}

impl PackedBlob {
    pub(crate) const fn metainfo(&self) -> &Metainfo {
        &self.metainfo
    }

    /// The one piece that small content has.
    pub(crate) fn read_piece(&self, index: PieceIndex) -> Result<Bytes> {
        check_index(&self.metainfo, index)?;
        let digest = self.metainfo.digest();
        let mut bytes = vec![0; self.place.len as usize];
        let at = u64::from(self.place.spot.offset) + HEADER_LEN as u64;
        match self.segment.file.read(&mut bytes, at) {
            Ok(()) if self.metainfo.verify(index, &bytes) => return Ok(bytes.into()),
            Ok(()) => {}
            Err(error) if is_damage(&error) => {}
            Err(source) => return Err(Error::io("read", self.segment.file.path(), source)),
        }
        if let Some(pack) = &self.shared.pack {
            pack.inner().report_damage(digest, &self.place);
        }
        Err(Error::CorruptPiece { digest: *digest, index })
    }
}

impl Segment {
    /// What the record at `place` says, when `stored` is that record with all its content.
    pub(crate) fn content_of(&self, digest: &Digest, place: &Place, stored: &[u8]) -> Option<Content> {
        let spot = Spot { segment: self.id, offset: place.spot.offset };
        let (header, bytes) = stored.split_at_checked(HEADER_LEN)?;
        let content = Header::decode(header, &self.key, spot)?.content?;
        (content.digest == *digest && content.verify(bytes)).then_some(content)
    }
}

impl Inner {
    /// Where a blob is, and its segment.
    pub(crate) fn locate(&self, digest: &Digest) -> Option<(Place, Arc<Segment>)> {
        for _ in 0..LOOKS_MAX {
            let place = self.table.get(digest)?;
            // A segment vanishes only after its last blob has been entered elsewhere: then look again.
            if let Some(segment) = self.segment(place.spot.segment) {
                return Some((place, segment));
            }
        }
        None
    }

    /// See [`crate::Store::small`].
    pub(crate) fn small(&self, digest: &Digest) -> Option<Result<Bytes>> {
        let (place, segment) = self.locate(digest)?;
        let mut stored = vec![0; HEADER_LEN + place.len as usize];
        segment.file.read_cached(&mut stored, u64::from(place.spot.offset))?;
        if segment.content_of(digest, &place, &stored).is_none() {
            self.report_damage(digest, &place);
            return Some(Err(Error::CorruptBlob(*digest)));
        }
        Some(Ok(Bytes::from(stored).slice(HEADER_LEN..)))
    }

    /// Opens a blob: reads its header, which holds its metainfo. `None` when it is not here, or damaged there.
    pub(crate) fn open_blob(&self, shared: &Arc<Shared>, digest: &Digest) -> Result<Option<PackedBlob>> {
        let Some((place, segment)) = self.locate(digest) else { return Ok(None) };
        let header = match segment.header_at(place.spot.offset) {
            Ok(header) => header,
            Err(error) if is_damage(&error) => None,
            Err(source) => return Err(Error::io("read", segment.file.path(), source)),
        };
        let content = header.and_then(|header| header.content);
        let content = content.filter(|content| content.digest == *digest && content.len == place.len);
        let Some(metainfo) = content.and_then(|content| content.metainfo()) else {
            self.report_damage(digest, &place);
            return Ok(None);
        };
        Ok(Some(PackedBlob { metainfo, place, segment, shared: shared.clone() }))
    }
}
