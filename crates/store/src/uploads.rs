//! Every unfinished upload: who holds it, how far it is, and the hash state that waits for its next request.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::{self, File};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::disk;
use crate::error::{Error, NoSpace, Result};
use crate::hashes::Hashes;
use crate::id::UploadId;
use crate::locks::hold;
use crate::space::Class;
use crate::steps::{Step, passed};
use crate::store::Shared;
use crate::upload::{Upload, UploadStatus};

/// Bytes of an upload's label at most: a repository name has 255, and other callers need not be thriftier.
pub const LABEL_LEN_MAX: usize = 1024;

/// Unfinished uploads at most. Each costs two inodes and some 200 bytes of memory; a client that only ever starts uploads is
/// stopped here until its uploads expire.
const UPLOADS_MAX: usize = 100_000;

/// Suspended uploads whose hash state stays in memory: at about 40 KiB each, 10 MiB. The others read their file again.
const WARM_MAX: usize = 256;

/// What `<id>.json` holds.
#[derive(Debug, Serialize, Deserialize)]
struct LabelFile {
    label: String,
}

struct Slot {
    label: Arc<str>,
    size: u64,
    /// When it was created, for one that has no file yet whose age could be asked.
    created: SystemTime,
    /// Whether the files exist: from the first byte on.
    stored: bool,
    is_held: bool,
    hashes: Option<Box<Hashes>>,
}

/// The table of uploads.
#[derive(Default)]
pub(crate) struct Uploads {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    slots: HashMap<UploadId, Slot>,
    /// Suspended uploads that keep their hash state, the longest suspended first.
    warm: VecDeque<UploadId>,
}

/// An upload on its way to a handle.
pub(crate) struct CheckedOut {
    pub(crate) label: Arc<str>,
    pub(crate) size: u64,
    pub(crate) stored: bool,
    pub(crate) hashes: Option<Box<Hashes>>,
}

impl Uploads {
    pub(crate) fn count(&self) -> usize {
        hold(&self.table).slots.len()
    }

    /// Adds an upload, with the bytes that its file has or, with `None`, without files.
    pub(crate) fn add(&self, id: UploadId, label: &str, size: Option<u64>) {
        let slot = Slot {
            label: label.into(),
            size: size.unwrap_or(0),
            created: SystemTime::now(),
            stored: size.is_some(),
            is_held: false,
            hashes: None,
        };
        hold(&self.table).slots.insert(id, slot);
    }

    fn status(&self, id: &UploadId) -> Result<UploadStatus> {
        let table = hold(&self.table);
        let slot = table.slots.get(id).ok_or(Error::UploadNotFound(*id))?;
        Ok(UploadStatus { size: slot.size, label: slot.label.to_string() })
    }

    fn check_out(&self, id: &UploadId) -> Result<CheckedOut> {
        let mut table = hold(&self.table);
        let slot = table.slots.get_mut(id).ok_or(Error::UploadNotFound(*id))?;
        if slot.is_held {
            return Err(Error::UploadBusy(*id));
        }
        slot.is_held = true;
        let hashes = slot.hashes.take();
        let out = CheckedOut { label: slot.label.clone(), size: slot.size, stored: slot.stored, hashes };
        table.warm.retain(|warm| warm != id);
        Ok(out)
    }

    /// A handle gives its upload back.
    pub(crate) fn check_in(&self, id: &UploadId, size: u64, stored: bool, hashes: Option<Box<Hashes>>) {
        let mut table = hold(&self.table);
        let Some(slot) = table.slots.get_mut(id) else { return };
        slot.is_held = false;
        slot.size = size;
        slot.stored = stored;
        slot.hashes = hashes;
        if slot.hashes.is_some() {
            table.warm.push_back(*id);
        }
        if table.warm.len() > WARM_MAX
            && let Some(coldest) = table.warm.pop_front()
            && let Some(slot) = table.slots.get_mut(&coldest)
        {
            slot.hashes = None;
        }
    }

    /// The upload is no more.
    pub(crate) fn end(&self, id: &UploadId) {
        let mut table = hold(&self.table);
        table.slots.remove(id);
        table.warm.retain(|warm| warm != id);
    }

    /// When an upload that has no files was created; `None` for one that has.
    fn created_without_files(&self, id: &UploadId) -> Option<SystemTime> {
        hold(&self.table).slots.get(id).filter(|slot| !slot.stored).map(|slot| slot.created)
    }

    pub(crate) fn labels(&self) -> HashSet<String> {
        hold(&self.table).slots.values().map(|slot| slot.label.to_string()).collect()
    }

    #[cfg(test)]
    pub(crate) fn ids(&self) -> Vec<UploadId> {
        hold(&self.table).slots.keys().copied().collect()
    }

    fn not_held(&self) -> Vec<UploadId> {
        let table = hold(&self.table);
        table.slots.iter().filter(|(_, slot)| !slot.is_held).map(|(id, _)| *id).collect()
    }
}

