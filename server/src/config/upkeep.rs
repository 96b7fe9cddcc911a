//! What the server does to what is stored, on no request: collect, retain, scrub.

use serde::{Deserialize, Serialize};
use shoal_collect::retention::Rule;
use shoal_collect::{CollectOptions, ScrubOptions};
use shoal_config::{ByteSize, ConfigError, Duration};
use shoal_oci::{RepositoryPattern, TagPattern};

/// Garbage collection.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Collect {
    /// The time between two collections; 0: only when asked (`shoalctl collect`).
    pub every: Duration,
    /// What was pushed, or told to a client, within this time is never collected. Longer than the longest push.
    pub grace: Duration,
}

/// Looking for damage.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scrub {
    /// The time from the end of one pass over all blobs to the next; 0: only when asked (`shoalctl scrub start`).
    pub every: Duration,
    /// Bytes read in a second at most, on average.
    pub rate: ByteSize,
}

/// Which tags stay; those that no rule is about stay for ever. The first rule that is about a tag decides.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Repositories it is about, as in `ci/**`.
    pub repositories: Vec<String>,
    /// Tags it is about, as in `pr-*`. Unset: all.
    pub tags: Vec<String>,
    /// Keep this many, the most recently pushed first.
    pub keep_last: Option<u32>,
    /// Keep what was pushed within this time.
    pub keep_pushed_within: Option<Duration>,
    /// Keep what was pulled within this time.
    pub keep_pulled_within: Option<Duration>,
    /// Manifests without a tag go this long after they were last pushed or pulled, unless an index or a subject needs them.
    pub untagged_after: Option<Duration>,
}

impl Default for Collect {
    fn default() -> Self {
        // Unwanted bytes do no harm for an hour. Six hours outlast pipelines that push layers first and manifests at their end.
        Self { every: Duration::secs(60 * 60), grace: Duration::secs(6 * 60 * 60) }
    }
}

impl Default for Scrub {
    fn default() -> Self {
        // Disks are trusted for a month; a tenth of a slow disk's speed leaves the rest to pulls.
        Self { every: Duration::secs(30 * 24 * 60 * 60), rate: ByteSize::mib(32) }
    }
}

/// Shortest grace. Less than a second is less than a push of one small image.
const GRACE_MIN: std::time::Duration = std::time::Duration::from_secs(1);

fn unless_zero(duration: Duration) -> Option<std::time::Duration> {
    (!duration.get().is_zero()).then_some(duration.get())
}

impl Collect {
    /// As the collector takes it, with the rules of retention.
    pub fn options(&self, retention: &[Retention]) -> CollectOptions {
        let rules = retention.iter().filter_map(|rule| rule.rule().ok()).collect();
        CollectOptions { every: unless_zero(self.every), grace: self.grace.get(), rules }
    }

    pub(super) fn problems(&self, add: &mut dyn FnMut(ConfigError)) {
        if self.grace.get() < GRACE_MIN {
            let remedy = "a second is the least and only for tests; 6h suits most";
            add(ConfigError::semantic("collect.grace", "is shorter than a push", remedy));
        }
    }
}

impl Scrub {
    /// As the scrubber takes it; `state` is the file that remembers how far it came.
    pub fn options(&self, state: std::path::PathBuf) -> ScrubOptions {
        ScrubOptions { every: unless_zero(self.every), rate: self.rate.bytes(), state }
    }

    pub(super) fn problems(&self, add: &mut dyn FnMut(ConfigError)) {
        if self.rate.bytes() == 0 {
            let remedy = "write the bytes of one second, as in 32MiB; `every: 0` turns the scrub off";
            add(ConfigError::semantic("scrub.rate", "is zero", remedy));
        }
    }
}

impl Retention {
    /// The rule, or the key that is wrong and why.
    fn rule(&self) -> Result<Rule, (&'static str, String)> {
        let repositories = self.repositories.iter().map(|text| text.parse::<RepositoryPattern>());
        let repositories = repositories.collect::<Result<Vec<_>, _>>();
        let tags = self.tags.iter().map(|text| text.parse::<TagPattern>()).collect::<Result<Vec<_>, _>>();
        let repositories = repositories.map_err(|error| ("repositories", error.to_string()))?;
        let mut tags = tags.map_err(|error| ("tags", error.to_string()))?;
        if repositories.is_empty() {
            return Err(("repositories", "is empty, so the rule is about nothing".to_owned()));
        }
        if tags.is_empty() {
            tags.extend("*".parse::<TagPattern>().ok());
        }
        Ok(Rule {
            repositories,
            tags,
            keep_last: self.keep_last.map(|count| usize::try_from(count).unwrap_or(usize::MAX)),
            keep_pushed_within: self.keep_pushed_within.map(Duration::get),
            keep_pulled_within: self.keep_pulled_within.map(Duration::get),
            untagged_after: self.untagged_after.map(Duration::get),
        })
    }

    pub(super) fn problems(&self, number: usize, add: &mut dyn FnMut(ConfigError)) {
        let key = |name: &str| format!("retention[{number}].{name}");
        if let Err((name, problem)) = self.rule() {
            let remedy = "`*` is any text in one path segment, `**` any number of segments";
            add(ConfigError::semantic(key(name), problem, remedy));
        }
        let keeps =
            [self.keep_pushed_within.is_some(), self.keep_pulled_within.is_some(), self.keep_last.is_some()];
        if !keeps.contains(&true) && self.untagged_after.is_none() {
            let remedy = "say what stays (keep_last, keep_pushed_within, keep_pulled_within) or when untagged manifests go";
            add(ConfigError::semantic(
                format!("retention[{number}]"),
                "keeps nothing and removes nothing",
                remedy,
            ));
        }
        if !self.tags.is_empty() && !keeps.contains(&true) {
            let remedy = "leave tags out, or say what stays of them";
            add(ConfigError::semantic(key("tags"), "chooses tags that the rule does not judge", remedy));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems_of(rule: &Retention) -> Vec<String> {
        let mut found = Vec::new();
        rule.problems(0, &mut |error| found.push(error.to_string()));
        found
    }

    #[test]
    fn a_rule_says_what_stays() {
        let rule =
            Retention { repositories: vec!["ci/**".into()], keep_last: Some(3), ..Retention::default() };
        assert_eq!(problems_of(&rule), [""; 0]);
        let options = Collect::default().options(&[rule]);
        assert_eq!((options.rules[0].keep_last, options.rules[0].tags[0].as_str()), (Some(3), "*"));
    }

    #[test]
    fn a_rule_that_says_nothing_is_an_error_that_names_it() {
        let empty = problems_of(&Retention::default());
        assert!(empty[0].contains("retention[0].repositories"), "{empty:?}");
        assert!(empty[1].contains("keeps nothing"), "{empty:?}");
        let odd = Retention {
            repositories: vec!["UPPER".into()],
            tags: vec!["v*".into()],
            untagged_after: Some(Duration::secs(1)),
            ..Retention::default()
        };
        let told = problems_of(&odd);
        assert!(told[0].contains("'U'") && told[1].contains("retention[0].tags"), "{told:?}");
    }

    #[test]
    fn zero_means_only_when_asked() {
        let never = Collect { every: Duration::secs(0), ..Collect::default() };
        assert_eq!(never.options(&[]).every, None);
        assert!(Scrub::default().options("x".into()).every.is_some());
    }
}
