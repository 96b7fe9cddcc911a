//! A program in a node's namespace that waits for the starting shot: it says `ready`, takes one line on its standard input as the
//! shot, and says `done` when it has the blob. Whoever can do that can be measured.

use std::ffi::OsString;
use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// How long a program may take to be ready: an interpreter with its libraries, for 64 agents at once on a small machine.
const READY_TIMEOUT: Duration = Duration::from_secs(120);

/// A started program.
pub(super) struct Racer {
    child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

/// What a program said at the end, and when.
#[derive(Debug)]
pub(super) struct Finish {
    pub(super) shot: Instant,
    pub(super) done: Instant,
    /// What stands behind the word `done`.
    pub(super) words: String,
}

impl Racer {
    /// Starts a command line; its standard error goes to `log`.
    pub(super) fn start(words: &[OsString], log: &Path) -> Result<Self> {
        let (program, rest) = words.split_first().context("an empty command")?;
        let log = File::options().create(true).append(true).open(log)?;
        let mut command = Command::new(program);
        command.args(rest).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let input = child.stdin.take().context("a program without input")?;
        let output = child.stdout.take().context("a program without output")?;
        Ok(Self { child, input, lines: BufReader::new(output).lines() })
    }

    /// The process's id, as long as it runs.
    pub(super) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits for the word `ready`; whatever else is said before is ignored.
    pub(super) async fn ready(&mut self) -> Result<()> {
        let said = tokio::time::timeout(READY_TIMEOUT, self.line("ready")).await;
        said.context("not ready in time")?.map(drop)
    }

    /// Says a word.
    pub(super) async fn tell(&mut self, word: &str) -> Result<()> {
        Ok(self.input.write_all(format!("{word}\n").as_bytes()).await?)
    }

    /// Says a word and hears a line that begins with another.
    pub(super) async fn ask(&mut self, word: &str, answer: &str) -> Result<String> {
        self.tell(word).await?;
        self.line(answer).await
    }

    /// Fires the starting shot and waits for the word `done`.
    pub(super) async fn race(&mut self, patience: Duration) -> Result<Finish> {
        let shot = Instant::now();
        let said = tokio::time::timeout(patience, self.ask("go", "done")).await;
        let words = said.with_context(|| format!("not done after {patience:.0?}"))??;
        Ok(Finish { shot, done: Instant::now(), words })
    }

    /// The rest of the next line that begins with `word`.
    async fn line(&mut self, word: &str) -> Result<String> {
        while let Some(line) = self.lines.next_line().await? {
            if let Some(rest) = line.strip_prefix(word) {
                return Ok(rest.trim().to_owned());
            }
        }
        bail!("it ended without a line that begins with {word:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Racer {
        let words: Vec<OsString> = ["sh", "-c", script].map(OsString::from).to_vec();
        Racer::start(&words, Path::new("/dev/null")).unwrap()
    }

    #[tokio::test]
    async fn a_program_that_keeps_to_the_words_is_timed() {
        let mut racer =
            shell("echo warming up; echo ready; read shot; echo noise; echo done after $shot; cat");
        racer.ready().await.unwrap();
        let finish = racer.race(Duration::from_secs(10)).await.unwrap();
        assert_eq!(finish.words, "after go");
        assert!(finish.done >= finish.shot && racer.id().is_some());
    }

    #[tokio::test]
    async fn who_ends_early_or_stays_silent_is_an_error() {
        assert!(shell("echo steady").ready().await.is_err());
        let mut silent = shell("echo ready; cat >/dev/null");
        silent.ready().await.unwrap();
        assert!(silent.race(Duration::from_millis(20)).await.is_err());
    }
}
