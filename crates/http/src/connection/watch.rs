//! What a connection is waiting for, and how long it may.
//!
//! hyper has a single timer for "a header that does not arrive" and "no next request", which want very different limits, and none
//! for an answer that nobody reads. So the socket, the requests and the bodies report here, and the connection is always in one
//! [`Phase`], which has its own limit. Nobody is woken when the phase changes; [`Watch::guard`] looks now and then.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::region::Source;
use crate::Limits;

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// For the first byte of a request.
    Idle,
    /// For the rest of a request's header, or of the TLS handshake.
    Header,
    /// For the handler, for the request's body, or for the client to take the answer.
    Busy,
}

/// Why a connection was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// A header took too long.
    SlowHeader,
    /// The client does not take what we write.
    Stalled,
    /// Others need the place, and the client had none of its requests in service.
    NoRoom,
}

/// What the parts of a connection tell each other. Values are counters and flags that are read one at a time, so relaxed order is
/// enough; whoever waits for a change does so on a `Notify`.
#[derive(Debug)]
pub(crate) struct Watch {
    born: Instant,
    /// HTTP/2: many requests at a time, and bytes between them mean nothing.
    multiplexed: AtomicBool,
    /// Requests from their header to the end of their answer's body.
    requests: AtomicUsize,
    /// Parts of answers that hyper holds and the kernel does not have yet.
    chunks: AtomicUsize,
    /// How many such parts have gone.
    released: AtomicU64,
    header: AtomicBool,
    /// When the phase changed, in microseconds after `born`.
    since: AtomicU64,
    /// Bytes that the kernel took.
    written: AtomicU64,
    /// While the kernel takes no more bytes for the client.
    write_blocked: AtomicBool,
    /// The head of a handler's answer is with hyper and not yet written.
    answer_due: AtomicBool,
    /// What waits to be written is not what it should be.
    spoilt: AtomicBool,
    leaving: AtomicBool,
    leave: Notify,
    evict: Notify,
    /// Parts of files in the order in which hyper will write them. hyper's queue owns them, so that a connection that is kept for
    /// later requests keeps no file open.
    files: Mutex<VecDeque<Weak<Source>>>,
}

impl Watch {
    /// A connection whose handshake or first request is due.
    pub(crate) fn new() -> Self {
        Self {
            born: Instant::now(),
            multiplexed: AtomicBool::new(false),
            requests: AtomicUsize::new(0),
            chunks: AtomicUsize::new(0),
            released: AtomicU64::new(0),
            header: AtomicBool::new(false),
            since: AtomicU64::new(0),
            written: AtomicU64::new(0),
            write_blocked: AtomicBool::new(false),
            answer_due: AtomicBool::new(false),
            spoilt: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            leave: Notify::new(),
            evict: Notify::new(),
            files: Mutex::new(VecDeque::new()),
        }
    }

    /// What the connection waits for now.
    pub(crate) fn phase(&self) -> Phase {
        if self.in_use() {
            Phase::Busy
        } else if self.header.load(Ordering::Relaxed) {
            Phase::Header
        } else {
            Phase::Idle
        }
    }

    /// Whether a request is in service or a part of an answer is unsent.
    pub(super) fn in_use(&self) -> bool {
        self.requests.load(Ordering::Relaxed) > 0 || self.chunks.load(Ordering::Relaxed) > 0
    }

    /// How long the connection has been in its phase.
    pub(crate) fn waited(&self) -> Duration {
        self.born.elapsed().saturating_sub(Duration::from_micros(self.since.load(Ordering::Relaxed)))
    }

    fn changes(&self) {
        let micros = self.born.elapsed().as_micros().try_into().unwrap_or(u64::MAX);
        self.since.store(micros, Ordering::Relaxed);
    }

    /// The handshake begins, or it ended well.
    pub(super) fn handshake(&self, begins: bool) {
        self.header.store(begins, Ordering::Relaxed);
        self.changes();
    }

    /// From now on requests come by HTTP/2.
    pub(super) fn multiplex(&self) {
        self.multiplexed.store(true, Ordering::Relaxed);
        self.handshake(false);
    }

    pub(super) fn is_multiplexed(&self) -> bool {
        self.multiplexed.load(Ordering::Relaxed)
    }

    /// Bytes of requests arrived.
    pub(super) fn received(&self, len: usize) {
        if len > 0 && self.phase() == Phase::Idle && !self.is_multiplexed() {
            self.handshake(true);
        }
    }

    /// The kernel took bytes.
    pub(super) fn wrote(&self, len: usize) {
        self.write_blocked.store(false, Ordering::Relaxed);
        self.written.fetch_add(len as u64, Ordering::Relaxed);
    }

    /// The kernel takes no more for now.
    pub(super) fn blocked(&self) {
        self.write_blocked.store(true, Ordering::Relaxed);
    }

    /// Whether something that was handed to hyper is not with the kernel.
    pub(super) fn unsent(&self) -> bool {
        self.write_blocked.load(Ordering::Relaxed) || self.chunks.load(Ordering::Relaxed) > 0
    }

    pub(super) fn set_answer_due(&self, due: bool) {
        self.answer_due.store(due, Ordering::Relaxed);
    }

