//! An endpoint as it is configured, and which events it wants.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use shoal_oci::RepositoryPattern;

/// An endpoint of webhooks.
#[derive(Clone, Debug)]
pub struct EndpointOptions {
    /// Its name in logs, metrics and in the file of positions. Renaming an endpoint makes it a new one.
    pub name: String,
    /// Where events are posted.
    pub url: String,
    /// Sent with every post.
    pub headers: Vec<Header>,
    /// How long one post may take.
    pub timeout: Duration,
    /// Failures in a row before the endpoint counts as down.
    pub threshold: u32,
    /// The first wait for an endpoint that is down; doubled with every further failure.
    pub backoff: Duration,
    /// The longest wait.
    pub backoff_max: Duration,
    /// Most events in one post.
    pub batch: usize,
    /// What it wants.
    pub filter: Filter,
    /// Authorities that sign its certificate; unset for those of the system.
    pub ca: Option<PathBuf>,
}

/// A header of every post. Its value may be a secret and is never shown.
#[derive(Clone)]
pub struct Header {
    /// For example `Authorization`.
    pub name: HeaderName,
    /// Its value.
    pub value: HeaderValue,
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: <redacted>", self.name)
    }
}

/// Which events an endpoint wants: all that nothing here rules out.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Actions that it does not want: `push`, `pull`, `mount`, `delete`.
    pub ignored_actions: Vec<String>,
    /// Media types that it does not want, for example `application/octet-stream` for blobs.
    pub ignored_media_types: Vec<String>,
    /// The repositories that it wants; empty for all.
    pub repositories: Vec<RepositoryPattern>,
}

impl Filter {
    pub(super) fn wants_action(&self, action: &str) -> bool {
        self.ignored_actions.iter().all(|ignored| ignored != action)
    }

    pub(super) fn wants(&self, action: &str, media_type: &str, repository: &str) -> bool {
        self.wants_action(action)
            && self.ignored_media_types.iter().all(|ignored| ignored != media_type)
            && (self.repositories.is_empty()
                || self.repositories.iter().any(|pattern| pattern.matches(repository)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_ruled_out_is_wanted() {
        assert!(Filter::default().wants("pull", "", "a"));
        let filter = Filter {
            ignored_actions: vec!["pull".into()],
            ignored_media_types: vec!["application/octet-stream".into()],
            repositories: vec!["team/**".parse().unwrap()],
        };
        assert!(filter.wants("push", "x/y", "team/app"));
        assert!(!filter.wants("pull", "x/y", "team/app"));
        assert!(!filter.wants("push", "application/octet-stream", "team/app"));
        assert!(!filter.wants("push", "x/y", "other/app"));
    }

    #[test]
    fn a_header_hides_its_value() {
        let header = Header { name: http::header::AUTHORIZATION, value: HeaderValue::from_static("s3cret") };
        assert_eq!(format!("{header:?}"), "authorization: <redacted>");
    }
}
