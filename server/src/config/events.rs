//! Webhooks: who is told what happens in the registry.

use std::collections::BTreeMap;
use std::path::PathBuf;

use http::{HeaderName, HeaderValue, Uri};
use serde::{Deserialize, Serialize};
use shoal_config::{ConfigError, Duration, Secret};
use shoal_events::{EndpointOptions, Filter, Header};

/// Webhooks.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Events {
    /// Who is told. None: no event is made.
    pub endpoints: Vec<Endpoint>,
    /// Scheme and host of the URLs in events, as in `https://registry.example.com`. Unset: what the client asked for.
    pub url: Option<String>,
    /// Whether events of pushed manifests list what these name.
    pub include_references: bool,
}

/// One who is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Endpoint {
    /// Name in logs and metrics. An endpoint with another name is another endpoint, which is told only what happens from then on.
    pub name: String,
    /// Where events are posted, `http://…` or `https://…`.
    pub url: String,
    /// Sent with every post, as in `Authorization: {file: /etc/shoal/hook-token}`.
    pub headers: BTreeMap<String, Secret>,
    /// How long one post may take.
    pub timeout: Duration,
    /// Failures in a row before it counts as down.
    pub threshold: u32,
    /// The first wait for an endpoint that is down; doubled with every further failure.
    pub backoff: Duration,
    /// The longest wait.
    pub backoff_max: Duration,
    /// Most events in one post. Docker's registry sends one, and some receivers read no more than that.
    pub batch: usize,
    /// What it is not told.
    pub ignore: Ignore,
    /// Repositories that it is told about, as in `team/**`. Unset: all.
    pub repositories: Vec<String>,
    /// PEM file of the authorities that sign its certificate. Unset: those of the system.
    pub ca: Option<PathBuf>,
}

/// Events that an endpoint is not told.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ignore {
    /// `push`, `pull`, `mount`, `delete`.
    pub actions: Vec<String>,
    /// As in `application/octet-stream`, which is what blobs are.
    pub media_types: Vec<String>,
}

const ACTIONS: [&str; 4] = ["push", "pull", "mount", "delete"];

/// More events in one post would be a body of a megabyte.
const BATCH_MAX: usize = 1000;

impl Default for Endpoint {
    fn default() -> Self {
        Self {
            name: String::new(),
            url: String::new(),
            headers: BTreeMap::new(),
            // Long enough for a receiver that does its work before it answers.
            timeout: Duration::secs(5),
            threshold: 5,
            backoff: Duration::secs(1),
            // An endpoint that comes back after a night hears of it within minutes.
            backoff_max: Duration::secs(5 * 60),
            batch: 1,
            ignore: Ignore::default(),
            repositories: Vec::new(),
            ca: None,
        }
    }
}

impl Events {
    pub(super) fn problems(&self, add: &mut dyn FnMut(ConfigError)) {
        if self.url.as_deref().is_some_and(|url| !is_base(url)) {
            let remedy = "write scheme and host only, as in https://registry.example.com";
            add(ConfigError::semantic("events.url", "is not the beginning of a URL", remedy));
        }
        for (number, endpoint) in self.endpoints.iter().enumerate() {
            endpoint.problems(number, add);
            if self.endpoints[..number].iter().any(|other| other.name == endpoint.name) {
                let remedy = "give each endpoint a name of its own";
                let problem = format!("`{}` is the name of another endpoint as well", endpoint.name);
                add(ConfigError::semantic(format!("events.endpoints[{number}].name"), problem, remedy));
            }
        }
    }
}

impl Endpoint {
    /// The endpoint as the couriers take it, or the key that is wrong, why, and what to do.
    pub fn options(&self) -> Result<EndpointOptions, (String, String, &'static str)> {
        let wrong = |key: &str, why: String, remedy| (key.to_owned(), why, remedy);
        let headers = self.headers.iter().map(header).collect::<Result<_, _>>()?;
        let repositories = self.repositories.iter().map(|text| text.parse());
        let repositories =
            repositories.collect::<Result<_, shoal_oci::ParsePatternError>>().map_err(|error| {
                wrong(
                    "repositories",
                    error.to_string(),
                    "`*` is any text in one path segment, `**` any number of segments",
                )
            })?;
        if let Some(action) = self.ignore.actions.iter().find(|action| !ACTIONS.contains(&action.as_str())) {
            let why = format!("`{action}` is no action");
            return Err(wrong("ignore.actions", why, "there are push, pull, mount and delete"));
        }
        Ok(EndpointOptions {
            name: self.name.clone(),
            url: self.url.clone(),
            headers,
            timeout: self.timeout.get(),
            threshold: self.threshold,
            backoff: self.backoff.get(),
            backoff_max: self.backoff_max.get(),
            batch: self.batch,
            filter: Filter {
                ignored_actions: self.ignore.actions.clone(),
                ignored_media_types: self.ignore.media_types.clone(),
                repositories,
            },
            ca: self.ca.clone(),
        })
    }

