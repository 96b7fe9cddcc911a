//! See `shoal_fuzz::identity::authorizations`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| shoal_fuzz::identity::authorizations(data));
