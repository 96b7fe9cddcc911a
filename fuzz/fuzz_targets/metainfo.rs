//! See `shoal_fuzz::swarm::metainfo`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| shoal_fuzz::swarm::metainfo(data));
