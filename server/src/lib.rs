//! shoal-server: the cluster side in one process.