    /// Whether what is written next begins with the head of a handler's answer.
    pub(super) fn answer_due(&self) -> bool {
        self.answer_due.load(Ordering::Relaxed)
    }

    /// Nothing more may be written.
    pub(super) fn spoil(&self) {
        self.spoilt.store(true, Ordering::Relaxed);
    }

    /// Whether [`Self::spoil`] was called.
    pub(super) fn is_spoilt(&self) -> bool {
        self.spoilt.load(Ordering::Relaxed)
    }

    /// Asks the connection to end as soon as no request is in service.
    pub(crate) fn dismiss(&self) {
        self.leaving.store(true, Ordering::Relaxed);
        self.leave.notify_one();
    }

    /// Takes the place away from a connection that has no request in service. An idle one ends in good order; one whose header or
    /// handshake has begun is cut, since it would keep the place otherwise.
    pub(crate) fn evict(&self) {
        self.dismiss();
        if self.phase() == Phase::Header {
            self.evict.notify_one();
        }
    }

    /// Whether [`Self::dismiss`] was called.
    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    /// Returns when the connection is to end.
    pub(super) async fn dismissed(&self) {
        self.leave.notified().await;
    }

    /// Adds a part of a file, which hyper will write after those that were added before.
    pub(super) fn push_file(&self, source: &Arc<Source>) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.retain(|file| file.strong_count() > 0);
        files.push_back(Arc::downgrade(source));
    }

    /// The part of a file that is written next.
    pub(super) fn next_file(&self) -> Option<Arc<Source>> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match files.front()?.upgrade() {
                Some(source) if !source.is_done() => return Some(source),
                _ => drop(files.pop_front()),
            }
        }
    }

    /// Returns when the connection has to be cut, and dismisses it when it has been idle for too long.
    pub(super) async fn guard(&self, limits: &Limits) -> Cut {
        // A phase that begins after a look is seen at the next, which is before its own limit.
        let period = limits.header_timeout.min(limits.idle_timeout).min(limits.stall_timeout);
        let mut timer = std::pin::pin!(tokio::time::sleep(period));
        let mut progress = self.progress();
        let mut progressed = Instant::now();
        loop {
            tokio::select! {
                () = timer.as_mut() => {}
                () = self.evict.notified() => {
                    if self.phase() == Phase::Header {
                        return Cut::NoRoom;
                    }
                    continue;
                }
            }
            let now = Instant::now();
            let left = match self.phase() {
                Phase::Idle => {
                    let left = limits.idle_timeout.saturating_sub(self.waited());
                    if left.is_zero() {
                        self.dismiss();
                    }
                    left
                }
                Phase::Header => {
                    // One byte every nine seconds is the attack, so bytes are no excuse.
                    let left = limits.header_timeout.saturating_sub(self.waited());
                    if left.is_zero() {
                        return Cut::SlowHeader;
                    }
                    left
                }
                Phase::Busy => {
                    let fresh = self.progress();
                    if fresh != progress || !self.waits_for_client() {
                        progressed = now;
                    }
                    progress = fresh;
                    let left = limits.stall_timeout.saturating_sub(now - progressed);
                    if left.is_zero() {
                        return Cut::Stalled;
                    }
                    left
                }
            };
            timer.as_mut().reset(now + if left.is_zero() { period } else { left.min(period) });
        }
    }

    /// What moves while a client takes what we write: bytes, and parts of answers.
    fn progress(&self) -> (u64, u64) {
        let released = self.released.load(Ordering::Relaxed);
        // Over HTTP/2 the frames of the connection itself are no progress of an answer that waits for its window.
        let written = if self.awaits_window() { 0 } else { self.written.load(Ordering::Relaxed) };
        (written, released)
    }

    fn waits_for_client(&self) -> bool {
        self.write_blocked.load(Ordering::Relaxed) || self.awaits_window()
    }

    /// Whether all that is left of HTTP/2 requests is the end of their answers, for which the client gives no window. While a
    /// request has more to say, its own stream is watched.
    fn awaits_window(&self) -> bool {
        self.is_multiplexed()
            && self.requests.load(Ordering::Relaxed) == 0
            && self.chunks.load(Ordering::Relaxed) > 0
    }
}

/// What keeps a connection in [`Phase::Busy`].
#[derive(Debug)]
pub(super) struct Busy {
    watch: Arc<Watch>,
    request: bool,
}

impl Busy {
    /// A request, until the end of its answer's body.
    pub(super) fn request(watch: Arc<Watch>) -> Self {
        watch.header.store(false, Ordering::Relaxed);
        watch.requests.fetch_add(1, Ordering::Relaxed);
        Self { watch, request: true }
    }

    /// A part of an answer, until the kernel has it.
    pub(super) fn chunk(&self) -> Self {
        self.watch.chunks.fetch_add(1, Ordering::Relaxed);
        Self { watch: Arc::clone(&self.watch), request: false }
    }

    pub(super) fn watch(&self) -> &Arc<Watch> {
        &self.watch
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if self.request {
            self.watch.requests.fetch_sub(1, Ordering::Relaxed);
        } else {
            self.watch.chunks.fetch_sub(1, Ordering::Relaxed);
            self.watch.released.fetch_add(1, Ordering::Relaxed);
        }
        if !self.watch.in_use() {
            self.watch.changes();
        }
    }
}
