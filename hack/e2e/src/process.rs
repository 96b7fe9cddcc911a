//! A program of ours or of others as a child: log in a file, killed and reaped on drop.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait::wait_until;

/// How many of a log's last bytes go into an error message: enough for the last few dozen lines.
const LOG_TAIL_LEN: usize = 4096;

/// A command line that can be started, more than once if need be.
#[derive(Clone, Debug)]
pub struct Program {
    words: Vec<OsString>,
    envs: Vec<(OsString, OsString)>,
}

impl Program {
    /// A program without arguments.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self { words: vec![program.as_ref().to_owned()], envs: Vec::new() }
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, word: impl AsRef<OsStr>) -> Self {
        self.words.push(word.as_ref().to_owned());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args(mut self, words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.words.extend(words.into_iter().map(|word| word.as_ref().to_owned()));
        self
    }

    /// One more variable of the environment.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.envs.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// The same program behind words that replace themselves with it, such as `ip netns exec NAME`.
    #[must_use]
    pub fn behind(mut self, prefix: &[String]) -> Self {
        self.words.splice(0..0, prefix.iter().map(OsString::from));
        self
    }

    /// Starts it with both outputs appended to `log`.
    pub fn start(&self, name: &str, log: &Path) -> Result<Process> {
        let output = File::options().create(true).append(true).open(log);
        let output = output.with_context(|| format!("cannot write the log {}", log.display()))?;
        let child = self
            .command()
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot start {name}: {:?}", self.words))?;
        Ok(Process { name: name.to_owned(), child, log: log.to_owned() })
    }

    /// As the standard library's command, for callers that want its output.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.words[0]);
        // Our programs read settings from such variables, and refuse those that they do not know.
        let ours = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SHOAL_"));
        ours.for_each(|(name, _)| {
            command.env_remove(name);
        });
        command.args(&self.words[1..]).envs(self.envs.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// A started program.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What the caller called it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end (SIGTERM) and kills it when it has not within `patience`. The status when it ended by itself.
    pub fn stop(&mut self, patience: Duration) -> Option<ExitStatus> {
        if self.is_running() {
            let _ = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
        }
        let ended = wait_until(patience, || self.child.try_wait().ok().flatten());
        if ended.is_none() {
            self.kill();
        }
        ended
    }

    /// The last lines it wrote, for error messages.
    pub fn log_tail(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let tail = String::from_utf8_lossy(&text[text.len().saturating_sub(LOG_TAIL_LEN)..]).into_owned();
        format!("--- last lines of {} ---\n{tail}", self.log.display())
    }

    /// CPU time used so far (user and system) in seconds; `None` once it is gone.
    pub fn cpu_seconds(&self) -> Option<f64> {
        // Linux reports these in ticks of 1/100 s to user space on every architecture (USER_HZ).
        const TICKS_PER_SECOND: f64 = 100.0;
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id())).ok()?;
        // The program's name is in parentheses and may hold spaces; utime and stime are fields 14 and 15 of proc(5).
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
        let ticks: f64 = fields.next()?.parse::<f64>().ok()? + fields.next()?.parse::<f64>().ok()?;
        Some(ticks / TICKS_PER_SECOND)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_killed_on_drop_and_leaves_its_log() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let shell = Program::new("sh").args(["-c", "echo $WORD; exec sleep 600"]).env("WORD", "spoken");
        let mut process = shell.start("sleeper", &log).unwrap();
        wait_until(Duration::from_secs(10), || process.log_tail().contains("spoken").then_some(())).unwrap();
        assert!(process.is_running());
        assert!(process.cpu_seconds().is_some());
        let id = process.id();
        drop(process);
        assert!(!Path::new(&format!("/proc/{id}")).exists());
    }

    #[test]
    fn stop_returns_the_status_of_a_program_that_obeys() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let shell =
            Program::new("sh").args(["-c", "trap 'exit 7' TERM; echo up; while :; do sleep 0.05; done"]);
        let mut process = shell.start("obedient", &log).unwrap();
        wait_until(Duration::from_secs(10), || process.log_tail().contains("up\n").then_some(())).unwrap();
        assert_eq!(process.stop(Duration::from_secs(10)).and_then(|status| status.code()), Some(7));
    }
}
