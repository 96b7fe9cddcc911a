//! Programs of the machine, run to their end with a limit.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;

use super::root::Root;
use super::runtime::locate;

/// A question to a runtime.
pub(super) const ASK_TIMEOUT: Duration = Duration::from_secs(30);

/// How much of what a program says is repeated.
const WORDS_MAX: usize = 2000;

/// How a program ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) is_success: bool,
    pub(super) stdout: String,
    /// The end of what it said, or why it could not be run.
    pub(super) words: String,
}

/// Runs a program of the machine; `None` when it is not installed.
pub(super) async fn run(root: &Root, program: &str, words: &[&str], limit: Duration) -> Option<Ended> {
    run_with(root, program, words, &[], limit).await
}

/// The same with variables in its environment.
pub(super) async fn run_with(
    root: &Root,
    program: &str,
    words: &[&str],
    variables: &[(&str, &Path)],
    limit: Duration,
) -> Option<Ended> {
    let path = locate(root, program)?;
    let mut command = Command::new(path);
    command.args(words).envs(variables.iter().copied()).stdin(Stdio::null()).kill_on_drop(true);
    let ended = match tokio::time::timeout(limit, command.output()).await {
        Ok(Ok(output)) => ended(&output),
        Ok(Err(error)) => failed(format!("{program} cannot be run: {error}")),
        Err(_) => failed(format!("{program} {} was not done after {limit:?}", words.join(" "))),
    };
    Some(ended)
}

fn ended(output: &Output) -> Ended {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let all = text(&[output.stdout.as_slice(), &output.stderr].concat());
    let all = all.trim();
    let skipped = all.chars().count().saturating_sub(WORDS_MAX);
    let words = all.chars().skip(skipped).collect();
    Ended { is_success: output.status.success(), stdout: text(&output.stdout), words }
}

fn failed(words: String) -> Ended {
    Ended { is_success: false, stdout: String::new(), words }
}
