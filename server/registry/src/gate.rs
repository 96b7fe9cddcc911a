//! The gate at the top of every request: who asks, and may they.
//!
//! A request without rights is turned away before anything else is looked at, so its answer depends on who asks and on what the policy says
//! of the name, and never on what is stored. What only a handler can decide (which tags move, where a mount takes from) it
//! asks [`Access`]. Everything passes when no authentication is configured.
//!
//! Who has not said who they are gets 401 and a challenge, always: clients hold their credentials back until they are asked.
//! Who has, and may not write, gets 403. Who may not even read gets the answer that an empty registry would give.

mod base;
mod need;

use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use http::{HeaderMap, StatusCode, Uri, header};
use serde_json::json;
use shoal_auth::{
    Action, CertificateNames, Credentials, Decision, Denial, Guard, Origin, Principal, Rejection, Scope,
};
use shoal_http::{Connection, Request};
use shoal_oci::{ErrorCode, Reference, Repository, Route, Tag};

use crate::context::Context;
use crate::error::{self, Refusal};
use need::Need;

/// Who asks, for handlers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Access {
    guard: Guard,
    /// `None` when nobody was asked.
    principal: Option<Principal>,
    address: Option<IpAddr>,
}

/// Why the answer is a refusal, as one word; in the extensions of the answer, for whoever keeps records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Denied(pub(crate) &'static str);

/// What a request came with, and by which way.
pub(crate) struct Caller<'a> {
    headers: &'a HeaderMap,
    uri: &'a Uri,
    address: IpAddr,
    secure: bool,
    trusted: bool,
    certificate: Option<CertificateNames>,
}

impl<'a> Caller<'a> {
    pub(crate) fn of(guard: &Guard, request: &'a Request, peer: SocketAddr) -> Self {
        let connection = request.extensions().get::<Connection>();
        let certificate = connection.and_then(|connection| connection.certificate.as_deref());
        let secure = connection.is_some_and(|connection| connection.secure);
        let trusted = guard.trusts(peer.ip());
        Self {
            headers: request.headers(),
            uri: request.uri(),
            address: base::client_address(guard, request.headers(), peer.ip()),
            secure,
            trusted,
            certificate: certificate.map(|names| CertificateNames {
                common_name: names.common_name.clone(),
                dns: names.dns.clone(),
                uris: names.uris.clone(),
                emails: names.emails.clone(),
            }),
        }
    }

    /// The credentials. A header that is there twice, or is no text, is as good as a wrong one.
    pub(crate) fn credentials(&self) -> Result<Credentials<'_>, Rejection> {
        let mut values = self.headers.get_all(header::AUTHORIZATION).iter();
        let authorization = match (values.next(), values.next()) {
            (None, _) => None,
            (Some(value), None) => Some(
                value.to_str().map_err(|_| Rejection::Malformed("the Authorization header is not text"))?,
            ),
            (Some(_), Some(_)) => {
                return Err(Rejection::Malformed("the Authorization header is there twice"));
            }
        };
        Ok(Credentials { authorization, certificate: self.certificate.as_ref(), address: self.address })
    }

    /// Scheme and host by which the request reached us.
    fn base(&self) -> String {
        base::base(self.headers, self.uri, self.secure, self.trusted)
    }

    pub(crate) const fn address(&self) -> IpAddr {
        self.address
    }
}

/// Lets a request pass or refuses it.
pub(crate) async fn enter(
    cx: &Context,
    route: &Route,
    request: &Request,
    peer: SocketAddr,
) -> Result<Access, Refusal> {
    let guard = &cx.options.guard;
    if guard.is_open() {
        return Ok(Access::default());
    }
    let caller = Caller::of(guard, request, peer);
    let need = Need::of(route, request.method(), cx.options.delete_enabled);
    let identified = match caller.credentials() {
        Ok(credentials) => guard.identify(&credentials, SystemTime::now()).await,
        Err(rejection) => Err(rejection),
    };
    let principal = match identified {
        Ok(principal) => principal,
        Err(rejection) => {
            let reference = reference(route);
            let denial = need.denial(route, reference.as_deref(), caller.address);
            guard.report(&Denial { action: "login", reason: rejection.as_str(), ..denial });
            let scopes = need.scopes(route, caller.uri.query());
            let challenge = guard.challenge(&scopes, &caller.base(), Some(&rejection));
            return Err(rejected(&rejection, challenge));
        }
    };
    let access = Access { guard: guard.clone(), principal: Some(principal), address: Some(caller.address) };
    access.pass(need, route, &caller)?;
    Ok(access)
}

