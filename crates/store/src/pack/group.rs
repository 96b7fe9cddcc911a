//! Group commit: everything that waits goes to the active segment with one write and one sync.
//!
//! Whoever holds the writer commits for all: the pack's thread for those who submitted and went on, or a caller that has to wait
//! anyway. Nothing is visible before it is synced, and nobody is told before it is visible.
//!
//! A group that cannot be written is cut off again. A group that cannot be synced poisons its segment: the kernel reports a lost
//! write once and then calls the pages clean, so a later sync proves nothing. The segment gets no further record and no summary,
//! so the next start reads it through.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use shoal_oci::Digest;

use super::Inner;
use super::queue::{Done, Op, What};
use super::record::{Content, HEADER_LEN, Header, Spot, record_len};
use super::segment::Segment;
use super::summary::Summary;
use super::table::Place;
use crate::error::{Error, Result};
use crate::locks::hold;
use crate::space::Class;
use crate::steps::{Step, passed};

/// Records in a group at most: enough that a sync hardly counts, few enough that the first of them does not wait long.
const GROUP_COUNT_MAX: usize = 1024;

/// Bytes of content in a group at most: some milliseconds of writing.
const GROUP_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The one that may write.
#[derive(Default)]
pub(crate) struct Writer {
    /// `None` until something is written, and after a segment was sealed or poisoned.
    pub(crate) active: Option<Active>,
    /// Number of the next segment. Never given twice, as kills name segments.
    pub(crate) next_id: u32,
    buffer: Vec<u8>,
}

/// The segment that grows.
pub(crate) struct Active {
    pub(crate) segment: Arc<Segment>,
    pub(crate) summary: Summary,
}

/// An operation that is over, and how.
pub(crate) struct Finished {
    pub(crate) done: Done,
    pub(crate) result: Result<bool>,
}

/// Records to write, and what becomes true with them.
struct Group {
    /// Where the first record goes.
    start: u64,
    records: Vec<Record>,
    /// Who waits; true when a record of theirs is in the group.
    waiting: Vec<(Done, bool)>,
    touched: HashMap<Digest, Touch>,
}

struct Record {
    offset: u32,
    header: Header,
    change: Change,
}

/// What a record changes in memory.
#[derive(Clone, Copy)]
enum Change {
    Arrives,
    Leaves { digest: Digest, from: Spot },
    Moves,
    Nothing,
}

/// What a group does to a digest.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Touch {
    Stays,
    Leaves,
}

impl Inner {
    /// Commits what waits, up to a group's limits. The caller lets go of the writer before it tells those who waited.
    pub(crate) fn commit_group(&self, writer: &mut Writer) -> Vec<Finished> {
        let ops = self.queue.take(GROUP_COUNT_MAX, GROUP_BYTES_MAX);
        if ops.is_empty() {
            return Vec::new();
        }
        let active = match self.activate(writer) {
            Ok(active) => active,
            Err(error) => {
                let failed = ops.into_iter().map(|op| op.done);
                return failed.map(|done| Finished { done, result: Err(again(&error)) }).collect();
            }
        };
        let mut buffer = std::mem::take(&mut writer.buffer);
        buffer.clear();
        let group = self.gather(ops, &active, &mut buffer);
        let written = if group.records.is_empty() { Ok(()) } else { self.write(writer, &active, &buffer) };
        writer.buffer = buffer;
        if written.is_ok() {
            self.apply(writer, &active, &group);
        }
        let finish = |(done, changed)| {
            let result = written.as_ref().map_or_else(|error| Err(again(error)), |()| Ok(changed));
            Finished { done, result }
        };
        group.waiting.into_iter().map(finish).collect()
    }

    /// The segment to write to: sealed first when it is full, made when there is none.
    fn activate(&self, writer: &mut Writer) -> Result<Arc<Segment>> {
        if writer.active.as_ref().is_some_and(|active| active.segment.len() >= self.limits.segment_len) {
            self.seal(writer);
        }
        if let Some(active) = &writer.active {
            return Ok(active.segment.clone());
        }
        let id = writer.next_id;
        let segment = Segment::create(&self.paths.segment(id), id, self.faults.clone())?;
        writer.next_id = id + 1;
        let segment = Arc::new(segment);
        self.segments_mut().insert(id, segment.clone());
        writer.active = Some(Active { segment: segment.clone(), summary: Summary::default() });
        passed(Step::SegmentCreated);
        Ok(segment)
    }

