//! From credentials to a principal.
//!
//! What was verified a moment ago is looked up first and costs a microsecond. The rest is in the order of its price: signatures, then
//! passwords, which take a slot. Failures are counted, and who fails too often is turned away before anything dear is done.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{Credentials, Guard, Inner, Live};
use crate::accounts::OIDC_NAME;
use crate::claims;
use crate::header::Authorization;
use crate::principal::Principal;
use crate::rejection::Rejection;

/// How long a right password is remembered: a pull is over by then, and a password that was changed is gone with the reload anyway.
const PASSWORD_REMEMBERED: Duration = Duration::from_secs(60);
/// How long a good token is remembered at most. A key that is taken away is gone with the reload; those of external issuers go by time.
const TOKEN_REMEMBERED_MAX: Duration = Duration::from_secs(60);
/// The longest password in bytes that is checked; bcrypt looks at 72 bytes of it.
const PASSWORD_LEN_MAX: usize = 1024;

impl Guard {
    /// Who sent these credentials. No credentials are nobody's: [`Principal::anonymous`].
    ///
    /// # Errors
    /// When there are credentials that are not good, or too many were not.
    pub async fn identify(
        &self,
        credentials: &Credentials<'_>,
        now: SystemTime,
    ) -> Result<Principal, Rejection> {
        let Some(inner) = &self.0 else { return Ok(Principal::anonymous()) };
        let authorization = credentials.authorization.map(Authorization::parse).transpose()?.flatten();
        match authorization {
            None => Ok(inner.without_header(credentials)),
            Some(Authorization::Basic { name, password }) => {
                inner.basic(&name, &password, credentials.address, now).await
            }
            Some(Authorization::Bearer(token)) => inner.bearer(&token, credentials.address, now).await,
        }
    }
}

impl Inner {
    fn without_header(&self, credentials: &Credentials<'_>) -> Principal {
        credentials
            .certificate
            .filter(|_| self.settings.certificates)
            .and_then(|names| Principal::certificate(names.all()))
            .unwrap_or_else(Principal::anonymous)
    }

    /// A name and a password, or the token of an external issuer in place of a password.
    pub(super) async fn basic(
        &self,
        name: &str,
        password: &str,
        address: IpAddr,
        now: SystemTime,
    ) -> Result<Principal, Rejection> {
        if name == OIDC_NAME && !self.oidc.is_empty() {
            return self.external(password, address, now).await;
        }
        self.password(name, password, address, now).await?;
        Ok(Principal::account(name, self.settings.groups_of(name)))
    }

    async fn password(
        &self,
        name: &str,
        password: &str,
        address: IpAddr,
        now: SystemTime,
    ) -> Result<(), Rejection> {
        let live = self.live();
        let generation = live.generation.to_le_bytes();
        let at = self.fingerprints.of(&[b"password", &generation, name.as_bytes(), password.as_bytes()]);
        if self.passwords.get(&at, now).is_some() {
            return Ok(());
        }
        self.check_failures(address, Some(name), now)?;
        if password.len() > PASSWORD_LEN_MAX {
            return Err(self.failed(Rejection::Password, address, Some(name), now));
        }
        let slot = self.slots.enter(address).await?;
        // Others with the same credentials, right or wrong, may have been served while this one waited.
        if self.passwords.get(&at, now).is_some() {
            return Ok(());
        }
        self.check_failures(address, Some(name), now)?;
        let (target, known) = live.target(name, &self.fingerprints);
        let given = password.to_owned();
        let check = move || {
            // Held by the work itself: a client that goes away does not free the core.
            let _slot = slot;
            target.verify(&given)
        };
        let right = tokio::task::spawn_blocking(check)
            .await
            .map_err(|_| Rejection::Unavailable("the check ended early"))?;
        if right && known {
            self.passwords.put(at, (), now + PASSWORD_REMEMBERED);
            Ok(())
        } else {
            Err(self.failed(Rejection::Password, address, Some(name), now))
        }
    }

    async fn bearer(&self, token: &str, address: IpAddr, now: SystemTime) -> Result<Principal, Rejection> {
        let at = self.fingerprints.of(&[b"token", token.as_bytes()]);
        if let Some(principal) = self.tokens.get(&at, now) {
            return Ok(principal);
        }
        let live = self.live();
        let ours = claims::unverified(token)
            .and_then(|claims| live.issuer.clone().filter(|issuer| issuer.is_ours(&claims)));
        match ours {
            Some(issuer) => {
                let verified = issuer.verify(token, now).and_then(|(principal, until)| {
                    // An account that is gone takes its tokens along.
                    if live.is_gone(&principal) {
                        Err(Rejection::Token("its account is gone"))
                    } else {
                        Ok((principal, until))
                    }
                });
                let (principal, until) =
                    verified.map_err(|rejection| self.failed(rejection, address, None, now))?;
                self.tokens.put(at, principal.clone(), until.min(now + TOKEN_REMEMBERED_MAX));
                Ok(principal)
            }
            None => self.external(token, address, now).await,
        }
    }

    /// A token of an external issuer.
    pub(super) async fn external(
        &self,
        token: &str,
        address: IpAddr,
        now: SystemTime,
    ) -> Result<Principal, Rejection> {
        let at = self.fingerprints.of(&[b"external", token.as_bytes()]);
        if let Some(principal) = self.tokens.get(&at, now) {
            return Ok(principal);
        }
        let claims =
            (token.len() <= crate::header::TOKEN_LEN_MAX).then(|| claims::unverified(token)).flatten();
        let issuer = claims.and_then(|claims| self.oidc.iter().find(|external| external.issued(&claims)));
        let Some(issuer) = issuer else {
            let rejection = Rejection::Token("nobody who is known here has issued it");
            return Err(self.failed(rejection, address, None, now));
        };
        let (principal, until) = issuer
            .verify(token, now)
            .await
            .map_err(|rejection| self.failed(rejection, address, None, now))?;
        self.tokens.put(at, principal.clone(), until.min(now + TOKEN_REMEMBERED_MAX));
        Ok(principal)
    }

    fn check_failures(&self, address: IpAddr, name: Option<&str>, now: SystemTime) -> Result<(), Rejection> {
        match self.failures.wait(&self.fingerprints, address, name, now) {
            Some(retry_after) => Err(Rejection::TooMany { retry_after }),
            None => Ok(()),
        }
    }

    /// Counts a failure; what to say about it. A token that has merely expired is an honest client's.
    pub(super) fn failed(
        &self,
        rejection: Rejection,
        address: IpAddr,
        name: Option<&str>,
        now: SystemTime,
    ) -> Rejection {
        if matches!(rejection, Rejection::Unavailable(_) | Rejection::Token("it has expired")) {
            return rejection;
        }
        if let Err(closed) = self.check_failures(address, name, now) {
            return closed;
        }
        self.failures.note(&self.fingerprints, address, name, now);
        rejection
    }
}

impl Live {
    fn target(&self, name: &str, keys: &crate::memo::Fingerprints) -> (crate::password::Hash, bool) {
        match &self.accounts {
            Some(accounts) => accounts.target(name, keys),
            None => (crate::password::Hash::decoy(), false),
        }
    }

    /// Whether a token is for an account that is not there any more.
    fn is_gone(&self, principal: &Principal) -> bool {
        let known = |accounts: &Arc<crate::accounts::Accounts>| accounts.get(&principal.name).is_some();
        principal.source == crate::principal::Source::Account && !self.accounts.as_ref().is_some_and(known)
    }
}
