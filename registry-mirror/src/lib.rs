//! shoal-agent: the OCI mirror and swarm peer on every machine.
