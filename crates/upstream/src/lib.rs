//! Foreign registries (upstreams): whom we may ask, with whose credentials, by which way, and what of the answer is believed.
//!
//! Goals: a name that a stranger chose (`?ns=`, a redirect, a token realm) never becomes a connection into our own network; credentials
//! never leave for another host, over a downgrade or into a log; every wait and every answer is bounded; an upstream that says "not so
//! fast" is left alone for as long as it says. Non-goals: where content is kept and how old it may be (the server's room `mirrored`), how
//! it spreads (the swarm). The price of the guard: names are resolved here and not by the HTTP library, and a host that nobody configured
//! is asked over HTTPS on port 443 only.
//!
//! [`Upstreams`] is the allow-list, [`Upstream`] one registry behind it.

mod address;
mod blob;
mod challenge;
mod credential;
mod credential_program;
mod dialer;
mod docker_config;
mod error;
mod list;
mod location;
mod manifest;
mod name;
mod options;
mod pause;
mod proxy;
mod quota;
mod set;
mod token;
mod upstream;

pub use blob::BlobStream;
pub use credential::{Credential, CredentialSource};
pub use docker_config::DockerConfig;
pub use error::{UpstreamError, UpstreamErrorKind};
pub use list::{ListPage, Listed};
pub use manifest::{ManifestHead, UpstreamManifest};
pub use name::{ParsePatternError, RegistryName, RegistryPattern};
pub use options::{Timeouts, UpstreamOptions, UpstreamTls};
pub use proxy::{ParseProxyError, Proxy, ProxyChoice, ProxyEnvironment};
pub use set::{ConfigureError, Upstreams};
pub use upstream::{Challenged, Upstream};
