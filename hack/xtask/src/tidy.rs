//! `cargo xtask tidy`: the house rules that neither rustc nor clippy checks. Runs as a test too.
//!
//! Every violation is reported at once, each with its remedy, because a checker that stops at the first one costs a round per
//! violation. The rules are in CONTRIBUTING.md; each file here holds one of them.

mod budgets;
mod edges;
mod heads;
mod house;
mod links;
mod manifests;
mod metrics;
mod names;
mod words;

use std::fmt;

use anyhow::{Result, bail};

use crate::terminal::say;
use crate::workspace;
use house::House;

/// One breach of one rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Violation {
    /// File, with a line if there is one, or crate.
    place: String,
    /// What is wrong.
    what: String,
    /// What to do about it.
    remedy: &'static str,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}\n    {}", self.place, self.what, self.remedy)
    }
}

/// Checks everything and prints every violation.
pub(crate) fn run() -> Result<()> {
    let violations = violations()?;
    for violation in &violations {
        say(violation);
    }
    if !violations.is_empty() {
        bail!("the house is not tidy: {} violations", violations.len());
    }
    say("tidy: nothing to complain about");
    Ok(())
}

/// All violations, ordered by place.
fn violations() -> Result<Vec<Violation>> {
    let house = House::load(&workspace::root())?;
    let metadata = workspace::metadata()?;
    let mut found = Vec::new();
    found.extend(edges::check(&metadata));
    found.extend(manifests::check(&house, &metadata));
    found.extend(budgets::check(&house));
    found.extend(heads::check(&house));
    found.extend(names::check(&house));
    found.extend(words::check(&house));
    found.extend(links::check(&house));
    found.extend(metrics::check(&house, &metadata));
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_house_is_tidy() {
        let violations = super::violations().unwrap();
        let report: Vec<String> = violations.iter().map(ToString::to_string).collect();
        assert!(violations.is_empty(), "{} violations:\n{}", report.len(), report.join("\n"));
    }
}
