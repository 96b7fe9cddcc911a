//! What the fuzz targets call. Each file is also compiled into the tests of the room that it examines, which replay the corpora without
//! a fuzzer; hence the plain functions.

pub mod identity;
pub mod oci;
pub mod swarm;
