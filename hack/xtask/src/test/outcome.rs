//! Runs `cargo test`, lets its output through, and counts from the harness's own summary lines.
//!
//! Where tests start real programs of others, or measure their own patience, a loaded machine can make one fail. Such a tier may run the few
//! that failed once more, by themselves. What then passes is no failure, but it is counted apart and named at the end, because it is
//! a defect of the test or a race of ours until somebody has looked.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::tier::Call;
use crate::terminal::{complain, say};

/// More failed tests of one tier than this are no accident, and are not run again.
const AGAIN_MAX: usize = 2;

/// How many tests ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) passed: usize,
    pub(super) failed: usize,
    pub(super) skipped: usize,
    /// Calls of cargo that failed without a failed test: something did not build, or a test program crashed.
    pub(super) broken: usize,
    /// Of those that passed: those that had failed at first.
    pub(super) unsteady: usize,
}

impl Counts {
    pub(super) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.broken += other.broken;
        self.unsteady += other.unsteady;
    }
}

/// Runs all calls, whatever becomes of the earlier ones. `again`: the few tests that fail are given a second chance.
pub(super) fn run(calls: &[Call], again: bool) -> Result<Counts> {
    let mut total = Counts::default();
    for call in calls {
        let (counts, failed) = run_command(call.command(&[]))?;
        let few = !failed.is_empty() && failed.len() <= AGAIN_MAX && failed.len() == counts.failed;
        total.add(if again && few { run_again(call, counts, &failed)? } else { counts });
    }
    Ok(total)
}

/// Runs what failed once more, by itself.
fn run_again(call: &Call, first: Counts, failed: &[String]) -> Result<Counts> {
    complain(format_args!("AGAIN: failed, and run once more: {}", failed.join(", ")));
    let (second, _) = run_command(call.command_of(failed))?;
    if second.failed > 0 || second.broken > 0 || second.passed < failed.len() {
        return Ok(first);
    }
    complain(format_args!("UNSTEADY: failed at first, passed when run again: {}", failed.join(", ")));
    Ok(Counts { passed: first.passed + failed.len(), failed: 0, unsteady: failed.len(), ..first })
}

/// What became of the tests, and the names of those that failed.
fn run_command(mut command: Command) -> Result<(Counts, Vec<String>)> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot run cargo test")?;
    let output = child.stdout.take().context("cargo test has no output")?;
    let (mut counts, mut failed) = (Counts::default(), Vec::new());
    for line in BufReader::new(output).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        counts.add(summary(&line).unwrap_or_default());
        failed.extend(failed_test(&line));
        if is_worth_showing(&line) {
            say(&line);
        }
    }
    let status = child.wait()?;
    if !status.success() && counts.failed == 0 {
        counts.broken = 1;
    }
    Ok((counts, failed))
}

/// The name in `test NAME ... FAILED`.
fn failed_test(line: &str) -> Option<String> {
    let name = line.strip_prefix("test ")?.strip_suffix(" ... FAILED")?;
    (!name.contains(' ')).then(|| name.to_owned())
}

/// How many tests the calls would run.
pub(super) fn count(calls: &[Call]) -> Result<usize> {
    let mut total = 0;
    for call in calls {
        let output = call.command(&["--list"]).output().context("cannot run cargo test --list")?;
        total +=
            String::from_utf8_lossy(&output.stdout).lines().filter(|line| line.ends_with(": test")).count();
    }
    Ok(total)
}

/// Passed and failed of `test result: ok. 6 passed; 0 failed; 0 ignored; …`. What is ignored is not skipped: a privileged test is
/// counted by its own tier, and the others are helpers that tests start, or measurements; their lines are shown with the reason.
fn summary(line: &str) -> Option<Counts> {
    let rest = line.strip_prefix("test result: ")?;
    let number = |word: &str| {
        let part = rest.split(['.', ';']).find(|part| part.trim().ends_with(word))?;
        part.split_whitespace().next()?.parse().ok()
    };
    Some(Counts { passed: number(" passed")?, failed: number(" failed")?, ..Counts::default() })
}

/// Everything but the sections of test binaries that had nothing to do.
fn is_worth_showing(line: &str) -> bool {
    !line.is_empty()
        && line != "running 0 tests"
        && !line.starts_with("test result: ok. 0 passed; 0 failed")
        && !line.contains(" ... ignored, privileged")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_harness_is_read() {
        let line = "test result: FAILED. 12 passed; 3 failed; 4 ignored; 0 measured; 1 filtered out; finished in 0.01s";
        assert_eq!(summary(line), Some(Counts { passed: 12, failed: 3, ..Counts::default() }));
        assert_eq!(summary("test tests::a ... ok"), None);
        assert_eq!(failed_test("test tests::a ... FAILED").as_deref(), Some("tests::a"));
        assert_eq!(failed_test("test tests::a ... ok"), None);
        assert_eq!(failed_test("test src/lib.rs - it (line 3) ... FAILED"), None, "not to be found by name");
    }
}
