//! The fuzzers' corpora, replayed without a fuzzer: every input that reached a new branch or once failed.

#![allow(clippy::unwrap_used, reason = "clippy knows only the functions marked as tests, not their helpers")]
#![allow(unreachable_pub, reason = "the targets are public for the fuzzer's own crate")]

#[path = "../../../fuzz/src/swarm.rs"]
mod swarm;

use std::path::Path;

/// Runs every file of a corpus through its target.
fn replay(name: &str, target: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name);
    let mut count = 0;
    for entry in
        std::fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
    {
        target(&std::fs::read(entry.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count > 0, "{} is empty", directory.display());
}

#[test]
fn corpora_pass() {
    replay("metainfo", swarm::metainfo);
    replay("frames", swarm::frames);
    replay("handshakes", swarm::handshakes);
}
