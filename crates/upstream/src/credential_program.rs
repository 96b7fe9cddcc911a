//! Docker's credential helpers: `docker-credential-<name> get`, which reads a registry's name and writes JSON.

use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use shoal_config::Secret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use crate::credential::Credential;
use crate::docker_config::server_url;
use crate::name::RegistryName;

/// A helper may ask a cloud's service; a pull waits for it.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Tokens of clouds have a few kilobytes.
const OUTPUT_LEN_MAX: u64 = 64 * 1024;

/// What a helper says when it knows nothing. They write it to either output.
const NOTHING: &str = "credentials not found";

/// The user name that marks a refresh token.
const TOKEN_USER: &str = "<token>";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// Whether a helper's name is one: it becomes part of a program's name.
pub(crate) fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// Asks a helper.
pub(crate) async fn get(name: &str, registry: &RegistryName) -> Result<Credential, String> {
    if !is_name(name) {
        return Err(format!("`{name}` is no name of a credential helper"));
    }
    let program = format!("docker-credential-{name}");
    let asked = tokio::time::timeout(TIMEOUT, run(&program, registry)).await;
    asked.unwrap_or_else(|_elapsed| Err(format!("{program} gave no answer within {TIMEOUT:?}")))
}

async fn run(program: &str, registry: &RegistryName) -> Result<Credential, String> {
    let failed = |error: std::io::Error| format!("{program} cannot be run: {error}; is it in PATH?");
    let mut command = Command::new(program);
    command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read its input is one that knows the answer.
        _ = stdin.write_all(format!("{}\n", server_url(registry)).as_bytes()).await;
    }
    let mut output = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(OUTPUT_LEN_MAX).read_to_end(&mut output).await.map_err(failed)?;
    }
    let status = child.wait().await.map_err(failed)?;
    let text = String::from_utf8_lossy(&output);
    if !status.success() {
        return if text.contains(NOTHING) {
            Ok(Credential::Anonymous)
        } else {
            Err(format!("{program} ended with {status}"))
        };
    }
    let answer: Answer =
        serde_json::from_str(&text).map_err(|_| format!("{program} did not answer in JSON"))?;
    Ok(if answer.username == TOKEN_USER {
        Credential::Identity(Secret::new(answer.secret))
    } else {
        Credential::basic(&answer.username, &answer.secret)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    async fn ask(script: &str) -> Result<Credential, String> {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("docker-credential-test");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        // Another test's fork may hold the file open for writing for a moment (ETXTBSY).
        loop {
            match run(program.to_str().unwrap(), &RegistryName::of(&"r.io".parse().unwrap())).await {
                Err(why) if why.contains("busy") => tokio::task::yield_now().await,
                answer => return answer,
            }
        }
    }

    #[tokio::test]
    async fn a_helper_reads_the_registry_and_writes_json() {
        let script = r#"read server; [ "$1" = get ] && echo "{\"ServerURL\":\"$server\",\"Username\":\"$server-bot\",\"Secret\":\"s3cret\"}""#;
        assert_eq!(ask(script).await, Ok(Credential::basic("r.io-bot", "s3cret")));
        let token = r#"echo '{"Username":"<token>","Secret":"refresh"}'"#;
        assert_eq!(ask(token).await, Ok(Credential::Identity(Secret::new("refresh"))));
        assert_eq!(
            ask("echo credentials not found in native keychain; exit 1").await,
            Ok(Credential::Anonymous)
        );
    }

    #[tokio::test]
    async fn what_a_helper_says_wrongly_is_not_quoted() {
        for script in ["echo hunter2", "echo hunter2; exit 3"] {
            let why = ask(script).await.unwrap_err();
            assert!(!why.contains("hunter2"), "{why}");
        }
        let registry = RegistryName::of(&"r.io".parse().unwrap());
        assert!(get("../evil", &registry).await.is_err());
        assert!(get("is-not-installed-here", &registry).await.unwrap_err().contains("PATH"));
    }
}
