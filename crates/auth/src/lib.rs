//! Who asks, and what they may do: credentials, tokens, policy.
//!
//! Goals: one answer to "may this request do that", whatever it came with; nothing that a client sends makes the work or the memory
//! unbounded; no secret is ever shown. Non-goals: network (documents of external issuers are handed in by a [`KeySource`]), routes
//! (the registry says which action a request is), keeping accounts (a file is read, never written).
//! The price: an access token cannot be called back before it expires; the policy is asked at every use, so only the identity can be
//! a few minutes old, never the rights.

mod accounts;
mod action;
mod claims;
mod denials;
mod failures;
mod files;
mod guard;
mod header;
mod key;
mod memo;
mod oidc;
mod password;
mod pattern;
mod policy;
mod principal;
mod rejection;
mod scope;
mod slots;
mod token;

pub use action::{Action, Actions};
pub use denials::{Denial, Denials, LoggedDenials};
pub use failures::FailureLimits;
pub use guard::{CertificateNames, Credentials, Decision, Grant, Guard, Settings, TokenReply, TokenRequest};
pub use oidc::{KeyLocation, KeySource, OidcSettings};
pub use password::password_line;
pub use policy::{Immutable, Policy, PolicyError, Rule};
pub use principal::{Origin, Principal};
pub use rejection::{AuthError, Rejection};
pub use scope::{Scope, ScopeError};
pub use token::TokenSettings;
