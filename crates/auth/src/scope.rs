//! Scopes of tokens, in the grammar of Docker's token authentication ("Token Scope Documentation"):
//! `type[(class)]:name:action[,action…]`, several of them separated by blanks.
//!
//! A scope only narrows what the policy allows; it never gives anything. Names are kept as text: a scope of a repository that is not
//! one of ours is well-formed, and covers nothing.

use serde::{Deserialize, Serialize};
use shoal_oci::Repository;

use crate::action::{Action, Actions};

/// The most scopes in one request. A client asks for the repository and for those that it mounts from.
pub(crate) const SCOPES_MAX: usize = 64;
/// The longest scope in bytes: a name of 255 bytes behind a host, and a few words.
const SCOPE_LEN_MAX: usize = 640;
/// The most actions in one scope; there are four.
const ACTIONS_MAX: usize = 16;

/// One resource and what may be done to it, as in the `access` claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// `repository` or `registry`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The class in brackets, such as `plugin`. Kept and not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// The repository, or `catalog`.
    pub name: String,
    /// `pull`, `push`, `delete`, `*`.
    pub actions: Vec<String>,
}

/// Why a text is not a scope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// Not of the form.
    #[error("a scope has the form repository:name:pull,push or registry:catalog:*")]
    Form,
    /// Too many of them, or one too long.
    #[error("at most {SCOPES_MAX} scopes of at most {SCOPE_LEN_MAX} characters are taken")]
    TooLong,
}

impl Scope {
    /// The scope of `actions` on a repository.
    pub fn repository(repository: &Repository, actions: &[&str]) -> Self {
        let actions = actions.iter().map(|action| (*action).to_owned()).collect();
        Self { kind: "repository".to_owned(), class: None, name: repository.to_string(), actions }
    }

    /// The scope of the list of repositories.
    pub fn catalog() -> Self {
        let actions = vec!["*".to_owned()];
        Self { kind: "registry".to_owned(), class: None, name: "catalog".to_owned(), actions }
    }

