//! See `shoal_fuzz::oci::routes`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| shoal_fuzz::oci::routes(data));
