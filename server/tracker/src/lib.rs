//! Role tracker: introduces peers.