    /// Ends the active segment, with a summary beside it.
    fn seal(&self, writer: &mut Writer) {
        let Some(Active { segment, summary }) = writer.active.take() else { return };
        if let Err(error) = summary.write(&self.paths, segment.id, &segment.key, segment.len()) {
            tracing::warn!(%error, segment = segment.id, "a segment has no summary; the next start reads it through");
        }
        segment.seal();
        passed(Step::SegmentSealed);
        self.wake_compactor();
    }

    /// Turns operations into records. What needs the group before it to be over goes back to the queue, with all that came after.
    fn gather(&self, mut ops: VecDeque<Op>, active: &Segment, buffer: &mut Vec<u8>) -> Group {
        let mut group =
            Group { start: active.len(), records: Vec::new(), waiting: Vec::new(), touched: HashMap::new() };
        while let Some(op) = ops.pop_front() {
            if group.must_wait(&op.what) {
                ops.push_front(op);
                self.queue.put_back(ops);
                break;
            }
            let Op { what, done } = op;
            let written = self.gather_one(what, &mut group, active, buffer);
            group.waiting.push((done, written));
        }
        group
    }

    /// Whether the operation needs a record; if so it is in the group now.
    fn gather_one(&self, what: What, group: &mut Group, active: &Segment, buffer: &mut Vec<u8>) -> bool {
        match what {
            What::Put { content, bytes } => {
                if group.touched.contains_key(&content.digest) || self.is_intact(&content.digest, &bytes) {
                    return false;
                }
                // A bad copy of it dies with this one's arrival, lest the next start finds both.
                let bad = self.table.get(&content.digest).map(|place| place.spot);
                let kills = bad.or_else(|| self.damaged_spot(&content.digest));
                group.touched.insert(content.digest, Touch::Stays);
                group.add(active, Header { content: Some(content), kills }, &bytes, Change::Arrives, buffer);
            }
            What::Remove { digest } => {
                let place = self.table.get(&digest).map(|place| place.spot);
                let Some(from) = place.or_else(|| self.damaged_spot(&digest)) else { return false };
                group.touched.insert(digest, Touch::Leaves);
                let change = Change::Leaves { digest, from };
                group.add(active, Header { content: None, kills: Some(from) }, &[], change, buffer);
                return place.is_some();
            }
            What::Move { content, bytes, from } => {
                if self.table.get(&content.digest).is_none_or(|place| place.spot != from) {
                    return false;
                }
                group.touched.insert(content.digest, Touch::Stays);
                let header = Header { content: Some(content), kills: Some(from) };
                group.add(active, header, &bytes, Change::Moves, buffer);
            }
            What::Kill { target } => {
                let header = Header { content: None, kills: Some(target) };
                group.add(active, header, &[], Change::Nothing, buffer);
            }
        }
        true
    }

    fn write(&self, writer: &mut Writer, active: &Segment, buffer: &[u8]) -> Result<()> {
        let start = active.len();
        let failed = |doing, source| Error::io(doing, active.file.path(), source);
        if let Err(source) = active.file.write(buffer, start) {
            if let Err(error) = active.file.cut(start) {
                poison(writer, active, &error);
            }
            return Err(failed("write", source));
        }
        passed(Step::GroupWritten);
        if let Err(source) = active.file.sync() {
            // What is left of the group would be taken for whole by the next start.
            drop(active.file.cut(start));
            poison(writer, active, &source);
            return Err(failed("sync", source));
        }
        passed(Step::GroupSynced);
        Ok(())
    }

    /// What is on the disk now becomes true in memory.
    fn apply(&self, writer: &mut Writer, segment: &Segment, group: &Group) {
        let mut end = group.start;
        for Record { offset, header, change } in &group.records {
            if let Some(active) = &mut writer.active {
                active.summary.add(*offset, header);
            }
            end = u64::from(*offset) + header.record_len();
            let spot = Spot { segment: segment.id, offset: *offset };
            match (change, &header.content) {
                (Change::Arrives | Change::Moves, Some(content)) => {
                    self.arrive(segment, spot, content, *change);
                }
                (Change::Leaves { digest, from }, _) => self.leave(digest, *from),
                _ => {}
            }
            if let Some(kills) = header.kills {
                segment.note_kill(kills.segment);
            }
        }
        segment.grow_to(end);
        if group.records.iter().any(|record| record.header.kills.is_some()) {
            self.wake_compactor();
        }
    }

