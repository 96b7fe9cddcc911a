//! Winning back the room of what was removed: the live records of a sealed segment that is more than half dead are written again
//! into the active one, then its file goes.
//!
//! Each moved record kills its old place, so at every moment one of the two counts. The file is unlinked, and that is made durable,
//! before kills of it stop being needed. What is killed here in segments that still exist is killed again elsewhere first. Readers
//! have the old file open and are not disturbed.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use shoal_oci::Digest;

use super::Inner;
use super::queue::What;
use super::record::{HEADER_LEN, Spot};
use super::scan::scan;
use super::segment::{START, Segment};
use super::summary::{Entry, Summary};
use super::table::Place;
use crate::disk;
use crate::error::{Error, Result};
use crate::locks::hold;
use crate::steps::{Step, passed};

/// Records that are moved at a time: a small group, so that a push beside it hardly waits longer.
const BATCH_COUNT: usize = 64;

/// Bytes that are moved at a time at most.
const BATCH_BYTES: usize = 512 * 1024;

/// Bytes read and written again per second at most: a small part of what a disk does, and a segment every few seconds.
const BYTES_PER_SECOND: u64 = 16 * 1024 * 1024;

/// Wakes the thread that compacts.
#[derive(Default)]
pub(crate) struct Alarm {
    state: Mutex<AlarmState>,
    changed: Condvar,
}

#[derive(Default)]
struct AlarmState {
    wanted: bool,
    stopped: bool,
}

impl Alarm {
    pub(crate) fn ring(&self) {
        hold(&self.state).wanted = true;
        self.changed.notify_all();
    }

    pub(crate) fn stop(&self) {
        hold(&self.state).stopped = true;
        self.changed.notify_all();
    }

    fn is_stopped(&self) -> bool {
        hold(&self.state).stopped
    }

    /// Waits for work; false when there will be none.
    fn wait(&self) -> bool {
        let idle = |state: &mut AlarmState| !state.wanted && !state.stopped;
        let state = self.changed.wait_while(hold(&self.state), idle);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        state.wanted = false;
        !state.stopped
    }

    /// Lets time pass, unless it is stopped.
    fn pause(&self, time: Duration) {
        let running = |state: &mut AlarmState| !state.stopped;
        drop(self.changed.wait_timeout_while(hold(&self.state), time, running));
    }
}

impl Inner {
    /// Compacts whenever there is something to win, until the pack is closed.
    pub(crate) fn compact_in_background(&self) {
        while self.alarm.wait() {
            while let Some(segment) = self.choose_segment() {
                match self.compact(&segment, |bytes| self.pace(bytes)) {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => {
                        // The next removal tries again.
                        tracing::warn!(%error, segment = segment.id, "a segment could not be compacted");
                        break;
                    }
                }
            }
        }
    }

    pub(crate) fn wake_compactor(&self) {
        self.alarm.ring();
    }

    fn pace(&self, bytes: u64) -> bool {
        self.alarm.pause(Duration::from_micros(bytes * 1_000_000 / BYTES_PER_SECOND));
        !self.alarm.is_stopped()
    }

    /// The sealed segment that would win most, if one is more than half dead.
    pub(crate) fn choose_segment(&self) -> Option<Arc<Segment>> {
        let segments = self.segments();
        let exists = |id| segments.contains_key(&id) || self.unreadable.contains(&id);
        let sealed = segments.values().filter(|segment| segment.is_sealed());
        let gains = sealed.filter_map(|segment| {
            let (len, needed) = (segment.len() - START, segment.needed(exists));
            (needed * 2 < len || len == 0).then(|| (len.saturating_sub(needed), segment))
        });
        gains.max_by_key(|(gain, _)| *gain).map(|(_, segment)| segment.clone())
    }

    /// Bytes of all segments that no blob needs.
    pub(crate) fn dead_bytes(&self) -> u64 {
        let segments = self.segments();
        let exists = |id| segments.contains_key(&id) || self.unreadable.contains(&id);
        segments.values().map(|segment| (segment.len() - START).saturating_sub(segment.needed(exists))).sum()
    }

    /// Compacts one segment; false when `pace`, which is told how many bytes were moved, wants an end.
    pub(crate) fn compact(&self, segment: &Arc<Segment>, mut pace: impl FnMut(u64) -> bool) -> Result<bool> {
        let summary = self.summary_of(segment)?;
        let mut batch = Vec::new();
        let mut bytes = 0;
        for entry in summary.iter() {
            let before = batch.len();
            self.keep(segment, &entry, &mut batch)?;
            bytes += batch[before..].iter().map(|what| what.content_len() + HEADER_LEN).sum::<usize>();
            if batch.len() >= BATCH_COUNT || bytes >= BATCH_BYTES {
                self.run_all(std::mem::take(&mut batch))?;
                if !pace(std::mem::take(&mut bytes) as u64) {
                    return Ok(false);
                }
            }
        }
        self.run_all(batch)?;
        // What a summary made from damaged bytes does not have, nobody can read either.
        for (digest, place) in self.table.in_segment(segment.id) {
            self.report_damage(&digest, &place);
        }
        self.drop_segment(segment)?;
        Ok(true)
    }

    /// What of a record has to be written again.
    fn keep(&self, segment: &Segment, entry: &Entry<'_>, batch: &mut Vec<What>) -> Result<()> {
        let needed = |target: &Spot| target.segment != segment.id && self.exists(target.segment);
        if let Some(target) = entry.kills.filter(needed) {
            batch.push(What::Kill { target });
        }
        let Some(content) = entry.content else { return Ok(()) };
        let Some(digest) = Digest::from_bytes(content.algorithm, content.hash) else { return Ok(()) };
        let from = Spot { segment: segment.id, offset: entry.offset };
        let Some(place) = self.table.get(&digest).filter(|place| place.spot == from) else { return Ok(()) };
        match self.read_content(segment, &digest, &place)? {
            Some(what) => batch.push(what),
            None => self.report_damage(&digest, &place),
        }
        Ok(())
    }

    fn read_content(&self, segment: &Segment, digest: &Digest, place: &Place) -> Result<Option<What>> {
        let Some(stored) = self.read_record(digest, place)? else { return Ok(None) };
        let content = segment.content_of(digest, place, &stored);
        let bytes = bytes::Bytes::from(stored).slice(HEADER_LEN..);
        Ok(content.map(|content| What::Move { content, bytes, from: place.spot }))
    }

    fn run_all(&self, batch: Vec<What>) -> Result<()> {
        self.run(batch).into_iter().try_for_each(|result| result.map(drop))
    }

    /// The records of a sealed segment, from its summary or from itself.
    fn summary_of(&self, segment: &Segment) -> Result<Summary> {
        if let Some((summary, ..)) = Summary::read(&self.paths, segment.id)? {
            return Ok(summary);
        }
        let scanned = scan(&segment.file, segment.id, &segment.key, segment.len());
        let scanned = scanned.map_err(|source| Error::io("read", segment.file.path(), source))?;
        Ok(scanned.summary)
    }

    /// Removes a segment without live records.
    fn drop_segment(&self, segment: &Segment) -> Result<()> {
        disk::remove(segment.file.path())?;
        passed(Step::SegmentUnlinked);
        // From here on nobody has to kill what was in it.
        disk::sync_dir(&self.paths.pack())?;
        self.segments_mut().remove(&segment.id);
        disk::remove_leftover(&self.paths.segment_summary(segment.id));
        passed(Step::SummaryUnlinked);
        tracing::debug!(segment = segment.id, bytes = segment.len(), "a segment was compacted");
        Ok(())
    }
}
