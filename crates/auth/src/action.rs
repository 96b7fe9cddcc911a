//! What can be done to a repository, and sets of it.
//!
//! The words of configuration and of tokens are mapped here once. `push` is one right in Docker's grammar and two here: making a
//! tag that did not exist, and moving one that did; a registry that cannot tell them apart cannot keep a release from being replaced.

use std::fmt;

/// One thing that can be done to a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Action {
    /// Read manifests, blobs, tags, referrers.
    Pull = 1,
    /// Push blobs, and manifests under new tags or under their digest.
    Create = 2,
    /// Push blobs, and move tags that exist.
    Overwrite = 4,
    /// Delete tags, manifests, blobs.
    Delete = 8,
    /// Everything, and also what immutable tags refuse to everybody else.
    Admin = 16,
}

impl Action {
    /// The word in configuration, logs and audit records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Create => "create",
            Self::Overwrite => "overwrite",
            Self::Delete => "delete",
            Self::Admin => "admin",
        }
    }

    /// The action as a token scope names it.
    pub const fn scope_word(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Create | Self::Overwrite => "push",
            Self::Delete => "delete",
            Self::Admin => "*",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of actions.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Actions(u8);

impl Actions {
    /// No action.
    pub const NONE: Self = Self(0);

    /// The set that a word of the configuration means; `None` for a word that is none.
    pub fn from_word(word: &str) -> Option<Self> {
        let set: &[Action] = match word {
            "pull" => &[Action::Pull],
            "push" => &[Action::Create, Action::Overwrite],
            "create" => &[Action::Create],
            "overwrite" => &[Action::Overwrite],
            "delete" => &[Action::Delete],
            "admin" => &[Action::Admin],
            _ => return None,
        };
        Some(set.iter().copied().collect())
    }

    /// Whether the set has `action`. Who has `admin` has everything.
    pub const fn has(self, action: Action) -> bool {
        self.0 & (action as u8 | Action::Admin as u8) != 0
    }

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the set has nothing.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<Action> for Actions {
    fn from_iter<I: IntoIterator<Item = Action>>(actions: I) -> Self {
        Self(actions.into_iter().fold(0, |set, action| set | action as u8))
    }
}

impl fmt::Debug for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [Action::Pull, Action::Create, Action::Overwrite, Action::Delete, Action::Admin];
        f.debug_set().entries(all.iter().filter(|action| self.0 & **action as u8 != 0)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn push_is_create_and_overwrite_and_admin_is_all() {
        let push = Actions::from_word("push").unwrap();
        assert!(push.has(Action::Create) && push.has(Action::Overwrite));
        assert!(!push.has(Action::Pull) && !push.has(Action::Delete) && !push.has(Action::Admin));
        let admin = Actions::from_word("admin").unwrap();
        assert!(admin.has(Action::Delete) && admin.has(Action::Pull));
        assert_eq!(Actions::from_word("write"), None);
        assert!(Actions::NONE.is_empty() && !Actions::NONE.has(Action::Pull));
    }
}
