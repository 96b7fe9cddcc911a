//! See `shoal_fuzz::identity::grants`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| shoal_fuzz::identity::grants(data));
