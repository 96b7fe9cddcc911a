//! The tokio driver of the swarm protocol: connections, disk work, readers.
