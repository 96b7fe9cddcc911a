//! The work of the token endpoint, and its answer in Docker's form.

use std::fmt;
use std::time::SystemTime;

use serde_json::json;

use super::{Credentials, Grant, Guard, Inner, Live, TokenRequest};
use crate::action::{Action, Actions};
use crate::claims;
use crate::principal::{Origin, Principal, Source};
use crate::rejection::Rejection;
use crate::scope::Scope;
use crate::token::{Issuer, stamp};
use subtle::ConstantTimeEq;

/// A token, and what goes with it. `Debug` does not show it.
pub struct TokenReply {
    /// Whom it is for.
    pub principal: Principal,
    /// What it includes.
    pub scopes: Vec<Scope>,
    token: String,
    refresh_token: Option<String>,
    expires_in: u64,
    issued_at: SystemTime,
}

impl TokenReply {
    /// The JSON body.
    pub fn to_json(&self) -> String {
        let scope: Vec<String> = self.scopes.iter().map(ToString::to_string).collect();
        let mut body = json!({
            "token": self.token,
            "access_token": self.token,
            "token_type": "Bearer",
            "expires_in": self.expires_in,
            "issued_at": rfc3339(claims::seconds(self.issued_at)),
            "scope": scope.join(" "),
        });
        if let Some(refresh) = &self.refresh_token {
            body["refresh_token"] = json!(refresh);
        }
        body.to_string()
    }
}

impl Guard {
    /// Gives a token. Scopes that the policy does not give are left out without a word, as Docker's specification asks for.
    ///
    /// # Errors
    /// When the client does not show who it is, or nobody gets tokens here.
    pub async fn token(
        &self,
        request: TokenRequest,
        credentials: &Credentials<'_>,
        now: SystemTime,
    ) -> Result<TokenReply, Rejection> {
        let Some(inner) = &self.0 else {
            return Err(Rejection::Malformed("this registry needs no tokens"));
        };
        let live = inner.live();
        let issuer = live.issuer.clone().ok_or(Rejection::Malformed("this registry gives no tokens"))?;
        if request.service.as_ref().is_some_and(|service| *service != issuer.settings().service) {
            return Err(Rejection::Malformed("the token is asked for another service"));
        }
        let (principal, old_refresh) =
            self.holder(inner, &live, &issuer, request.grant, credentials, now).await?;
        if principal.is_anonymous() && !live.policy.gives_anything(&principal) {
            return Err(Rejection::Missing);
        }
        let scopes = granted(&live, &principal, &request.scopes);
        let refresh_token = match old_refresh {
            Some(old) => Some(old),
            None if request.offline => live.refresh(&issuer, &principal, now)?,
            None => None,
        };
        Ok(TokenReply {
            token: issuer.access(&principal, &scopes, now)?,
            expires_in: issuer.settings().lifetime.as_secs(),
            principal,
            scopes,
            refresh_token,
            issued_at: now,
        })
    }

    /// Whom the token will be for, and the refresh token that it was asked with.
    async fn holder(
        &self,
        inner: &Inner,
        live: &Live,
        issuer: &Issuer,
        grant: Grant,
        credentials: &Credentials<'_>,
        now: SystemTime,
    ) -> Result<(Principal, Option<String>), Rejection> {
        let address = credentials.address;
        match grant {
            Grant::Request => {
                let principal = self.identify(credentials, now).await?;
                // Otherwise a token of minutes could be made to last for ever.
                if principal.origin == Origin::Token {
                    return Err(Rejection::Token("tokens are not given for our own tokens"));
                }
                Ok((principal, None))
            }
            Grant::Password { name, password } => {
                Ok((inner.basic(&name, &password, address, now).await?, None))
            }
            Grant::Exchange(token) => Ok((inner.external(&token, address, now).await?, None)),
            Grant::Refresh(token) => {
                let name = live
                    .refreshed(issuer, &token, now)
                    .map_err(|rejection| inner.failed(rejection, address, None, now))?;
                Ok((Principal::account(&name, inner.settings.groups_of(&name)), Some(token)))
            }
        }
    }
}

impl Live {
    /// A refresh token for the holder of a password; nobody else gets one, because nobody else can be asked whether it still holds.
    fn refresh(
        &self,
        issuer: &Issuer,
        principal: &Principal,
        now: SystemTime,
    ) -> Result<Option<String>, Rejection> {
        let stored = self.accounts.as_ref().and_then(|accounts| accounts.get(&principal.name));
        match stored {
            Some(stored)
                if principal.source == Source::Account && !issuer.settings().refresh_lifetime.is_zero() =>
            {
                issuer.refresh(&principal.name, stored, now).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The name that a refresh token is for, if the password is still the one that it was given for.
    fn refreshed(&self, issuer: &Issuer, token: &str, now: SystemTime) -> Result<String, Rejection> {
        let refresh = issuer.verify_refresh(token, now)?;
        let stored = self.accounts.as_ref().and_then(|accounts| accounts.get(&refresh.name));
        let same =
            stored.is_some_and(|stored| stamp(stored).as_bytes().ct_eq(refresh.stamp.as_bytes()).into());
        if same { Ok(refresh.name) } else { Err(Rejection::Token("the account or its password has changed")) }
    }
}

/// What of `asked` the policy gives, each resource once.
fn granted(live: &Live, principal: &Principal, asked: &[Scope]) -> Vec<Scope> {
    let mut granted: Vec<Scope> = Vec::new();
    for scope in asked {
        let narrowed = match scope.as_repository() {
            Some(repository) => scope.narrowed(live.policy.rights(principal, &repository)),
            None if scope.is_catalog() && live.policy.gives_anything(principal) => {
                scope.narrowed([Action::Admin].into_iter().collect::<Actions>()).map(|_| Scope::catalog())
            }
            None => None,
        };
        let Some(narrowed) = narrowed else { continue };
        let same =
            granted.iter_mut().find(|other| other.kind == narrowed.kind && other.name == narrowed.name);
        match same {
            Some(other) => {
                for action in narrowed.actions {
                    if !other.actions.contains(&action) {
                        other.actions.push(action);
                    }
                }
            }
            None => granted.push(narrowed),
        }
    }
    granted
}

/// A time as RFC 3339 in UTC.
fn rfc3339(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days since 1 March of the year 0 of the proleptic Gregorian calendar, in eras of 400 years.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

impl fmt::Debug for TokenReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenReply")
            .field("principal", &self.principal)
            .field("scopes", &self.scopes)
            .field("token", &"<redacted>")
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_767_225_599, "2025-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(seconds), text);
        }
    }
}
