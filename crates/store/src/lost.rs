//! What a durable store still knows of a blob that it has lost: how it is cut, and what its pieces must be.
//!
//! The file of a blob may vanish, or the blob be set aside as damaged, while agents have all of it. Its metainfo is small and lies in a
//! file of its own, so it mostly outlives the bytes; with it the agents can go on to share the blob, and the store can get it back from
//! them. A cache keeps none: what it lost it asks for again. The price: a removal that a crash has cut in two leaves a metainfo for ever.

use shoal_oci::Digest;
use shoal_swarm_types::Metainfo;

use crate::blob::read_metainfo;
use crate::error::Result;
use crate::paths::Part;
use crate::store::{Shared, Store};

impl Store {
    /// The metainfo of a blob that was here and is not any more; `None` of one that is here, or of which nothing is known. Reads files.
    ///
    /// # Errors
    /// The disk's error.
    pub fn lost(&self, digest: &Digest) -> Result<Option<Metainfo>> {
        if !self.shared().options.is_durable() || self.stat(digest)?.is_some() {
            return Ok(None);
        }
        lost(self.shared(), digest)
    }
}

/// The metainfo that is left, wherever it is: in its place, beside a blob that was set aside, or with a download that mends it.
pub(crate) fn lost(shared: &Shared, digest: &Digest) -> Result<Option<Metainfo>> {
    let paths = &shared.paths;
    let places = [
        paths.blob(digest, Part::Metainfo),
        paths.quarantined(digest, Part::Metainfo),
        paths.partial(digest, Part::Metainfo),
    ];
    for path in places {
        if let Some(metainfo) = read_metainfo(&path)?.filter(|metainfo| metainfo.digest() == digest) {
            return Ok(Some(metainfo));
        }
    }
    Ok(None)
}
