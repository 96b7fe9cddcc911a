//! Role origin: owns blobs and seeds them.
