//! Content-addressed blobs on one disk: upload, partial, complete, evicted.