impl Shared {
    pub(crate) fn create_upload(&self, label: &str) -> Result<UploadId> {
        if label.len() > LABEL_LEN_MAX {
            return Err(Error::LabelTooLong);
        }
        if self.uploads.count() >= UPLOADS_MAX {
            return Err(Error::NoSpace(NoSpace::Uploads));
        }
        let id = UploadId::random()
            .map_err(|source| Error::io("make a name in", &self.paths.uploads(), source))?;
        self.uploads.add(id, label, None);
        Ok(id)
    }

    /// Makes the files for the first byte. The label first: an upload exists on the disk from the moment that its data file does.
    pub(crate) fn create_upload_files(&self, id: &UploadId, label: &str) -> Result<File> {
        let path = self.paths.upload_label(id);
        let text = serde_json::to_vec(&LabelFile { label: label.to_owned() });
        let text = text.map_err(|source| Error::io("write", &path, source.into()))?;
        let created = disk::write_small(&path, &text, false).and_then(|()| {
            passed(Step::UploadLabelled);
            disk::create_new(&self.paths.upload_data(id))
        });
        passed(Step::UploadCreated);
        if created.is_err() {
            self.remove_upload_files(id, 0);
        }
        created
    }

    /// Reads an upload's label; `None` when the file is missing or is not one.
    pub(crate) fn read_upload_label(&self, id: &UploadId) -> Option<String> {
        let bytes = fs::read(self.paths.upload_label(id)).ok()?;
        let file: LabelFile = serde_json::from_slice(&bytes).ok()?;
        (file.label.len() <= LABEL_LEN_MAX).then_some(file.label)
    }

    pub(crate) fn remove_upload_files(&self, id: &UploadId, size: u64) {
        disk::remove_leftover(&self.paths.upload_data(id));
        passed(Step::DataUnlinked);
        disk::remove_leftover(&self.paths.upload_label(id));
        self.space.give_back(Class::Upload, size);
    }

    pub(crate) fn upload_status(&self, id: &UploadId) -> Result<UploadStatus> {
        self.uploads.status(id)
    }

    /// Ends an upload that has no bytes; `None` when it has some.
    pub(crate) fn take_empty_upload(&self, id: &UploadId) -> Result<Option<String>> {
        let CheckedOut { label, size, stored, hashes } = self.uploads.check_out(id)?;
        if size > 0 {
            self.uploads.check_in(id, size, stored, hashes);
            return Ok(None);
        }
        if stored {
            self.remove_upload_files(id, 0);
        }
        self.uploads.end(id);
        Ok(Some(label.to_string()))
    }

    pub(crate) fn expire_uploads(self: &Arc<Self>, older_than: Duration, now: SystemTime) -> usize {
        let expired = self.uploads.not_held().into_iter().filter(|id| self.is_idle(id, older_than, now));
        // One that is held by now stays, and so does one that was written to and suspended meanwhile.
        let handles = expired.filter_map(|id| open(self, &id).ok());
        handles.filter(|upload| self.is_idle(upload.id(), older_than, now)).map(Upload::cancel).count()
    }

    pub(crate) fn cancel_uploads(self: &Arc<Self>, is_meant: impl Fn(&str) -> bool) -> usize {
        let handles = self.uploads.not_held().into_iter().filter_map(|id| open(self, &id).ok());
        handles.filter(|upload| is_meant(upload.label())).map(Upload::cancel).count()
    }

    /// Whether nothing was written to an upload for longer than `older_than`.
    fn is_idle(&self, id: &UploadId, older_than: Duration, now: SystemTime) -> bool {
        let written = match self.uploads.created_without_files(id) {
            Some(created) => Ok(created),
            None => fs::metadata(self.paths.upload_data(id)).and_then(|data| data.modified()),
        };
        written.is_ok_and(|written| now.duration_since(written).is_ok_and(|age| age > older_than))
    }
}

/// Opens an upload for one handle.
pub(crate) fn open(shared: &Arc<Shared>, id: &UploadId) -> Result<Upload> {
    Ok(Upload::open(shared, *id, shared.uploads.check_out(id)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warm(uploads: &Uploads) -> usize {
        hold(&uploads.table).slots.values().filter(|slot| slot.hashes.is_some()).count()
    }

    #[test]
    fn hash_states_in_memory_are_bounded_and_the_oldest_goes() {
        let uploads = Uploads::default();
        let ids: Vec<_> = (0..WARM_MAX + 3).map(|_| UploadId::random().unwrap()).collect();
        for id in &ids {
            uploads.add(*id, "", Some(0));
            uploads.check_out(id).unwrap();
            uploads.check_in(id, 0, true, Some(Box::new(Hashes::new())));
        }
        assert_eq!(warm(&uploads), WARM_MAX);
        assert!(uploads.check_out(&ids[2]).unwrap().hashes.is_none());
        assert!(uploads.check_out(&ids[3]).unwrap().hashes.is_some());
        uploads.end(&ids[4]);
        assert_eq!(hold(&uploads.table).warm.len(), WARM_MAX - 2);
    }
}
