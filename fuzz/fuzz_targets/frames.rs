//! See `shoal_fuzz::swarm::frames`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| shoal_fuzz::swarm::frames(data));
