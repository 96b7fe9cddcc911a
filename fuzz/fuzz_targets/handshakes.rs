//! See `shoal_fuzz::swarm::handshakes`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| shoal_fuzz::swarm::handshakes(data));