    fn problems(&self, number: usize, add: &mut dyn FnMut(ConfigError)) {
        let mut add = |key: &str, problem: String, remedy: &str| {
            let key = format!("events.endpoints[{number}].{key}");
            add(ConfigError::semantic(&key, problem, remedy));
        };
        if self.name.is_empty() || self.name.len() > 64 || self.name.chars().any(char::is_control) {
            add("name", "has not 1 to 64 letters".to_owned(), "name the endpoint");
        }
        if !is_target(&self.url) {
            let remedy = "write http:// or https:// with a host; credentials go into headers";
            add("url", "is not a usable URL".to_owned(), remedy);
        }
        let zero = [
            ("timeout", self.timeout.get().is_zero()),
            ("backoff", self.backoff.get().is_zero()),
            ("threshold", self.threshold == 0),
            ("batch", self.batch == 0),
        ];
        for (key, _) in zero.into_iter().filter(|(_, zero)| *zero) {
            add(key, "is zero".to_owned(), "leave it out for the usual value");
        }
        if self.batch > BATCH_MAX {
            add("batch", format!("is more than {BATCH_MAX}"), "a hundred is as fast");
        }
        if self.backoff_max.get() < self.backoff.get() {
            add("backoff_max", "is less than backoff".to_owned(), "the longest wait is not below the first");
        }
        if let Err((key, problem, remedy)) = self.options() {
            add(&key, problem, remedy);
        }
    }
}

fn header((name, value): (&String, &Secret)) -> Result<Header, (String, String, &'static str)> {
    let wrong = |why: &str, remedy| (format!("headers.{name}"), why.to_owned(), remedy);
    let parsed = HeaderName::try_from(name.as_str());
    let parsed = parsed.map_err(|_| wrong("is not the name of a header", "as in Authorization"))?;
    if matches!(parsed.as_str(), "content-type" | "content-length" | "host" | "transfer-encoding") {
        return Err(wrong("is set by the server itself", "leave it out"));
    }
    let mut value = HeaderValue::try_from(value.reveal())
        .map_err(|_| wrong("has a value that no header can hold", "one line of visible characters"))?;
    value.set_sensitive(true);
    Ok(Header { name: parsed, value })
}

fn is_base(url: &str) -> bool {
    url.parse::<Uri>().is_ok_and(|uri| {
        let scheme = matches!(uri.scheme_str(), Some("http" | "https"));
        scheme && uri.authority().is_some() && uri.path() == "/" && uri.query().is_none()
    })
}

fn is_target(url: &str) -> bool {
    url.parse::<Uri>().is_ok_and(|uri| {
        let scheme = matches!(uri.scheme_str(), Some("http" | "https"));
        scheme && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(events: &Events) -> Vec<String> {
        let mut found = Vec::new();
        events.problems(&mut |error| found.push(error.to_string()));
        found
    }

    fn endpoint(name: &str) -> Endpoint {
        Endpoint { name: name.into(), url: "https://hooks.example.com/x?y=z".into(), ..Endpoint::default() }
    }

    #[test]
    fn an_endpoint_needs_a_name_and_a_url() {
        let good = Events { endpoints: vec![endpoint("a"), endpoint("b")], ..Events::default() };
        assert_eq!(problems(&good), Vec::<String>::new());
        let bad = Events { endpoints: vec![Endpoint::default()], ..Events::default() };
        assert_eq!(problems(&bad).len(), 2, "{:?}", problems(&bad));
        let twice = Events { endpoints: vec![endpoint("a"), endpoint("a")], ..Events::default() };
        assert!(problems(&twice)[0].contains("endpoints[1].name"));
    }

    #[test]
    fn mistakes_name_their_key() {
        let mut bad = endpoint("a");
        bad.url = "https://user:secret@hooks.example.com".into();
        bad.backoff_max = Duration::default();
        bad.batch = BATCH_MAX + 1;
        bad.ignore.actions = vec!["pulls".into()];
        let events = Events { endpoints: vec![bad], url: Some("registry".into()), ..Events::default() };
        let found = problems(&events).join("\n");
        for word in ["events.url", ".url", "backoff_max", "batch", "ignore.actions"] {
            assert!(found.contains(word), "{word}: {found}");
        }
        assert!(!found.contains("secret"), "{found}");
        let mut bad = endpoint("a");
        bad.headers.insert("Authorization".into(), Secret::new("two\nlines"));
        let found = problems(&Events { endpoints: vec![bad], ..Events::default() });
        assert!(found[0].contains("headers.Authorization") && !found[0].contains("lines\n"), "{found:?}");
    }
}
