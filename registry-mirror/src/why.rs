//! Why a pull went as it did: what each request was answered from, and what it had to wait for.
//!
//! A bounded ring in memory, newest last, which the admin port shows. Non-goals: statistics (the metrics are for that) and anything
//! that outlives the process. Whoever asks has a digest from a runtime's error message, or a trace id from its own headers. The price:
//! some hundred bytes for each request of the last few minutes, `RECORDS_MAX` at most.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};
use shoal_oci::Digest;

use crate::trace::TraceId;

/// Requests remembered: a hundred images of ten blobs, at some 500 bytes each.
const RECORDS_MAX: usize = 1024;

/// Events remembered of one request. The first ones tell what began it; of later ones only their number is kept.
const EVENTS_MAX: usize = 32;

/// Ranges of one source in a row that are remembered of one request; the rest goes under its last.
const RANGES_MAX: usize = 64;

/// The longest text that is kept of what a client says of itself.
const CLIENT_LEN_MAX: usize = 80;

/// Waits shorter than this are the ordinary business of a network.
pub const WAIT_MIN: Duration = Duration::from_millis(250);

/// The records of this process. Clones share them.
#[derive(Clone, Default)]
pub struct Journal(Arc<Mutex<VecDeque<Arc<Mutex<Record>>>>>);

/// What one request became.
#[derive(Clone, Debug, Serialize)]
pub struct Record {
    /// The trace that it is part of.
    #[serde(serialize_with = "as_text")]
    pub trace: TraceId,
    /// When it came, in milliseconds since 1970.
    pub at_ms: u64,
    /// What the client calls itself.
    pub client: String,
    /// Where it connects from.
    pub address: IpAddr,
    /// The method and what was asked for, such as `GET team/app:v1`.
    pub request: String,
    /// What it turned out to be.
    #[serde(serialize_with = "as_optional_text")]
    pub digest: Option<Digest>,
    /// The `Range` that was asked for.
    pub range: Option<String>,
    /// The answer's status; 0 while there is none.
    pub status: u16,
    /// How it ended.
    pub outcome: Outcome,
    /// Bytes handed to the client's connection.
    pub sent_bytes: u64,
    /// Until the answer's head, in milliseconds.
    pub first_byte_ms: Option<u64>,
    /// Until the end, in milliseconds.
    pub total_ms: Option<u64>,
    /// Where which bytes came from.
    pub sources: Vec<SourceRange>,
    /// What else happened.
    pub events: Vec<Event>,
    /// Events that were not kept.
    pub events_left_out: u64,
    #[serde(skip)]
    begun: Instant,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It has not.
    Running,
    /// Everything that was asked for was given.
    Served,
    /// The client hung up before the end.
    ClientLeft,
    /// The body was cut: no source had the rest.
    Cut,
    /// It was answered with an error.
    Refused,
}

/// Where bytes came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// This machine's disk, where they were before.
    Cache,
    /// Another agent.
    Peer,
    /// An owner, as a peer of the swarm.
    Owner,
    /// An owner's HTTP port.
    WebSeed,
    /// An owner, past the disk, which has no room.
    Direct,
    /// The cluster's registry.
    Server,
    /// A foreign registry.
    Upstream,
}

/// Bytes in a row from one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SourceRange {
    /// The first byte.
    pub start: u64,
    /// The byte behind the last.
    pub end: u64,
    /// Where they came from.
    pub source: Source,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Event {
    /// Since the request came, in milliseconds.
    pub at_ms: u64,
    /// A sentence.
    pub what: String,
}

/// One request that is being answered. Clones are the same request.
#[derive(Clone)]
pub struct Pull(Arc<Mutex<Record>>);

impl Journal {
    /// Notes that a request has come.
    pub fn begin(&self, trace: TraceId, address: IpAddr, client: &str, request: String) -> Pull {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let record = Arc::new(Mutex::new(Record {
            trace,
            at_ms: millis(since),
            client: client.chars().take(CLIENT_LEN_MAX).collect(),
            address,
            request,
            digest: None,
            range: None,
            status: 0,
            outcome: Outcome::Running,
            sent_bytes: 0,
            first_byte_ms: None,
            total_ms: None,
            sources: Vec::new(),
            events: Vec::new(),
            events_left_out: 0,
            begun: Instant::now(),
        }));
        let mut records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if records.len() >= RECORDS_MAX {
            records.pop_front();
        }
        records.push_back(Arc::clone(&record));
        Pull(record)
    }

    /// The newest `count` records that `wanted` holds for, newest first.
    pub fn find(&self, count: usize, wanted: impl Fn(&Record) -> bool) -> Vec<Record> {
        let records: Vec<_> = self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
        let newest = records.into_iter().rev().map(|record| lock(&record).clone());
        newest.filter(|record| wanted(record)).take(count).collect()
    }
}

