//! The guard of this server, built from the configuration; what it needs from outside (documents of external issuers); and the task
//! that reads its files again when they change.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use shoal_auth::{Denials, Guard, KeySource, Settings};
use shoal_http::{Client, ClientOptions, ClientTls, ClientTlsFiles, Shutdown};

use crate::config::auth::Auth;

/// How often files are looked at. A change counts when it was the same twice, so it is in force after four seconds at most.
const WATCH_PERIOD: Duration = Duration::from_secs(2);
/// How long an issuer may take to give its keys: somebody's login waits for it.
const KEYS_TIME_MAX: Duration = Duration::from_secs(5);
/// The largest document of an issuer.
const KEYS_LEN_MAX: usize = 1024 * 1024;

/// The guard that the configuration describes; an open one without a section `auth`.
pub(crate) async fn guard(
    auth: Option<&Auth>,
    data_directory: &Path,
    denials: Arc<dyn Denials>,
) -> Result<Guard> {
    let Some(auth) = auth else { return Ok(Guard::open()) };
    // Mistakes in it were reported with the rest of the configuration.
    let policy = auth.policy().unwrap_or_default();
    let settings = Settings {
        htpasswd: auth.htpasswd.clone(),
        groups: auth.groups.clone(),
        token: auth.token_settings(data_directory),
        oidc: auth.oidc.iter().map(crate::config::auth::Oidc::settings).collect(),
        certificates: auth.certificates,
        policy,
        failures: auth.failure_limits(),
        trusted_proxies: auth.trusted_proxies.clone(),
        denials,
    };
    let fetched = auth.oidc.iter().any(|oidc| oidc.jwks_file.is_none());
    let opening = move || -> Result<Guard> {
        let source: Option<Arc<dyn KeySource>> = if fetched { Some(Arc::new(Issuers::new()?)) } else { None };
        Guard::new(settings, source.as_ref()).map_err(|errors| {
            let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
            anyhow::anyhow!(lines.join("\n"))
        })
    };
    tokio::task::spawn_blocking(opening).await?.context("cannot set up authentication (auth)")
}

/// Reads the guard's files again when they change, until `shutdown`.
pub(crate) async fn watch(guard: Guard, shutdown: Shutdown) {
    if guard.is_open() {
        return;
    }
    let mut period = tokio::time::interval(WATCH_PERIOD);
    period.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.wait() => return,
            _ = period.tick() => {
                let guard = guard.clone();
                // A reload that panics is logged by the runtime; the next one tries again.
                _ = tokio::task::spawn_blocking(move || guard.reload_changed()).await;
            }
        }
    }
}

/// Documents of external issuers over HTTPS, with the system's authorities.
struct Issuers(Client);

impl Issuers {
    fn new() -> Result<Self> {
        let tls =
            ClientTls::new(ClientTlsFiles::default()).context("auth.oidc needs the system's authorities")?;
        Ok(Self(Client::new(&ClientOptions { tls: Some(tls), ..ClientOptions::default() })))
    }
}

#[async_trait]
impl KeySource for Issuers {
    async fn document(&self, url: &str) -> Result<Vec<u8>, String> {
        let bytes = self.0.get_bytes(url, KEYS_LEN_MAX, KEYS_TIME_MAX).await;
        bytes.map(|bytes| bytes.to_vec()).map_err(|error| error.to_string())
    }
}
