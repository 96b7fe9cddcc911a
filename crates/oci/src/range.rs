//! The three ways in which the protocol writes a range of bytes, read and written in one place.
//!
//! `Range: bytes=0-99` (a request, RFC 9110 §14), `Content-Range: bytes 0-99/200` (a reply), and the distribution specification's
//! own `Content-Range: 0-99` on an upload's chunk and `Range: 0-99` in an upload's status: no unit, both ends inclusive.

use std::ops::Range;

use crate::error::{ErrorCode, OciError};

/// What a `Range` header selects of a representation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Everything: no header, another unit, or a header that makes no sense and is ignored as RFC 9110 allows.
    Whole,
    /// These bytes, never empty and within the size.
    Part(Range<u64>),
    /// No byte of it exists: 416.
    Unsatisfiable,
    /// Several ranges. Sending everything is a correct answer to that (RFC 9110 §14.2).
    Multi,
}

impl Selection {
    /// Reads a `Range` header against a representation of `size` bytes.
    ///
    /// A range whose end lies before its start selects nothing (the conformance suite asks for 416); other malformed headers are
    /// ignored. Positions beyond 64 bits count as beyond the end.
    pub fn of(header: Option<&str>, size: u64) -> Self {
        let Some(ranges) = header.and_then(byte_ranges) else { return Self::Whole };
        let mut specs = ranges.split(',').map(str::trim).filter(|spec| !spec.is_empty());
        let (Some(first), second) = (specs.next(), specs.next()) else { return Self::Whole };
        let selection = one(first, size);
        match second {
            None => selection.unwrap_or(Self::Whole),
            Some(second) => {
                let well_formed = selection.is_some() && one(second, size).is_some();
                let rest = specs.all(|spec| one(spec, size).is_some());
                if well_formed && rest { Self::Multi } else { Self::Whole }
            }
        }
    }
}

/// What follows `bytes=`; `None` for other units.
fn byte_ranges(header: &str) -> Option<&str> {
    let (unit, ranges) = header.split_once('=')?;
    unit.trim().eq_ignore_ascii_case("bytes").then_some(ranges)
}

/// One range; `None` when it is malformed.
fn one(spec: &str, size: u64) -> Option<Selection> {
    let (first, last) = spec.split_once('-')?;
    let (first, last) = (first.trim(), last.trim());
    if first.is_empty() {
        return Some(suffix(position(last)?, size));
    }
    let first = position(first)?;
    let last = if last.is_empty() { u64::MAX } else { position(last)? };
    if first >= size || last < first {
        return Some(Selection::Unsatisfiable);
    }
    Some(Selection::Part(first..last.saturating_add(1).min(size)))
}

/// The last `len` bytes.
fn suffix(len: u64, size: u64) -> Selection {
    match (len, size) {
        (0, _) => Selection::Unsatisfiable,
        (_, 0) => Selection::Whole, // "the entire representation", and an empty one has no Content-Range
        _ => Selection::Part(size.saturating_sub(len)..size),
    }
}

/// Decimal digits and nothing else, saturating.
fn position(digits: &str) -> Option<u64> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse().unwrap_or(u64::MAX))
}

/// Reads the `Content-Range` of an upload's chunk: `first-last`, without a unit, both inclusive.
pub fn parse_chunk(header: &str) -> Result<Range<u64>, OciError> {
    let malformed = || {
        let message = "Content-Range of a chunk is written first-last, as in 0-1023";
        OciError::new(ErrorCode::RangeInvalid, message).with_status(400)
    };
    let (first, last) = header.trim().split_once('-').ok_or_else(malformed)?;
    let first = position(first).ok_or_else(malformed)?;
    let end = position(last).and_then(|last| last.checked_add(1)).ok_or_else(malformed)?;
    if first < end { Ok(first..end) } else { Err(malformed()) }
}

/// `Content-Range` of a 206 reply: `bytes 0-99/200`. `part` is not empty.
pub fn content_range(part: &Range<u64>, size: u64) -> String {
    format!("bytes {}-{}/{size}", part.start, part.end.saturating_sub(1))
}

/// `Content-Range` of a 416 reply: `bytes */200`.
pub fn unsatisfied_range(size: u64) -> String {
    format!("bytes */{size}")
}

/// `Range` of an upload that has received `size` bytes: `0-99`, and `0-0` when there are none yet, which is how registries write it.
pub fn received_range(size: u64) -> String {
    format!("0-{}", size.saturating_sub(1))
}

/// `Range` of a request for `part`: `bytes=0-99`. `part` is not empty.
pub fn request_range(part: &Range<u64>) -> String {
    format!("bytes={}-{}", part.start, part.end.saturating_sub(1))
}

#[cfg(test)]
mod tests;
