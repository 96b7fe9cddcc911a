//! shoal-agent: the OCI mirror and swarm peer on every machine.

pub mod namespace;
pub mod references;
