//! Which repository on the server a pull means.
//!
//! A runtime names the registry it believes it talks to in one of three ways: `?ns=registry.example.com` (containerd, Docker with
//! the containerd image store), a first path segment that is a host (podman's `location`, people), or not at all (Docker's
//! `registry-mirrors`, explicit `127.0.0.1:16000/…` names). `ns` is chosen by whoever asks, so it never becomes an address that the
//! agent connects to: it only selects a repository name on our own server.
//!
//! Without configuration the cluster answers for every registry: a pull of `registry.example.com/team/app` means the repository
//! `registry.example.com/team/app` on the server if there is one, else `team/app`. With a list, only the hosts in it are answered,
//! each under its own prefix, and any other host is "not found" at once, so that a catch-all mirror entry is harmless.

use serde::{Deserialize, Serialize};
use shoal_oci::Repository;
use shoal_oci::host::Host;

/// One registry name that the cluster answers for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Namespace {
    /// The registry's host, with its port when clients write one: `registry.example.com`, `localhost:5000`.
    pub host: String,
    /// The leading path of its repositories on the server, without slashes at the ends. Empty: the same names.
    #[serde(default)]
    pub prefix: String,
}

/// The rules by which names are mapped.
#[derive(Clone, Debug, Default)]
pub struct Namespaces {
    /// Empty: every host is answered.
    listed: Vec<(Host, String)>,
}

/// Why a list of namespaces cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NamespaceError {
    /// Not a host.
    #[error("`{0}` is not a registry host; write it as host or host:port")]
    Host(String),
    /// Not the beginning of a repository name.
    #[error("`{0}` is not a repository prefix; write it as a/b in lower case, without slashes at the ends")]
    Prefix(String),
    /// A host is listed twice.
    #[error("`{0}` is listed twice")]
    Twice(String),
}

impl Namespaces {
    /// Checks a configured list.
    ///
    /// # Errors
    /// Every entry that is wrong, in order.
    pub fn new(list: &[Namespace]) -> Result<Self, Vec<NamespaceError>> {
        let mut listed: Vec<(Host, String)> = Vec::new();
        let mut errors = Vec::new();
        for entry in list {
            match entry.host.parse::<Host>() {
                Ok(host) if listed.iter().any(|(known, _)| *known == host) => {
                    errors.push(NamespaceError::Twice(entry.host.clone()));
                }
                Ok(host) => listed.push((host, entry.prefix.clone())),
                Err(_) => errors.push(NamespaceError::Host(entry.host.clone())),
            }
            if !entry.prefix.is_empty() && entry.prefix.parse::<Repository>().is_err() {
                errors.push(NamespaceError::Prefix(entry.prefix.clone()));
            }
        }
        if errors.is_empty() { Ok(Self { listed }) } else { Err(errors) }
    }

    /// The repositories on the server that may be meant by `repository` under `host`, the likeliest first. Empty: that host is
    /// not ours to answer for.
    pub fn candidates(&self, host: Option<&Host>, repository: &Repository) -> Vec<Repository> {
        let Some(host) = host else { return vec![repository.clone()] };
        if self.listed.is_empty() {
            return of_host(host, repository).into_iter().chain([repository.clone()]).collect();
        }
        let prefix =
            self.listed.iter().find(|(known, _)| same_registry(known, host)).map(|(_, prefix)| prefix);
        match prefix {
            None => Vec::new(),
            Some(prefix) if prefix.is_empty() => vec![repository.clone()],
            Some(prefix) => joined(prefix, repository).into_iter().collect(),
        }
    }
}

/// The repository that is named after a registry, which is what the server calls its copy of that registry's: Docker Hub by its one name
/// and with what people leave out, and `_` before a port, because a colon is not in the grammar.
fn of_host(host: &Host, repository: &Repository) -> Option<Repository> {
    let name = canonical(host.as_str());
    if name == DOCKER_HUB && !repository.as_str().contains('/') {
        return joined(&format!("{name}/library"), repository);
    }
    joined(&name.replace(':', "_"), repository)
}

/// Docker Hub as images name it.
const DOCKER_HUB: &str = "docker.io";

/// `prefix/repository`, when that is a valid name.
fn joined(prefix: &str, repository: &Repository) -> Option<Repository> {
    format!("{prefix}/{repository}").parse().ok()
}

/// Whether two hosts are the same registry. Docker Hub goes by three names.
fn same_registry(a: &Host, b: &Host) -> bool {
    canonical(a.as_str()) == canonical(b.as_str())
}

fn canonical(host: &str) -> &str {
    match host {
        "registry-1.docker.io" | "index.docker.io" => DOCKER_HUB,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(namespaces: &Namespaces, host: Option<&str>, repository: &str) -> Vec<String> {
        let host = host.map(|host| host.parse().unwrap());
        let found = namespaces.candidates(host.as_ref(), &repository.parse().unwrap());
        found.iter().map(ToString::to_string).collect()
    }

    fn entry(host: &str, prefix: &str) -> Namespace {
        Namespace { host: host.to_owned(), prefix: prefix.to_owned() }
    }

    #[test]
    fn without_a_list_every_host_is_answered() {
        let all = Namespaces::default();
        assert_eq!(names(&all, None, "team/app"), ["team/app"]);
        assert_eq!(names(&all, Some("r.example.com"), "team/app"), ["r.example.com/team/app", "team/app"]);
        assert_eq!(names(&all, Some("localhost:5000"), "team/app"), ["localhost_5000/team/app", "team/app"]);
        assert_eq!(names(&all, Some("[::1]:5000"), "team/app"), ["team/app"]);
        assert_eq!(names(&all, Some("index.docker.io"), "nginx"), ["docker.io/library/nginx", "nginx"]);
    }

    #[test]
    fn with_a_list_only_listed_hosts_are_answered() {
        let some =
            Namespaces::new(&[entry("r.example.com", ""), entry("docker.io", "hub"), entry("q.io:443", "q")])
                .unwrap();
        assert_eq!(names(&some, Some("R.example.com"), "a"), ["a"]);
        assert_eq!(names(&some, Some("registry-1.docker.io"), "library/nginx"), ["hub/library/nginx"]);
        assert_eq!(names(&some, Some("q.io:443"), "a"), ["q/a"]);
        assert!(names(&some, Some("q.io"), "a").is_empty());
        assert!(names(&some, Some("169.254.169.254"), "a").is_empty());
        assert_eq!(names(&some, None, "a"), ["a"]);
    }

    #[test]
    fn every_mistake_is_reported() {
        let errors =
            Namespaces::new(&[entry("a b", ""), entry("r.io", "/x/"), entry("r.io", "")]).unwrap_err();
        assert_eq!(
            errors,
            [
                NamespaceError::Host("a b".to_owned()),
                NamespaceError::Prefix("/x/".to_owned()),
                NamespaceError::Twice("r.io".to_owned()),
            ]
        );
    }

    #[test]
    fn a_name_that_would_be_too_long_is_no_candidate() {
        let long = "a".repeat(250);
        assert_eq!(names(&Namespaces::default(), Some("r.example.com"), &long), [long]);
    }
}
