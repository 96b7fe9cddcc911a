//! The `WWW-Authenticate` header: where to get a token and for what, in the form that Docker's clients parse.

use super::Guard;
use crate::rejection::Rejection;
use crate::scope::Scope;

impl Guard {
    /// Whether clients get tokens here.
    pub fn has_tokens(&self) -> bool {
        self.0.as_ref().is_some_and(|inner| inner.live().issuer.is_some())
    }

    /// The value of `WWW-Authenticate`. `base` is the scheme and host by which the client reached us (`https://registry.example`); the
    /// caller has checked that it is one. `rejection`: what was wrong with the credentials that came.
    pub fn challenge(&self, scopes: &[Scope], base: &str, rejection: Option<&Rejection>) -> String {
        let live = self.0.as_ref().map(|inner| inner.live());
        let Some(issuer) = live.and_then(|live| live.issuer.clone()) else {
            return r#"Basic realm="shoal", charset="UTF-8""#.to_owned();
        };
        let settings = issuer.settings();
        let realm = settings.realm.clone().unwrap_or_else(|| format!("{base}/token"));
        let mut challenge = format!(r#"Bearer realm="{realm}",service="{}""#, settings.service);
        if !scopes.is_empty() {
            let scopes: Vec<String> = scopes.iter().map(ToString::to_string).collect();
            challenge.push_str(&format!(r#",scope="{}""#, scopes.join(" ")));
        }
        let error = match rejection {
            Some(Rejection::Token(_)) => Some("invalid_token"),
            Some(Rejection::Malformed(_)) => Some("invalid_request"),
            _ => None,
        };
        if let Some(error) = error {
            challenge.push_str(&format!(r#",error="{error}""#));
        }
        challenge
    }

    /// The challenge to a token that is good but does not include what was asked for.
    pub fn scope_challenge(&self, scopes: &[Scope], base: &str) -> String {
        format!(r#"{},error="insufficient_scope""#, self.challenge(scopes, base, None))
    }

    /// The challenge of the token endpoint itself, which wants a name and a password.
    pub fn basic_challenge(&self) -> String {
        r#"Basic realm="shoal", charset="UTF-8""#.to_owned()
    }
}
