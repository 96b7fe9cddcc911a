//! Blobs that are not to be evicted because somebody said so, and those that will be asked for soon.
//!
//! Only words about room: what is kept counts for the capacity as everything does, and a disk that loses it loses it. In memory only;
//! whoever wants more than that says it again after the store was opened.

use shoal_oci::Digest;

use crate::locks::hold;
use crate::store::Store;

impl Store {
    /// Counts a complete blob as used now, without opening it: somebody will ask for it soon. Touches no disk.
    pub fn note_use(&self, digest: &Digest) {
        let shared = self.shared();
        if let Some(pin) = shared.index.pin(digest) {
            shared.index.note_use(pin.entry());
        }
    }

    /// Keeps a blob from being evicted, now and when it comes, until [`Store::unkeep`] or until the store is closed. Removing it is still
    /// possible.
    pub fn keep(&self, digest: Digest) {
        hold(&self.shared().kept).insert(digest);
    }

    /// Lets a blob be evicted again; false when it was not kept.
    pub fn unkeep(&self, digest: &Digest) -> bool {
        hold(&self.shared().kept).remove(digest)
    }

    /// Whether a blob is kept from being evicted.
    pub fn is_kept(&self, digest: &Digest) -> bool {
        hold(&self.shared().kept).contains(digest)
    }
}
