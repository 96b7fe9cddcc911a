//! Runs `cargo test`, lets its output through, and counts from the harness's own summary lines.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use anyhow::{Context, Result};

use super::tier::Call;
use crate::terminal::say;

/// How many tests ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) passed: usize,
    pub(super) failed: usize,
    pub(super) skipped: usize,
    /// Calls of cargo that failed without a failed test: something did not build, or a test program crashed.
    pub(super) broken: usize,
}

impl Counts {
    pub(super) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.broken += other.broken;
    }
}

/// Runs all calls, whatever becomes of the earlier ones.
pub(super) fn run(calls: &[Call]) -> Result<Counts> {
    let mut total = Counts::default();
    for call in calls {
        total.add(run_call(call)?);
    }
    Ok(total)
}

fn run_call(call: &Call) -> Result<Counts> {
    let mut child = call.command(&[]).stdout(Stdio::piped()).spawn().context("cannot run cargo test")?;
    let output = child.stdout.take().context("cargo test has no output")?;
    let mut counts = Counts::default();
    for line in BufReader::new(output).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        counts.add(summary(&line).unwrap_or_default());
        if is_worth_showing(&line) {
            say(&line);
        }
    }
    let status = child.wait()?;
    if !status.success() && counts.failed == 0 {
        counts.broken = 1;
    }
    Ok(counts)
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
    }
}
