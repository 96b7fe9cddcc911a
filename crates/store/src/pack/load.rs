//! The pack at start: which blobs there are, from the summaries of sealed segments and from the records of the others.
//!
//! | found | becomes |
//! |---|---|
//! | segment with a sound summary | sealed; not read |
//! | segment without one, the last | read through; a torn end is cut; the active segment again, unless it is damaged before its end |
//! | segment without one, not the last, or damaged | read through; sealed, with a summary |
//! | segment without a sound header and without a summary | left alone, counted; when it has no records, removed |
//! | summary without segment | removed |
//!
//! A record is dead when any record kills its place. What was read through is synced before anything is told to be there: after
//! the end of the process alone, its last group may be whole but not yet on the disk.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::file::{Faults, SegmentFile};
use super::group::{Active, Writer};
use super::record::{Key, Spot, record_len};
use super::scan::{Scanned, scan};
use super::segment::{START, Segment, decode_header};
use super::summary::Summary;
use super::table::{Found, Place, Table};
use crate::disk;
use crate::error::{Error, Result};
use crate::open::{Recovery, for_each_file, remove};
use crate::paths::{Paths, parse_segment_file};

/// The pack as it was found.
#[derive(Default)]
pub(crate) struct Loaded {
    pub(crate) table: Table,
    pub(crate) segments: BTreeMap<u32, Arc<Segment>>,
    /// Segments that exist and cannot be read.
    pub(crate) unreadable: BTreeSet<u32>,
    pub(crate) writer: Writer,
    /// Bytes of all blobs.
    pub(crate) bytes: u64,
}

/// What is gathered from one segment after the other.
struct Loader<'a> {
    paths: &'a Paths,
    faults: &'a Faults,
    loaded: Loaded,
    found: Found,
    kills: HashSet<Spot>,
}

/// Reads the pack's directory.
pub(crate) fn load(paths: &Paths, faults: &Faults, recovery: &mut Recovery) -> Result<Loaded> {
    let ids = list(paths, recovery)?;
    let last = ids.last().copied().unwrap_or(0);
    let loaded = Loaded::default();
    let mut loader = Loader { paths, faults, loaded, found: Found::default(), kills: HashSet::new() };
    for id in ids {
        loader.load_segment(id, id == last, recovery)?;
    }
    let Loader { mut loaded, mut found, kills, .. } = loader;
    if !kills.is_empty() {
        found.retain(|spot| !kills.contains(&spot));
    }
    loaded.bytes = loaded.table.fill(found);
    loaded.writer.next_id = last + 1;
    let mut live: HashMap<u32, u64> = HashMap::new();
    loaded.table.for_each(|place| *live.entry(place.spot.segment).or_default() += record_len(place.len));
    for (id, len) in live {
        if let Some(segment) = loaded.segments.get(&id) {
            segment.enliven(len);
        }
    }
    recovery.blobs += loaded.table.count();
    recovery.bytes += loaded.bytes;
    Ok(loaded)
}

/// The segments that there are, in order.
fn list(paths: &Paths, recovery: &mut Recovery) -> Result<BTreeSet<u32>> {
    let (mut ids, mut summaries) = (BTreeSet::new(), BTreeSet::new());
    for_each_file(&paths.pack(), recovery, |entry, _| {
        let (id, is_data) = parse_segment_file(&entry.file_name())?;
        if is_data {
            ids.insert(id)
        } else {
            summaries.insert(id)
        };
        Some(())
    })?;
    for id in summaries.difference(&ids) {
        remove(&paths.segment_summary(*id), recovery);
    }
    Ok(ids)
}

impl Loader<'_> {
    fn load_segment(&mut self, id: u32, is_last: bool, recovery: &mut Recovery) -> Result<()> {
        let path = self.paths.segment(id);
        let file = SegmentFile::new(disk::open_for_writing(&path, false)?, path.clone(), self.faults.clone());
        let len = file.len().map_err(|source| Error::io("ask for the size of", &path, source))?;
        let mut head = [0; START as usize];
        let key = if len < START {
            None
        } else {
            file.read(&mut head, 0).ok().and_then(|()| decode_header(&head, id))
        };
        let summary = Summary::read(self.paths, id)?;
        if let Some((summary, key, used)) = summary.filter(|(_, _, used)| *used <= len) {
            let segment = Segment::new(id, file, key, used);
            segment.seal();
            self.enter(segment, &summary);
            return Ok(());
        }
        let Some(key) = key else {
            self.without_key(id, len, recovery);
            return Ok(());
        };
        match scan(&file, id, &key, len) {
            Ok(scanned) => self.enter_scanned(file, (id, key, len), scanned, is_last, recovery),
            Err(error) => {
                tracing::error!(%error, segment = id, "a segment cannot be read; its blobs are left out");
                recovery.damaged += 1;
                self.loaded.unreadable.insert(id);
                Ok(())
            }
        }
    }

    /// A segment that was never begun, or one that nothing can be told of.
    fn without_key(&mut self, id: u32, len: u64, recovery: &mut Recovery) {
        if len <= START {
            remove(&self.paths.segment(id), recovery);
            return;
        }
        tracing::error!(segment = id, "a segment and its summary are damaged; its blobs are left out");
        recovery.damaged += 1;
        self.loaded.unreadable.insert(id);
    }

    fn enter_scanned(
        &mut self,
        file: SegmentFile,
        (id, key, len): (u32, Key, u64),
        scanned: Scanned,
        is_last: bool,
        recovery: &mut Recovery,
    ) -> Result<()> {
        let Scanned { summary, end, damaged } = scanned;
        let failed = |doing, source| Error::io(doing, &self.paths.segment(id), source);
        if end < len {
            tracing::warn!(segment = id, bytes = len - end, "the torn end of a segment is cut off");
            recovery.cut_bytes += len - end;
            file.cut(end).map_err(|source| failed("cut", source))?;
        }
        file.sync().map_err(|source| failed("sync", source))?;
        if damaged > 0 {
            tracing::error!(segment = id, damaged, "a segment is damaged; the blobs there are left out");
            recovery.damaged += damaged;
        }
        let segment = self.enter(Segment::new(id, file, key, end), &summary);
        if is_last && damaged == 0 {
            self.loaded.writer.active = Some(Active { segment, summary });
            return Ok(());
        }
        segment.seal();
        if let Err(error) = summary.write(self.paths, id, &key, end) {
            tracing::warn!(%error, segment = id, "a segment has no summary; the next start reads it through again");
        }
        Ok(())
    }

    /// Takes in what a segment's records say.
    fn enter(&mut self, segment: Segment, summary: &Summary) -> Arc<Segment> {
        for entry in summary.iter() {
            if let Some(kills) = entry.kills {
                self.kills.insert(kills);
                segment.note_kill(kills.segment);
            }
            if let Some(content) = entry.content {
                let spot = Spot { segment: segment.id, offset: entry.offset };
                let place = Place { spot, len: content.len, seconds: content.seconds };
                self.found.add(content.hash, place);
            }
        }
        let segment = Arc::new(segment);
        self.loaded.segments.insert(segment.id, segment.clone());
        segment
    }
}
