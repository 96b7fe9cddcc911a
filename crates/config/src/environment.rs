//! `SHOAL_REGISTRY__LISTEN=…` as the key `registry.listen`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::error::ConfigError;
use crate::node::{Node, Origin};
use crate::suggest;

/// Puts the variables that name keys over `root`; those that look like keys but are none are errors.
pub(crate) fn apply(
    root: &mut Node,
    prefix: &str,
    variables: &BTreeMap<String, String>,
    ignored: &BTreeSet<&str>,
    top_level: &[&str],
    errors: &mut Vec<ConfigError>,
) {
    for (name, value) in variables {
        let Some(rest) = name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_')) else { continue };
        if ignored.contains(name.as_str()) {
            continue;
        }
        let origin = Origin::Environment(Arc::from(name.as_str()));
        let path: Vec<String> = rest.split("__").map(str::to_ascii_lowercase).collect();
        let first = path[0].as_str();
        if top_level.is_empty() || top_level.contains(&first) {
            root.set(&path, Node::loose(value.as_str(), origin));
        } else if let Some(remedy) = remedy(prefix, rest, &path, top_level) {
            errors.push(origin.error(&[], "this variable names no key", Some(remedy)));
        }
    }
}

/// What to write instead; `None` when the variable does not look like a key and is somebody else's business.
fn remedy(prefix: &str, rest: &str, path: &[String], top_level: &[&str]) -> Option<String> {
    let first = &path[0];
    if let Some(near) = suggest::nearest(first, top_level) {
        let near = std::iter::once(near.to_ascii_uppercase());
        let words: Vec<_> = near.chain(path[1..].iter().map(|word| word.to_ascii_uppercase())).collect();
        return Some(format!("did you mean {prefix}_{}?", words.join("__")));
    }
    if path.len() > 1 {
        return Some(format!("keys at the top are {}", top_level.join(", ")));
    }
    if is_service_link(rest) {
        return None;
    }
    let key =
        top_level.iter().find(|key| first.strip_prefix(**key).is_some_and(|rest| rest.starts_with('_')))?;
    let below = first[key.len() + 1..].to_ascii_uppercase();
    Some(format!(
        "a dot in a key is written as two underscores; did you mean {prefix}_{}__{below}?",
        key.to_ascii_uppercase()
    ))
}

/// Kubernetes gives every pod such variables for every service: `SERVER_PORT`, `SERVER_SERVICE_HOST`, `SERVER_PORT_15000_TCP_ADDR`.
fn is_service_link(rest: &str) -> bool {
    rest.ends_with("_PORT")
        || rest.contains("_SERVICE_HOST")
        || rest.contains("_SERVICE_PORT")
        || rest.split_once("_PORT_").is_some_and(|(_, tail)| tail.contains("_TCP") || tail.contains("_UDP"))
}