    fn arrive(&self, segment: &Segment, spot: Spot, content: &Content, change: Change) {
        let place = Place { spot, len: content.len, seconds: content.seconds };
        segment.enliven(record_len(content.len));
        let before = self.table.set(&content.digest, place);
        if let Some(before) = before {
            self.deaden(&before);
        }
        let len = u64::from(content.len);
        match (change, before) {
            // Whoever put it has taken room for it, and the bad copy had room already.
            (Change::Arrives, Some(_)) => self.space.give_back(Class::Blob, len),
            // Found damaged while it was being moved: the good copy brings its bytes back.
            (Change::Moves, None) => self.space.found(Class::Blob, len),
            _ => {}
        }
        self.damages.forget(&content.digest);
    }

    fn leave(&self, digest: &Digest, from: Spot) {
        if let Some(place) = self.table.take(digest, from) {
            self.deaden(&place);
            self.space.give_back(Class::Blob, u64::from(place.len));
        }
        self.damages.forget(digest);
    }

    /// Runs operations and waits for them, writing for others as well if nobody else does.
    pub(crate) fn run(&self, whats: Vec<What>) -> Vec<Result<bool>> {
        let count = whats.len();
        let (sender, receiver) = std::sync::mpsc::sync_channel(count);
        for (number, what) in whats.into_iter().enumerate() {
            let sender = sender.clone();
            let done = move |result| drop(sender.send((number, result)));
            self.queue.add(Op { what, done: Box::new(done) });
        }
        drop(sender);
        let mut results: Vec<_> = (0..count).map(|_| Err(Error::PackBusy)).collect();
        let mut missing = count;
        while missing > 0 {
            let finished = self.commit_group(&mut hold(&self.writer));
            // Nothing waits: what is missing is with somebody else, who will tell.
            let awaited = if finished.is_empty() { receiver.recv().ok() } else { None };
            if finished.is_empty() && awaited.is_none() {
                // Only a thread that died while it wrote does not tell.
                return results;
            }
            tell(finished);
            for (number, result) in awaited.into_iter().chain(receiver.try_iter()) {
                results[number] = result;
                missing -= 1;
            }
        }
        results
    }

    /// Writes for those who do not wait, until the pack is closed.
    pub(crate) fn write_for_others(&self) {
        while self.queue.wait() {
            let finished = self.commit_group(&mut hold(&self.writer));
            tell(finished);
        }
    }
}

impl Group {
    /// Whether an operation needs what this group does to the same digest to be over.
    fn must_wait(&self, what: &What) -> bool {
        match what {
            What::Put { content, .. } => self.touched.get(&content.digest) == Some(&Touch::Leaves),
            What::Remove { digest } => self.touched.contains_key(digest),
            What::Move { content, .. } => self.touched.contains_key(&content.digest),
            What::Kill { .. } => false,
        }
    }

    fn add(&mut self, active: &Segment, header: Header, bytes: &[u8], change: Change, buffer: &mut Vec<u8>) {
        // A segment is sealed long before 4 GiB.
        let offset = u32::try_from(self.start + buffer.len() as u64).unwrap_or(u32::MAX);
        let end = buffer.len() + usize::try_from(header.record_len()).unwrap_or(HEADER_LEN);
        buffer.extend_from_slice(&header.encode(&active.key, Spot { segment: active.id, offset }));
        buffer.extend_from_slice(bytes);
        buffer.resize(end, 0);
        self.records.push(Record { offset, header, change });
    }
}

fn poison(writer: &mut Writer, segment: &Segment, error: &std::io::Error) {
    tracing::error!(%error, segment = segment.id, "a segment cannot be trusted with more content; a new one is begun");
    segment.seal();
    writer.active = None;
}

/// Tells those who waited. Nobody's panic is another one's.
pub(crate) fn tell(finished: Vec<Finished>) {
    for Finished { done, result } in finished {
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| done(result)));
        if told.is_err() {
            tracing::error!("who waited for small content to be written has panicked");
        }
    }
}

/// The same error for one more of those whom it concerns.
fn again(error: &Error) -> Error {
    match error {
        Error::NoSpace(limit) => Error::NoSpace(*limit),
        Error::Io { doing, path, source } => {
            let source =
                source.raw_os_error().map_or_else(|| source.kind().into(), std::io::Error::from_raw_os_error);
            Error::Io { doing, path: path.clone(), source }
        }
        _ => Error::PackBusy,
    }
}
