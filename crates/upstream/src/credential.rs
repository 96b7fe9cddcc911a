//! Our credentials for an upstream, and where they come from.
//!
//! Files are read and helpers asked again from time to time, because what they give expires (ECR after twelve hours); so nothing has to be
//! restarted for a new password.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use shoal_config::Secret;
use tokio::time::Instant;

use crate::credential_program;
use crate::docker_config::DockerConfig;
use crate::name::RegistryName;

/// How long what a file or a helper gave is used. A helper may ask a cloud; a refused credential is asked for again at once.
const KEPT_FOR: Duration = Duration::from_secs(300);

/// The longest file with a password or token.
const FILE_LEN_MAX: u64 = 64 * 1024;

/// What is shown to an upstream. `Debug` shows no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// Nothing.
    Anonymous,
    /// Name and password.
    Basic {
        /// The name.
        username: String,
        /// The password.
        password: Secret,
    },
    /// A refresh token, to be exchanged at the token service.
    Identity(Secret),
    /// A token that is sent as it is.
    Bearer(Secret),
}

impl Credential {
    /// The header for it, when it is sent to the registry itself.
    pub(crate) fn header(&self) -> Option<HeaderValue> {
        let text = match self {
            Self::Basic { username, password } => {
                format!("Basic {}", STANDARD.encode(format!("{username}:{}", password.reveal())))
            }
            Self::Bearer(token) => format!("Bearer {}", token.reveal()),
            Self::Anonymous | Self::Identity(_) => return None,
        };
        let mut value = HeaderValue::try_from(text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    pub(crate) fn basic(username: &str, password: &str) -> Self {
        if username.is_empty() && password.is_empty() {
            return Self::Anonymous;
        }
        Self::Basic { username: username.to_owned(), password: Secret::new(password) }
    }
}

/// Where credentials come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CredentialSource {
    /// There are none.
    #[default]
    Anonymous,
    /// They are written in the configuration.
    Fixed(Credential),
    /// The password is in a file.
    PasswordFile {
        /// The name that goes with it.
        username: String,
        /// The file.
        path: PathBuf,
    },
    /// A token that is sent as it is, in a file.
    TokenFile(PathBuf),
    /// Docker's `config.json`.
    DockerConfig(PathBuf),
    /// A program `docker-credential-<name>`.
    Helper(String),
}

/// A source, and what it gave last.
#[derive(Debug)]
pub(crate) struct Credentials {
    source: CredentialSource,
    registry: RegistryName,
    kept: Mutex<Option<(Instant, Credential)>>,
}

impl Credentials {
    pub(crate) fn new(source: CredentialSource, registry: RegistryName) -> Self {
        Self { source, registry, kept: Mutex::default() }
    }

    /// What is to be shown now.
    pub(crate) async fn current(&self) -> Result<Credential, String> {
        match &self.source {
            CredentialSource::Anonymous => return Ok(Credential::Anonymous),
            CredentialSource::Fixed(credential) => return Ok(credential.clone()),
            _ => {}
        }
        if let Some((_, kept)) = self.kept().as_ref().filter(|(at, _)| at.elapsed() < KEPT_FOR) {
            return Ok(kept.clone());
        }
        let fresh = self.read().await?;
        *self.kept() = Some((Instant::now(), fresh.clone()));
        Ok(fresh)
    }

    /// Forgets what was given: the upstream does not take it.
    pub(crate) fn doubt(&self) {
        *self.kept() = None;
    }

    async fn read(&self) -> Result<Credential, String> {
        match &self.source {
            CredentialSource::Anonymous => Ok(Credential::Anonymous),
            CredentialSource::Fixed(credential) => Ok(credential.clone()),
            CredentialSource::PasswordFile { username, path } => {
                Ok(Credential::Basic { username: username.clone(), password: secret_in(path.clone()).await? })
            }
            CredentialSource::TokenFile(path) => Ok(Credential::Bearer(secret_in(path.clone()).await?)),
            CredentialSource::DockerConfig(path) => {
                DockerConfig::read(path.clone()).await?.credential(&self.registry).await
            }
            CredentialSource::Helper(name) => credential_program::get(name, &self.registry).await,
        }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Option<(Instant, Credential)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A bounded file as text.
pub(crate) async fn text_of(path: PathBuf, len_max: u64) -> Result<String, String> {
    let shown = path.display().to_string();
    let read = move || {
        let size = std::fs::metadata(&path)?.len();
        if size > len_max {
            return Err(std::io::Error::other(format!("{size} bytes are more than the limit of {len_max}")));
        }
        std::fs::read_to_string(&path)
    };
    let text = tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string())?;
    text.map_err(|error| format!("{shown} cannot be read: {error}"))
}

/// The content of a file without the line end that editors add.
async fn secret_in(path: PathBuf) -> Result<Secret, String> {
    let shown = path.display().to_string();
    let text = text_of(path, FILE_LEN_MAX).await?;
    let value = text.trim_end_matches(['\r', '\n']);
    if value.is_empty() { Err(format!("{shown} is empty")) } else { Ok(Secret::new(value)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_file_is_read_again_when_it_is_doubted_or_old() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        std::fs::write(&path, "first-pw\n").unwrap();
        let source = CredentialSource::PasswordFile { username: "bot".to_owned(), path: path.clone() };
        let credentials = Credentials::new(source, RegistryName::of(&"r.io".parse().unwrap()));
        let one = credentials.current().await.unwrap();
        assert_eq!(one, Credential::basic("bot", "first-pw"));
        std::fs::write(&path, "two").unwrap();
        assert_eq!(credentials.current().await.unwrap(), one);
        credentials.doubt();
        assert_eq!(credentials.current().await.unwrap(), Credential::basic("bot", "two"));
        std::fs::write(&path, "").unwrap();
        tokio::time::advance(KEPT_FOR).await;
        assert!(credentials.current().await.unwrap_err().contains("is empty"));
        assert!(!format!("{one:?} {credentials:?}").contains("first-pw"));
    }

    #[test]
    fn empty_credentials_are_none() {
        assert_eq!(Credential::basic("", ""), Credential::Anonymous);
        assert!(Credential::basic("a", "b").header().unwrap().is_sensitive());
    }
}
