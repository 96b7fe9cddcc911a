//! Who may do what to which repositories, and which tags stay where they are.
//!
//! Rules only give; nothing takes away. What no rule gives is refused. So the order of rules does not matter, and reading one rule
//! tells what it does. The price: "everybody but one" has to be said by listing groups.

use shoal_oci::{ParsePatternError, Repository, RepositoryPattern, Tag, TagPattern};

use crate::action::{Action, Actions};
use crate::pattern::{Namespace, PatternError, name_matches};
use crate::principal::{Principal, Source};

/// A rule as an operator writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// `anonymous` (everybody, with credentials or without), `authenticated`, `group:x`, `certificate:<cn or san>`, or a name.
    /// `*` in names stands for any text.
    pub subjects: Vec<String>,
    /// Patterns of repositories; `{name}` as a segment stands for the name of who asks.
    pub repositories: Vec<String>,
    /// `pull`, `push`, `create`, `overwrite`, `delete`, `admin`.
    pub actions: Vec<String>,
}

/// Tags that stay where they are, as an operator writes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Immutable {
    /// Patterns of repositories.
    pub repositories: Vec<String>,
    /// Patterns of tags.
    pub tags: Vec<String>,
}

/// A mistake in a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct PolicyError {
    /// Where: `policy.0.subjects.1`, relative to the section.
    pub path: String,
    /// What is wrong with it.
    pub problem: String,
    /// What to write instead.
    pub remedy: &'static str,
}

/// The checked rules.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    grants: Vec<Grant>,
    immutable: Vec<Frozen>,
}

#[derive(Clone, Debug)]
struct Grant {
    subjects: Vec<Subject>,
    repositories: Vec<Namespace>,
    actions: Actions,
}

#[derive(Clone, Debug)]
struct Frozen {
    repositories: Vec<RepositoryPattern>,
    tags: Vec<TagPattern>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Subject {
    Anyone,
    Authenticated,
    Group(String),
    Certificate(String),
    Name(String),
}

impl Policy {
    /// Checks and takes the rules.
    ///
    /// # Errors
    /// Every mistake in them.
    pub fn new(rules: &[Rule], immutable: &[Immutable]) -> Result<Self, Vec<PolicyError>> {
        let mut errors = Vec::new();
        let grants = rules
            .iter()
            .enumerate()
            .map(|(at, rule)| grant(&format!("policy.{at}"), rule, &mut errors))
            .collect();
        let immutable = immutable
            .iter()
            .enumerate()
            .map(|(at, frozen)| freeze(&format!("immutable_tags.{at}"), frozen, &mut errors))
            .collect();
        if errors.is_empty() { Ok(Self { grants, immutable }) } else { Err(errors) }
    }

    /// Whether the rules give `principal` this right. Does not look at what a token narrows.
    pub fn allows(&self, principal: &Principal, action: Action, repository: &Repository) -> bool {
        self.rights(principal, repository).has(action)
    }

    /// Everything that the rules give `principal` on a repository.
    pub fn rights(&self, principal: &Principal, repository: &Repository) -> Actions {
        // Only accounts and external identities have a namespace: the name of a certificate is not the name of an account.
        let owns = matches!(principal.source, Source::Account | Source::External);
        let name = owns.then_some(principal.name.as_str());
        self.grants
            .iter()
            .filter(|grant| grant.repositories.iter().any(|pattern| pattern.matches(repository, name)))
            .filter(|grant| grant.subjects.iter().any(|subject| subject.is(principal)))
            .fold(Actions::NONE, |rights, grant| rights.with(grant.actions))
    }

    /// Whether the rules give `principal` anything anywhere.
    pub fn gives_anything(&self, principal: &Principal) -> bool {
        self.grants.iter().any(|grant| {
            !grant.actions.is_empty() && grant.subjects.iter().any(|subject| subject.is(principal))
        })
    }

    /// Whether a tag, once there, stays where it is.
    pub fn is_immutable(&self, repository: &Repository, tag: &Tag) -> bool {
        self.immutable.iter().any(|frozen| {
            frozen.tags.iter().any(|pattern| pattern.matches(tag.as_str()))
                && frozen.repositories.iter().any(|pattern| pattern.matches(repository.as_str()))
        })
    }