    /// Reads one scope.
    ///
    /// # Errors
    /// When it is not of the form, or too long.
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        if text.len() > SCOPE_LEN_MAX {
            return Err(ScopeError::TooLong);
        }
        // A name may have a host with a port in front, so the outermost colons count.
        let (kind, rest) = text.split_once(':').ok_or(ScopeError::Form)?;
        let (name, actions) = rest.rsplit_once(':').ok_or(ScopeError::Form)?;
        let (kind, class) = match kind.strip_suffix(')').map(|kind| kind.split_once('(')) {
            Some(Some((kind, class))) => (kind, Some(class)),
            Some(None) => return Err(ScopeError::Form),
            None => (kind, None),
        };
        let word = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b',');
        let well_formed = word(kind) && class.is_none_or(word) && !name.is_empty() && name.bytes().all(plain);
        let actions: Vec<&str> = actions.split(',').filter(|action| !action.is_empty()).collect();
        if !well_formed || actions.len() > ACTIONS_MAX || !actions.iter().all(|a| *a == "*" || word(a)) {
            return Err(ScopeError::Form);
        }
        Ok(Self {
            kind: kind.to_owned(),
            class: class.map(str::to_owned),
            name: name.to_owned(),
            actions: actions.into_iter().map(str::to_owned).collect(),
        })
    }

    /// Reads the scopes of one parameter, which are separated by blanks.
    ///
    /// # Errors
    /// When one of them is no scope, or there are too many together with `scopes`.
    pub fn parse_into(text: &str, scopes: &mut Vec<Self>) -> Result<(), ScopeError> {
        for one in text.split_ascii_whitespace() {
            if scopes.len() >= SCOPES_MAX {
                return Err(ScopeError::TooLong);
            }
            scopes.push(Self::parse(one)?);
        }
        Ok(())
    }

    /// Whether it is about the list of repositories.
    pub fn is_catalog(&self) -> bool {
        self.kind == "registry" && self.name == "catalog"
    }

    /// The repository that it is about.
    pub fn as_repository(&self) -> Option<Repository> {
        if self.kind == "repository" { self.name.parse().ok() } else { None }
    }

    /// Whether it includes `action` on `repository`.
    pub fn covers(&self, action: Action, repository: &Repository) -> bool {
        self.kind == "repository"
            && self.name == repository.as_str()
            && self.actions.iter().any(|word| word == "*" || word == action.scope_word())
    }

    /// The same scope with only those actions that `allowed` has; `None` when nothing is left.
    pub(crate) fn narrowed(&self, allowed: Actions) -> Option<Self> {
        let push = allowed.has(Action::Create) || allowed.has(Action::Overwrite);
        let mut actions: Vec<&str> = Vec::new();
        for (word, granted) in [
            ("pull", allowed.has(Action::Pull)),
            ("push", push),
            ("delete", allowed.has(Action::Delete)),
            ("*", allowed.has(Action::Admin)),
        ] {
            let asked = self.actions.iter().any(|action| action == "*" || action == word);
            if granted && asked {
                actions.push(word);
            }
        }
        let actions: Vec<String> = actions.into_iter().map(str::to_owned).collect();
        if actions.is_empty() { None } else { Some(Self { actions, ..self.clone() }) }
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.kind)?;
        if let Some(class) = &self.class {
            write!(f, "({class})")?;
        }
        write!(f, ":{}:{}", self.name, self.actions.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_of_docker() {
        for text in [
            "repository:team/app:pull,push",
            "repository(plugin):team/app:pull",
            "registry:catalog:*",
            "repository:localhost:5000/app:pull",
            "repository:app:",
        ] {
            assert_eq!(Scope::parse(text).unwrap().to_string(), text);
        }
        for bad in [
            "",
            ":",
            "::",
            "repository",
            "repository:app",
            "repository::pull",
            "repository):a:pull",
            "repository(:a:pull",
            "repository():a:pull",
            "repo sitory:a:pull",
            "repository:a\"b:pull",
            "repository:a:pu ll",
            "repository:a:\"",
            "repository:ä:pull",
        ] {
            assert_eq!(Scope::parse(bad), Err(ScopeError::Form), "{bad}");
        }
        assert_eq!(Scope::parse(&format!("repository:{}:pull", "a".repeat(1000))), Err(ScopeError::TooLong));
    }

    #[test]
    fn several_in_one_parameter_and_not_too_many() {
        let mut scopes = Vec::new();
        Scope::parse_into("repository:a:pull  repository:b:push", &mut scopes).unwrap();
        assert_eq!(scopes.len(), 2);
        let many = "repository:a:pull ".repeat(SCOPES_MAX);
        assert_eq!(Scope::parse_into(&many, &mut scopes), Err(ScopeError::TooLong));
    }

    #[test]
    fn a_scope_covers_its_repository_and_nothing_else() {
        let scope = Scope::parse("repository:team/app:pull,push").unwrap();
        let (app, other) = ("team/app".parse().unwrap(), "team/app2".parse().unwrap());
        assert!(scope.covers(Action::Pull, &app) && scope.covers(Action::Overwrite, &app));
        assert!(!scope.covers(Action::Delete, &app) && !scope.covers(Action::Pull, &other));
        assert!(!Scope::catalog().covers(Action::Pull, &"catalog".parse().unwrap()));
    }

    #[test]
    fn narrowing_drops_what_is_not_allowed() {
        let asked = Scope::parse("repository:a:pull,push,delete,bogus").unwrap();
        let reader = Actions::from_word("pull").unwrap();
        assert_eq!(asked.narrowed(reader).unwrap().actions, ["pull"]);
        assert_eq!(asked.narrowed(Actions::NONE), None);
        let all = Scope::parse("repository:a:*").unwrap();
        assert_eq!(all.narrowed(reader).unwrap().actions, ["pull"]);
        assert_eq!(
            all.narrowed(Actions::from_word("admin").unwrap()).unwrap().actions,
            ["pull", "push", "delete", "*"]
        );
    }
}