impl Access {
    fn pass(&self, need: Need, route: &Route, caller: &Caller<'_>) -> Result<(), Refusal> {
        let Some(principal) = &self.principal else { return Ok(()) };
        let decision = need.decide(&self.guard, principal, route);
        if decision == Decision::Allowed {
            return Ok(());
        }
        let reference = reference(route);
        let denial = need.denial(route, reference.as_deref(), caller.address);
        let report = |reason| self.guard.report(&Denial { principal: Some(principal), reason, ..denial });
        if principal.is_anonymous() || decision == Decision::OutOfScope {
            let with_token = principal.origin == Origin::Token;
            let reason = if with_token { "insufficient_scope" } else { "missing_credentials" };
            // The first request of every client is one without credentials to `/v2/`: that is no refusal but a greeting.
            if need != Need::Login {
                report(reason);
            }
            let (scopes, base) = (need.scopes(route, caller.uri.query()), caller.base());
            let challenge = if with_token {
                self.guard.scope_challenge(&scopes, &base)
            } else {
                self.guard.challenge(&scopes, &base, None)
            };
            let refusal = Refusal::new(ErrorCode::Unauthorized, "authentication is needed for this");
            return Err(challenged(refusal, challenge).denied(reason));
        }
        report("policy");
        Err(need.refusal(route).denied("policy"))
    }

    /// Whether whoever asks may do `action` in `repository`.
    pub(crate) fn may(&self, action: Action, repository: &Repository) -> bool {
        self.principal.as_ref().is_none_or(|principal| self.guard.may(principal, action, repository))
    }

    /// Whether the list of repositories shows `repository`.
    pub(crate) fn sees(&self, repository: &Repository) -> bool {
        self.principal.as_ref().is_none_or(|principal| self.guard.sees(principal, repository))
    }

    /// Whom the request was made as; empty when nobody was asked.
    pub(crate) fn name(&self) -> &str {
        self.principal.as_ref().map_or("", |principal| principal.name.as_str())
    }

    /// Whether everybody may do everything.
    pub(crate) const fn is_open(&self) -> bool {
        self.principal.is_none()
    }

    /// The repositories that whoever asks may pull from and that their token names; `None` when it names none because there is no token.
    pub(crate) fn scoped_for_pull(&self) -> Option<Vec<Repository>> {
        let scopes = self.principal.as_ref()?.scopes()?;
        let named = scopes.iter().filter_map(Scope::as_repository);
        Some(named.filter(|repository| self.may(Action::Pull, repository)).collect())
    }

    /// Those of `tags` that stay where they are against the wish of whoever asks.
    pub(crate) fn immutable<'a>(
        &self,
        repository: &Repository,
        tags: impl IntoIterator<Item = &'a Tag>,
    ) -> Vec<Tag> {
        let Some(principal) = &self.principal else { return Vec::new() };
        let stays = |tag: &&Tag| self.guard.is_immutable(principal, repository, tag);
        tags.into_iter().filter(stays).cloned().collect()
    }

    /// Whether some tag of `repository` could stay where it is against the wish of whoever asks.
    pub(crate) fn has_immutable(&self, repository: &Repository) -> bool {
        self.principal.as_ref().is_some_and(|principal| self.guard.has_immutable(principal, repository))
    }

    /// Reports a refusal that a handler has decided, and gives it.
    pub(crate) fn deny(
        &self,
        action: Action,
        repository: &Repository,
        reference: &str,
        reason: &'static str,
        refusal: Refusal,
    ) -> Refusal {
        if let (Some(principal), Some(address)) = (&self.principal, self.address) {
            self.guard.report(&Denial {
                principal: Some(principal),
                address,
                action: action.as_str(),
                repository: Some(repository),
                reference: Some(reference),
                reason,
            });
        }
        refusal.denied(reason)
    }
}

/// The answer to credentials that are not good.
pub(crate) fn rejected(rejection: &Rejection, challenge: String) -> Refusal {
    let refusal = |code| Refusal::new(code, rejection.to_string()).denied(rejection.as_str());
    match rejection {
        Rejection::TooMany { retry_after } => refusal(ErrorCode::TooManyRequests)
            .with_header("retry-after", retry_after.as_secs().max(1).to_string()),
        Rejection::Unavailable(_) => error::unavailable(rejection.to_string()),
        Rejection::Missing | Rejection::Password | Rejection::Token(_) | Rejection::Malformed(_) => {
            challenged(refusal(ErrorCode::Unauthorized), challenge)
        }
    }
}

fn challenged(refusal: Refusal, challenge: String) -> Refusal {
    refusal.with_status(StatusCode::UNAUTHORIZED).with_header("www-authenticate", challenge)
}

/// The answer to somebody who may not do it.
pub(crate) fn forbidden(action: &str, repository: Option<&Repository>) -> Refusal {
    Refusal::new(ErrorCode::Denied, "you have no right to do this")
        .with_detail(json!({ "action": action, "repository": repository }))
}

/// The answer to somebody who may not know what is there: that of a registry where nothing is.
fn hidden(route: &Route) -> Refusal {
    match route {
        Route::Blob { digest, .. } => error::blob_unknown(digest),
        Route::Manifest { reference, .. } => error::manifest_unknown(reference),
        _ => error::name_unknown(route.repository()),
    }
}

/// What a route names inside its repository, for records.
fn reference(route: &Route) -> Option<String> {
    match route {
        Route::Blob { digest, .. } => Some(digest.to_string()),
        Route::Manifest { reference: Reference::Tag(tag), .. } => Some(tag.to_string()),
        Route::Manifest { reference: Reference::Digest(digest), .. } => Some(digest.to_string()),
        Route::Referrers { subject, .. } => Some(subject.to_string()),
        Route::Upload { id, .. } => Some(id.clone()),
        _ => None,
    }
}
