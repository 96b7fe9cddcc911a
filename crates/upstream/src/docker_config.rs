//! Docker's `config.json`: `auths`, `credHelpers`, `credsStore`, as `docker login` writes them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::Deserialize;
use shoal_config::Secret;

use crate::credential::{Credential, text_of};
use crate::credential_program;
use crate::name::RegistryName;

/// The longest file that is read.
const FILE_LEN_MAX: u64 = 1 << 20;

/// The key under which `docker login` keeps Docker Hub.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// A file that was read. Only what concerns registries.
#[derive(Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[derive(Default)]
pub struct DockerConfig {
    auths: BTreeMap<String, Entry>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

impl DockerConfig {
    /// Reads a file.
    ///
    /// # Errors
    /// In words for an operator, without the content.
    pub async fn read(path: PathBuf) -> Result<Self, String> {
        let shown = path.display().to_string();
        let text = text_of(path, FILE_LEN_MAX).await?;
        // serde's own message may quote what it stumbled over.
        serde_json::from_str(&text).map_err(|error| {
            format!("{shown} is not a Docker config.json (line {}, column {})", error.line(), error.column())
        })
    }

    /// The credential for a registry; anonymous when there is none. Helpers go before what is written in the file, as in Docker.
    ///
    /// # Errors
    /// When a helper fails, or an entry cannot be read.
    pub async fn credential(&self, registry: &RegistryName) -> Result<Credential, String> {
        if let Some(name) =
            self.cred_helpers.iter().find(|(key, _)| is_of(key, registry)).map(|(_, name)| name)
        {
            return credential_program::get(name, registry).await;
        }
        let entry = self.auths.iter().find(|(key, _)| is_of(key, registry)).map(|(_, entry)| entry);
        let written = entry.map(Entry::credential).transpose()?.flatten();
        match written {
            Some(credential) => Ok(credential),
            None if self.creds_store.is_empty() => Ok(Credential::Anonymous),
            None => credential_program::get(&self.creds_store, registry).await,
        }
    }
}

/// The name under which helpers and `auths` know a registry.
pub(crate) fn server_url(registry: &RegistryName) -> &str {
    if registry.as_str() == "docker.io" { HUB_KEY } else { registry.as_str() }
}

/// Keys are hosts, or URLs of old times.
fn is_of(key: &str, registry: &RegistryName) -> bool {
    let host = key.trim_start_matches("https://").trim_start_matches("http://");
    let host = host.split('/').next().unwrap_or_default();
    key == server_url(registry) || host.parse().is_ok_and(|host| RegistryName::of(&host) == *registry)
}

impl Entry {
    fn credential(&self) -> Result<Option<Credential>, String> {
        if !self.registrytoken.is_empty() {
            return Ok(Some(Credential::Bearer(Secret::new(self.registrytoken.as_str()))));
        }
        if !self.identitytoken.is_empty() {
            return Ok(Some(Credential::Identity(Secret::new(self.identitytoken.as_str()))));
        }
        if self.auth.is_empty() {
            let basic = Credential::basic(&self.username, &self.password);
            return Ok(Some(basic).filter(|credential| *credential != Credential::Anonymous));
        }
        let wrong = || "an `auth` in the Docker config.json is not base64 of name:password".to_owned();
        let decoded = STANDARD
            .decode(&self.auth)
            .or_else(|_| STANDARD_NO_PAD.decode(&self.auth))
            .map_err(|_| wrong())?;
        let text = String::from_utf8(decoded).map_err(|_| wrong())?;
        let (username, password) = text.split_once(':').ok_or_else(wrong)?;
        Ok(Some(Credential::basic(username, password.trim_end_matches('\0'))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn credential(json: &str, registry: &str) -> Result<Credential, String> {
        let config: DockerConfig = serde_json::from_str(json).unwrap();
        config.credential(&RegistryName::of(&registry.parse().unwrap())).await
    }

    #[tokio::test]
    async fn entries_are_found_under_their_old_and_new_names() {
        let json = r#"{"auths": {
            "https://index.docker.io/v1/": {"auth": "YWxpY2U6czNjcmV0"},
            "ghcr.io": {"auth": "Ym9iOnA6dw", "email": "x"},
            "https://r.corp:5000/v1/": {"username": "u", "password": "p"},
            "id.io": {"auth": "PGlkPjo=", "identitytoken": "refresh"},
            "empty.io": {}
        }, "HttpHeaders": {"X": "y"}}"#;
        assert_eq!(credential(json, "docker.io").await, Ok(Credential::basic("alice", "s3cret")));
        assert_eq!(credential(json, "registry-1.docker.io").await, Ok(Credential::basic("alice", "s3cret")));
        assert_eq!(credential(json, "ghcr.io").await, Ok(Credential::basic("bob", "p:w")));
        assert_eq!(credential(json, "r.corp:5000").await, Ok(Credential::basic("u", "p")));
        assert_eq!(credential(json, "id.io").await, Ok(Credential::Identity(Secret::new("refresh"))));
        for none in ["quay.io", "empty.io", "r.corp"] {
            assert_eq!(credential(json, none).await, Ok(Credential::Anonymous), "{none}");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_not_quoted() {
        let wrong = credential(r#"{"auths": {"a.io": {"auth": "c2VjcmV0"}}}"#, "a.io").await.unwrap_err();
        assert!(!wrong.contains("c2VjcmV0") && !wrong.contains("secret"), "{wrong}");
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        std::fs::write(&path, r#"{"auths": "hunter2"}"#).unwrap();
        let wrong = DockerConfig::read(path).await.err().unwrap();
        assert!(wrong.contains("config.json") && !wrong.contains("hunter2"), "{wrong}");
    }
}
