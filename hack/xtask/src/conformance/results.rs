//! The suite's `junit.xml`, as far as we need it: the counts of the whole, and the names of what did not pass.

use anyhow::{Context, Result};

/// What one run of the suite says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Results {
    pub(super) total: u64,
    pub(super) failed: u64,
    pub(super) errors: u64,
    /// The server said that it does not do this.
    pub(super) skipped: u64,
    /// Switched off by the suite's own configuration.
    pub(super) disabled: u64,
    /// Names of cases that failed, were skipped or could not run.
    pub(super) not_passed: Vec<String>,
}

impl Results {
    /// Reads the file. It is written by a program with one element start per line; no general XML is understood.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let suite = text.lines().map(str::trim_start).find(|line| line.starts_with("<testsuite "));
        let suite = suite.context("there is no <testsuite>")?;
        let count = |name| attribute(suite, name).map_or(Ok(0), str::parse);
        let cases = text.lines().map(str::trim_start).filter(|line| line.starts_with("<testcase "));
        let not_passed = cases.filter(|line| attribute(line, "status") != Some("passed"));
        let describe = |line: &str| {
            let (name, status) = (attribute(line, "name"), attribute(line, "status"));
            format!("{} {}", status.unwrap_or("unknown"), name.unwrap_or("a case without a name"))
        };
        Ok(Self {
            total: attribute(suite, "tests").context("there is no number of tests")?.parse()?,
            failed: count("failures")?,
            errors: count("errors")?,
            skipped: count("skipped")?,
            disabled: count("disabled")?,
            not_passed: not_passed.map(describe).collect(),
        })
    }

    pub(super) fn passed(&self) -> u64 {
        self.total.saturating_sub(self.failed + self.errors + self.skipped + self.disabled)
    }

    /// Whether everything that was not switched off passed, and something did.
    pub(super) fn is_clean(&self) -> bool {
        self.failed + self.errors + self.skipped == 0 && self.passed() > 0
    }
}

/// The value of an attribute in the line of an element's start.
fn attribute<'line>(line: &'line str, name: &str) -> Option<&'line str> {
    let start = line.find(&format!(" {name}=\""))? + name.len() + 3;
    let end = line[start..].find('"')?;
    Some(&line[start..start + end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_names_are_read() {
        let text = r#"<testsuites time="2.2" tests="9">
  <testsuite name="OCI Conformance Test" tests="9" failures="2" errors="0" skipped="1" disabled="2" time="2.2">
    <testcase name="OCI Conformance Test/ping" classname="" time="0.001" status="passed">
    <testcase name="OCI Conformance Test/mount" classname="" time="0.001" status="skipped">
"#;
        let results = Results::parse(text).unwrap();
        assert_eq!((results.passed(), results.failed, results.skipped, results.disabled), (4, 2, 1, 2));
        assert_eq!(results.not_passed, ["skipped OCI Conformance Test/mount"]);
        assert!(!results.is_clean());
    }

    #[test]
    fn nothing_at_all_is_not_clean() {
        let none = r#"<testsuite name="x" tests="0" failures="0" errors="0" time="0">"#;
        assert!(!Results::parse(none).unwrap().is_clean());
        assert!(Results::parse("<html>").is_err());
    }
}
