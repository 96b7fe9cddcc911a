//! Reading a segment from its first record to its last: at start, for the segment that was being written, and for any whose summary
//! is lost.
//!
//! Records follow each other without gaps, and a group is synced before the next one is written. So what does not verify at the
//! end was never acknowledged, and is cut. What does not verify in the middle was damaged later: the search goes on for the next
//! header that is genuine at its place (see `record`), and only the damaged record is lost.

use std::io;

use super::file::SegmentFile;
use super::record::{ALIGN, Content, HEADER_LEN, Header, Key, MAGIC, Spot};
use super::segment::START;
use super::summary::Summary;

/// Bytes read at a time: large enough that system calls do not count.
const WINDOW_LEN: usize = 1024 * 1024;

/// How far the search goes on after bytes that the disk cannot give: what it loses, it loses by sectors of this size.
const SECTOR_LEN: u64 = 4096;

/// What is in a segment.
#[derive(Default)]
pub(crate) struct Scanned {
    /// Every whole record.
    pub(crate) summary: Summary,
    /// Where the last whole record ends.
    pub(crate) end: u64,
    /// Damaged places with whole records after them.
    pub(crate) damaged: usize,
}

/// Reads the first `len` bytes of a segment.
///
/// # Errors
/// Only when the disk refuses for a reason that says nothing about the bytes.
pub(crate) fn scan(file: &SegmentFile, id: u32, key: &Key, len: u64) -> io::Result<Scanned> {
    let mut window = Window { file, len, start: 0, bytes: Vec::new() };
    let mut scanned = Scanned { end: START, ..Scanned::default() };
    let (mut at, mut in_gap) = (START, false);
    while at + HEADER_LEN as u64 <= len {
        match read_record(&mut window, id, key, at)? {
            Found::Whole(header) => {
                // A segment ends long before 4 GiB.
                scanned.summary.add(u32::try_from(at).unwrap_or(u32::MAX), &header);
                scanned.damaged += usize::from(in_gap);
                in_gap = false;
                at += header.record_len();
                scanned.end = at;
            }
            Found::Damaged { next } => {
                in_gap = true;
                at = next;
            }
        }
    }
    Ok(scanned)
}

enum Found {
    Whole(Header),
    /// Nothing usable here; another record may begin at `next` or after it.
    Damaged {
        next: u64,
    },
}

fn read_record(window: &mut Window<'_>, id: u32, key: &Key, at: u64) -> io::Result<Found> {
    let Some(bytes) = window.get(at, HEADER_LEN)? else {
        return Ok(Found::Damaged { next: (at + 1).next_multiple_of(SECTOR_LEN) });
    };
    let offset = u32::try_from(at).unwrap_or(u32::MAX);
    let Some(header) = Header::decode(bytes, key, Spot { segment: id, offset }) else {
        return Ok(Found::Damaged { next: next_magic(window, at)? });
    };
    let next = at + header.record_len();
    if next > window.len {
        return Ok(Found::Damaged { next: next_magic(window, at)? });
    }
    let whole = header.content.is_none_or(|content| is_whole(window, &content, at));
    Ok(if whole { Found::Whole(header) } else { Found::Damaged { next } })
}

fn is_whole(window: &mut Window<'_>, content: &Content, at: u64) -> bool {
    let bytes = window.get(at + HEADER_LEN as u64, content.len as usize);
    matches!(bytes, Ok(Some(bytes)) if content.verify(bytes))
}

/// The next place after `at` that looks like a record.
fn next_magic(window: &mut Window<'_>, at: u64) -> io::Result<u64> {
    let mut next = at + ALIGN;
    while next + HEADER_LEN as u64 <= window.len {
        match window.get(next, MAGIC.len())? {
            Some(bytes) if bytes == MAGIC => return Ok(next),
            Some(_) => next += ALIGN,
            None => next = (next + 1).next_multiple_of(SECTOR_LEN),
        }
    }
    Ok(window.len)
}

/// A part of the file in memory.
struct Window<'a> {
    file: &'a SegmentFile,
    len: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// Bytes of the file; `None` when the disk has lost them. The caller stays within `len`.
    fn get(&mut self, at: u64, len: usize) -> io::Result<Option<&[u8]>> {
        let holds = |window: &Self| at >= window.start && at + len as u64 <= window.end();
        if !holds(self) {
            let wanted = (self.len - at).min(WINDOW_LEN.max(len) as u64);
            // A window that the disk cannot give may still hold the few bytes that are asked for.
            if !self.fill(at, usize::try_from(wanted).unwrap_or(len))? && !self.fill(at, len)? {
                return Ok(None);
            }
        }
        let from = usize::try_from(at - self.start).unwrap_or(0);
        Ok(self.bytes.get(from..from + len))
    }

    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    fn fill(&mut self, at: u64, len: usize) -> io::Result<bool> {
        self.bytes.resize(len, 0);
        self.start = at;
        match self.file.read(&mut self.bytes, at) {
            Ok(()) => Ok(true),
            Err(error) if crate::piece::is_damage(&error) => {
                self.bytes.clear();
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}
