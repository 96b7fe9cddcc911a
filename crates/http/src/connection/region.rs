//! A part of a file inside hyper's write queue, without its bytes.
//!
//! hyper queues the parts of a body and hands slices of them to the socket. A [`Region`] shows it slices of a placeholder, and the
//! socket, which knows the placeholder by its address, sends as many bytes of the file instead (`sendfile`). The bytes of the
//! placeholder are never looked at. This works because hyper's HTTP/1 connection queues bodies and never copies them when the socket
//! takes vectored writes (`WriteStrategy::Queue` in its `proto/h1/io.rs`). The price is to depend on that. So tests compare what
//! arrives byte for byte, and a region notices when hyper moves on over bytes that the socket has not sent: the connection is cut
//! before a zero of the placeholder reaches anybody.

use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use bytes::Buf;

/// The most that one call sends. Larger ones save nothing, and keep others on the same thread waiting.
pub(super) const SEND_LEN_MAX: usize = 512 * 1024;

/// What hyper sees. Allocated zeroed, so no memory is behind these pages as nobody reads them.
static PLACEHOLDER: LazyLock<Box<[u8]>> = LazyLock::new(|| vec![0; SEND_LEN_MAX].into_boxed_slice());

/// Whether a slice is one that a [`Region`] shows.
pub(super) fn is_placeholder(slice: &[u8]) -> bool {
    PLACEHOLDER.as_ptr_range().contains(&slice.as_ptr())
}

/// Where the bytes of a region are.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) file: Arc<File>,
    position: AtomicU64,
    /// Up to here the socket has sent the file.
    sent: AtomicU64,
    done: AtomicBool,
}

impl Source {
    /// The first byte that was not sent.
    pub(super) fn position(&self) -> u64 {
        self.position.load(Ordering::Relaxed)
    }

    /// The socket sent `len` bytes.
    pub(super) fn sent(&self, len: usize) {
        self.sent.fetch_add(len as u64, Ordering::Relaxed);
    }

    /// Whether hyper needs no more of it.
    pub(super) fn is_done(&self) -> bool {
        self.done.load(Ordering::Relaxed)
    }
}

/// A part of a file in hyper's queue. hyper's own count of what was written moves it on.
#[derive(Debug)]
pub(super) struct Region {
    source: Arc<Source>,
    left: usize,
}

impl Region {
    pub(super) fn new(file: Arc<File>, offset: u64, len: usize) -> Self {
        let (position, sent) = (AtomicU64::new(offset), AtomicU64::new(offset));
        Self { source: Arc::new(Source { file, position, sent, done: AtomicBool::new(false) }), left: len }
    }

    /// Whether hyper took bytes of the placeholder for content.
    pub(super) fn was_copied(&self) -> bool {
        self.source.position() > self.source.sent.load(Ordering::Relaxed)
    }

    pub(super) fn source(&self) -> &Arc<Source> {
        &self.source
    }
}

impl Buf for Region {
    fn remaining(&self) -> usize {
        self.left
    }

    fn chunk(&self) -> &[u8] {
        &PLACEHOLDER[..self.left.min(SEND_LEN_MAX)]
    }

    fn advance(&mut self, count: usize) {
        self.left -= count;
        self.source.position.fetch_add(count as u64, Ordering::Relaxed);
        if self.left == 0 {
            self.source.done.store(true, Ordering::Relaxed);
        }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // Dropped before its end when the answer announced fewer bytes.
        self.source.done.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(len: usize) -> Region {
        Region::new(Arc::new(tempfile::tempfile().unwrap()), 100, len)
    }

    #[test]
    fn shows_placeholders_and_follows_what_was_written() {
        let mut region = region(SEND_LEN_MAX + 10);
        let source = Arc::clone(region.source());
        assert_eq!(region.chunk().len(), SEND_LEN_MAX);
        assert!(is_placeholder(region.chunk()));
        region.advance(SEND_LEN_MAX);
        assert!(is_placeholder(region.chunk()) && !source.is_done());
        assert_eq!((region.remaining(), source.position()), (10, 100 + SEND_LEN_MAX as u64));
        region.advance(10);
        assert!(source.is_done());
    }

    #[test]
    fn a_region_that_is_dropped_early_is_done() {
        let cut = region(10).take(5);
        let source = Arc::clone(cut.get_ref().source());
        assert!(is_placeholder(cut.chunk()));
        drop(cut);
        assert!(source.is_done());
    }

    #[test]
    fn a_copy_is_noticed() {
        let mut sent = region(10);
        sent.source().sent(4);
        sent.advance(4);
        assert!(!sent.was_copied());
        let _zeros = sent.copy_to_bytes(1);
        assert!(sent.was_copied());
    }

    #[test]
    fn other_bytes_are_no_placeholder() {
        assert!(!is_placeholder(&[0; 16]) && !is_placeholder(&[]));
    }
}
