//! Role tags: reference to digest.
