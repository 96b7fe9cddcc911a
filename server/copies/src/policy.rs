//! How old an answer about a tag may be: rules by repository and tag, the first that means both counts.

use std::time::Duration;

use shoal_oci::{Repository, RepositoryPattern, Tag, TagPattern};

/// How long what an upstream said about a tag holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// For ever: such tags never move.
    Immutable,
    /// For this long, and then the upstream is asked again. Zero: it is asked each time.
    For(Duration),
}

/// What holds for some tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The repositories, as the upstream names them; none: all.
    pub repositories: Vec<RepositoryPattern>,
    /// The tags; none: all.
    pub tags: Vec<TagPattern>,
    /// How long an answer holds.
    pub validity: Validity,
    /// How old the last answer may be when the upstream cannot be asked. `None`: as old as it is.
    pub stale_max: Option<Duration>,
}

/// A fleet that starts an image asks within seconds; ten of them make one question of it, and a moved tag is seen while the person who
/// moved it still looks.
const VALID_FOR: Duration = Duration::from_secs(10);

impl Rule {
    /// What holds where no rule is written.
    pub const USUAL: Self = Self {
        repositories: Vec::new(),
        tags: Vec::new(),
        validity: Validity::For(VALID_FOR),
        stale_max: None,
    };

    fn means_repository(&self, repository: &Repository) -> bool {
        self.repositories.is_empty()
            || self.repositories.iter().any(|pattern| pattern.matches(repository.as_str()))
    }

    fn means(&self, repository: &Repository, tag: &Tag) -> bool {
        self.means_repository(repository)
            && (self.tags.is_empty() || self.tags.iter().any(|pattern| pattern.matches(tag.as_str())))
    }
}

/// The rules of one upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// In order.
    pub rules: Vec<Rule>,
}

impl Policy {
    /// The rule for lists of a repository: the first that means all its tags.
    pub(crate) fn of_lists(&self, repository: &Repository) -> &Rule {
        const USUAL: &Rule = &Rule::USUAL;
        let is_meant = |rule: &&Rule| rule.tags.is_empty() && rule.means_repository(repository);
        self.rules.iter().find(is_meant).unwrap_or(USUAL)
    }

    /// The rule for a tag.
    pub(crate) fn of(&self, repository: &Repository, tag: &Tag) -> &Rule {
        const USUAL: &Rule = &Rule::USUAL;
        self.rules.iter().find(|rule| rule.means(repository, tag)).unwrap_or(USUAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_means_both_counts() {
        let rule = |repositories: &[&str], tags: &[&str], seconds| Rule {
            repositories: repositories.iter().map(|text| text.parse().unwrap()).collect(),
            tags: tags.iter().map(|text| text.parse().unwrap()).collect(),
            validity: Validity::For(Duration::from_secs(seconds)),
            stale_max: None,
        };
        let policy = Policy {
            rules: vec![rule(&["library/*"], &["v*"], 1), rule(&[], &["v*"], 2), rule(&["team/**"], &[], 3)],
        };
        let of = |repository: &str, tag: &str| {
            policy.of(&repository.parse().unwrap(), &tag.parse().unwrap()).validity
        };
        let seconds = |seconds| Validity::For(Duration::from_secs(seconds));
        assert_eq!(of("library/nginx", "v1"), seconds(1));
        assert_eq!(of("other/app", "v1"), seconds(2));
        assert_eq!(of("team/app", "latest"), seconds(3));
        assert_eq!(of("library/nginx", "latest"), Validity::For(VALID_FOR));
        let of_lists = |repository: &str| policy.of_lists(&repository.parse().unwrap()).validity;
        assert_eq!((of_lists("team/app"), of_lists("library/nginx")), (seconds(3), Validity::For(VALID_FOR)));
    }
}
