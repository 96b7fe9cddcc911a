//! Which tags and which untagged manifests have had their day: rules, and the decision, without a clock and without a store.
//!
//! A tag is judged by the first rule that means both its repository and its name; a tag that no rule means stays. A rule lists reasons
//! to keep, and one reason is enough. So a rule can never delete what another one wants kept by being written below it, and every
//! deletion can be explained in one line.

use std::time::Duration;

use shoal_oci::{Repository, RepositoryPattern, Tag, TagPattern};

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The repositories it is about.
    pub repositories: Vec<RepositoryPattern>,
    /// The tags it is about.
    pub tags: Vec<TagPattern>,
    /// Keep this many of the tags it is about, the most recently pushed first.
    pub keep_last: Option<usize>,
    /// Keep what was pushed (or moved) within this time.
    pub keep_pushed_within: Option<Duration>,
    /// Keep what was pulled within this time. What was never pulled counts from its push.
    pub keep_pulled_within: Option<Duration>,
    /// Manifests of these repositories that no tag, no index and no subject needs go this long after their push.
    pub untagged_after: Option<Duration>,
}

/// A tag as the rules see it. Ages are zero for what claims to come from the future.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagAge<'a> {
    /// Its name.
    pub tag: &'a Tag,
    /// Since it was pushed or moved.
    pub pushed: Duration,
    /// Since it was last pulled.
    pub pulled: Option<Duration>,
}

/// A tag that goes, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired {
    /// Its place in the list that was judged.
    pub at: usize,
    /// The number of the rule, from zero.
    pub rule: usize,
}

impl Rule {
    /// Keeps what was pulled, or came, within `kept`, whatever it is: the last rule of a repository that is filled when it is pulled from.
    pub fn of_unused(kept: Duration) -> Self {
        Self {
            // Both mean everything.
            repositories: "**".parse().into_iter().collect(),
            tags: "*".parse().into_iter().collect(),
            keep_last: None,
            keep_pushed_within: None,
            keep_pulled_within: Some(kept),
            untagged_after: Some(kept),
        }
    }

    fn means(&self, repository: &Repository) -> bool {
        self.repositories.iter().any(|pattern| pattern.matches(repository.as_str()))
    }

    fn means_tag(&self, tag: &Tag) -> bool {
        self.tags.iter().any(|pattern| pattern.matches(tag.as_str()))
    }

    /// Whether the rule says anything about tags. One that only clears untagged manifests leaves tags to the rules below it.
    const fn judges_tags(&self) -> bool {
        self.keep_last.is_some() || self.keep_pushed_within.is_some() || self.keep_pulled_within.is_some()
    }

    fn keeps(&self, rank: usize, tag: &TagAge<'_>) -> bool {
        self.keep_last.is_some_and(|count| rank < count)
            || self.keep_pushed_within.is_some_and(|within| tag.pushed <= within)
            || self
                .keep_pulled_within
                .is_some_and(|within| tag.pulled.unwrap_or(tag.pushed).min(tag.pushed) <= within)
    }
}

/// The tags of `repository` that the rules do not keep, in the order of `tags`.
pub fn expired(rules: &[Rule], repository: &Repository, tags: &[TagAge<'_>]) -> Vec<Expired> {
    let judged = |tag: &TagAge<'_>| {
        rules.iter().position(|rule| rule.judges_tags() && rule.means(repository) && rule.means_tag(tag.tag))
    };
    let judges: Vec<Option<usize>> = tags.iter().map(judged).collect();
    let mut going = Vec::new();
    for (number, rule) in rules.iter().enumerate() {
        let mut own: Vec<usize> = (0..tags.len()).filter(|&at| judges[at] == Some(number)).collect();
        // Youngest first; of equals the greater name, so that the outcome does not depend on the order of the list.
        own.sort_by(|&a, &b| {
            tags[a].pushed.cmp(&tags[b].pushed).then_with(|| tags[b].tag.as_str().cmp(tags[a].tag.as_str()))
        });
        let gone = own.iter().enumerate().filter(|&(rank, &at)| !rule.keeps(rank, &tags[at]));
        going.extend(gone.map(|(_, &at)| Expired { at, rule: number }));
    }
    going.sort_unstable_by_key(|gone| gone.at);
    going
}

/// The age at which an untagged manifest of `repository` goes: what the first rule says that says anything.
pub fn untagged_after(rules: &[Rule], repository: &Repository) -> Option<Duration> {
    rules.iter().filter(|rule| rule.means(repository)).find_map(|rule| rule.untagged_after)
}

/// Whether any rule is about `repository`.
pub fn concerns(rules: &[Rule], repository: &Repository) -> bool {
    rules.iter().any(|rule| rule.means(repository))
}

#[cfg(test)]
mod tests;
