//! Role registry: the OCI distribution API.