impl Pull {
    /// Notes something that happened.
    pub fn event(&self, what: impl Into<String>) {
        let mut record = lock(&self.0);
        if record.events.len() >= EVENTS_MAX {
            record.events_left_out += 1;
            return;
        }
        let at_ms = millis(record.begun.elapsed());
        record.events.push(Event { at_ms, what: what.into() });
    }

    /// Notes a wait, if it was one.
    pub fn waited(&self, since: Instant, what_for: impl FnOnce() -> String) {
        let waited = since.elapsed();
        if waited >= WAIT_MIN {
            self.event(format!("waited {} ms for {}", millis(waited), what_for()));
        }
    }

    /// Notes what the request means.
    pub fn is_about(&self, digest: &Digest, range: Option<&str>) {
        let mut record = lock(&self.0);
        record.digest = Some(*digest);
        record.range = range.map(|range| range.chars().take(CLIENT_LEN_MAX).collect());
    }

    /// Notes where bytes that are sent came from.
    pub fn sent(&self, range: Range<u64>, source: Source) {
        let mut record = lock(&self.0);
        record.sent_bytes += range.end - range.start;
        let full = record.sources.len() >= RANGES_MAX;
        match record.sources.last_mut() {
            Some(last) if full || (last.source == source && last.end == range.start) => last.end = range.end,
            _ => record.sources.push(SourceRange { start: range.start, end: range.end, source }),
        }
    }

    /// Notes the answer's head. An error ends the request.
    pub fn answered(&self, status: u16) {
        let mut record = lock(&self.0);
        record.status = status;
        record.first_byte_ms = Some(millis(record.begun.elapsed()));
        if status >= 400 {
            record.end(Outcome::Refused);
        }
    }

    /// Notes the end, unless it was noted before.
    pub fn end(&self, outcome: Outcome) {
        lock(&self.0).end(outcome);
    }

    /// Where the client connects from.
    pub fn address(&self) -> IpAddr {
        lock(&self.0).address
    }

    /// The trace that it is part of.
    pub fn trace(&self) -> TraceId {
        lock(&self.0).trace
    }
}

impl Record {
    fn end(&mut self, outcome: Outcome) {
        if self.outcome == Outcome::Running {
            self.outcome = outcome;
            self.total_ms = Some(millis(self.begun.elapsed()));
        }
    }
}

fn lock(record: &Mutex<Record>) -> MutexGuard<'_, Record> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn as_text<S: Serializer>(trace: &TraceId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(trace)
}

#[expect(clippy::ref_option, reason = "serde calls it so")]
fn as_optional_text<S: Serializer>(digest: &Option<Digest>, serializer: S) -> Result<S::Ok, S::Error> {
    match digest {
        Some(digest) => serializer.collect_str(digest),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(journal: &Journal, request: &str) -> Pull {
        journal.begin(TraceId::random(), IpAddr::from([127, 0, 0, 1]), "containerd/1.6", request.to_owned())
    }

    #[test]
    fn the_newest_are_kept_and_found_by_digest_and_trace() {
        let journal = Journal::default();
        let digest = Digest::sha256(b"x");
        let old = begin(&journal, "GET old");
        old.is_about(&digest, None);
        let kept = begin(&journal, "GET kept");
        kept.is_about(&digest, Some("bytes=0-"));
        for _ in 0..RECORDS_MAX - 1 {
            begin(&journal, "GET other");
        }
        let found = journal.find(10, |record| record.digest == Some(digest));
        assert_eq!(found.iter().map(|record| record.request.as_str()).collect::<Vec<_>>(), ["GET kept"]);
        assert_eq!(journal.find(10, |record| record.trace == kept.trace()).len(), 1);
        assert_eq!(journal.find(3, |_| true).len(), 3);
    }

    #[test]
    fn ranges_of_one_source_in_a_row_are_one_and_everything_is_bounded() {
        let journal = Journal::default();
        let pull = begin(&journal, "GET x");
        pull.sent(0..10, Source::Cache);
        pull.sent(10..20, Source::Cache);
        pull.sent(20..30, Source::Peer);
        (3..1000).for_each(|number| {
            let source = if number % 2 == 0 { Source::Peer } else { Source::WebSeed };
            pull.sent(number * 10..number * 10 + 10, source);
            pull.event("x");
        });
        pull.end(Outcome::Served);
        pull.end(Outcome::ClientLeft);
        let record = journal.find(1, |_| true).remove(0);
        assert_eq!(record.sources[0], SourceRange { start: 0, end: 20, source: Source::Cache });
        assert_eq!((record.sources.len(), record.events.len()), (RANGES_MAX, EVENTS_MAX));
        assert_eq!(record.sources.last().unwrap().end, 10_000);
        assert_eq!((record.sent_bytes, record.events_left_out), (10_000, 965));
        assert_eq!(record.outcome, Outcome::Served);
        let json = serde_json::to_value(&record).unwrap();
        assert_eq!((&json["outcome"], &json["sources"][0]["source"]), (&"served".into(), &"cache".into()));
    }
}
