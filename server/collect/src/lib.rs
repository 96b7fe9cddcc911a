//! What nobody needs any more goes, what is damaged is found: garbage collection, retention, scrub.

pub mod retention;