    /// Whether a repository can have immutable tags at all.
    pub fn has_immutable(&self, repository: &Repository) -> bool {
        self.immutable
            .iter()
            .any(|frozen| frozen.repositories.iter().any(|pattern| pattern.matches(repository.as_str())))
    }
}

impl Subject {
    fn parse(text: &str) -> Option<Self> {
        let subject = match text.split_once(':') {
            Some(("group", name)) => Self::Group(name.to_owned()),
            Some(("certificate", name)) => Self::Certificate(name.to_owned()),
            _ if text == "anonymous" => Self::Anyone,
            _ if text == "authenticated" => Self::Authenticated,
            _ => Self::Name(text.to_owned()),
        };
        let empty = matches!(&subject, Self::Group(name) | Self::Certificate(name) | Self::Name(name) if name.is_empty());
        (!empty).then_some(subject)
    }

    fn is(&self, principal: &Principal) -> bool {
        match self {
            Self::Anyone => true,
            Self::Authenticated => !principal.is_anonymous(),
            Self::Group(name) => principal.groups.iter().any(|group| name_matches(name, group)),
            Self::Certificate(name) => principal.certificate.iter().any(|own| name_matches(name, own)),
            Self::Name(name) => {
                matches!(principal.source, Source::Account | Source::External)
                    && name_matches(name, &principal.name)
            }
        }
    }
}

fn grant(path: &str, rule: &Rule, errors: &mut Vec<PolicyError>) -> Grant {
    let subject = |text: &str| Subject::parse(text).ok_or("names nobody");
    let actions = |text: &str| Actions::from_word(text).ok_or("is no action");
    Grant {
        subjects: list(path, "subjects", &rule.subjects, errors, SUBJECTS, subject),
        repositories: list(path, "repositories", &rule.repositories, errors, PATTERNS, |text| {
            Namespace::parse(text).map_err(|error: PatternError| error.to_string())
        }),
        actions: list(path, "actions", &rule.actions, errors, ACTIONS, actions)
            .into_iter()
            .fold(Actions::NONE, Actions::with),
    }
}

fn freeze(path: &str, frozen: &Immutable, errors: &mut Vec<PolicyError>) -> Frozen {
    Frozen {
        repositories: list(path, "repositories", &frozen.repositories, errors, PATTERNS, |text| {
            text.parse().map_err(|error: ParsePatternError| error.to_string())
        }),
        tags: list(path, "tags", &frozen.tags, errors, TAGS, |text| {
            text.parse().map_err(|error: ParsePatternError| error.to_string())
        }),
    }
}

const SUBJECTS: &str = "write anonymous, authenticated, group:NAME, certificate:NAME or a user's name";
const PATTERNS: &str = "write a repository or a pattern such as team/*, team/** or users/{name}/**";
const ACTIONS: &str = "write pull, push, create, overwrite, delete or admin";
const TAGS: &str = "write a tag or a pattern such as v*";

/// Reads every entry of a list and notes each that cannot be read; an empty list is a mistake too, since the rule would do nothing.
fn list<T, E: ToString>(
    path: &str,
    key: &str,
    texts: &[String],
    errors: &mut Vec<PolicyError>,
    remedy: &'static str,
    read: impl Fn(&str) -> Result<T, E>,
) -> Vec<T> {
    if texts.is_empty() {
        let problem = "is empty, so the rule does nothing".to_owned();
        errors.push(PolicyError { path: format!("{path}.{key}"), problem, remedy });
    }
    let mut items = Vec::with_capacity(texts.len());
    for (at, text) in texts.iter().enumerate() {
        match read(text) {
            Ok(item) => items.push(item),
            Err(error) => {
                let problem = format!("`{text}`: {}", error.to_string());
                errors.push(PolicyError { path: format!("{path}.{key}.{at}"), problem, remedy });
            }
        }
    }
    items
}

#[cfg(test)]
mod tests;
