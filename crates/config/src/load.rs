//! File, then environment, then flags, then the check of all of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::check;
use crate::environment;
use crate::error::{ConfigError, ConfigErrors};
use crate::interpolate;
use crate::node::{Node, Origin, Value};
use crate::yaml;

/// The longest configuration file in bytes. A thousand hosts with comments stay below it.
const FILE_LEN_MAX: u64 = 4 * 1024 * 1024;

/// Where a configuration comes from.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The YAML file; without one, environment and flags stand alone.
    pub file: Option<PathBuf>,
    /// What environment variables that name keys start with, without the underscore.
    pub env_prefix: &'static str,
    /// Variables with that prefix that are no keys, for example the one that names the configuration file.
    pub env_ignored: Vec<&'static str>,
    /// Key paths with values, from the command line.
    pub flags: Vec<(String, String)>,
    /// The environment: this process's own, unless a test brings another.
    pub environment: BTreeMap<String, String>,
}

impl Default for Sources {
    fn default() -> Self {
        Self {
            file: None,
            env_prefix: "SHOAL",
            env_ignored: vec!["SHOAL_CONFIG"],
            flags: Vec::new(),
            // Variables that are not UTF-8 are none of ours.
            environment: std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
        }
    }
}

/// Reads the sources into `T`. Give `T` and everything in it `#[serde(deny_unknown_fields)]`.
///
/// # Errors
/// Every mistake in every source.
pub fn load<T: DeserializeOwned>(sources: &Sources) -> Result<T, ConfigErrors> {
    load_checked(sources, |_| Vec::new())
}

/// The same, with `meaning` telling what cannot be right although every value has the right type. It sees a value even when parts
/// were unreadable (their defaults stand in), so that whoever starts the program learns everything in one go; what it says of such
/// parts is left out.
///
/// # Errors
/// Every mistake in every source, then every mistake of meaning.
pub fn load_checked<T: DeserializeOwned>(
    sources: &Sources,
    meaning: impl FnOnce(&T) -> Vec<ConfigError>,
) -> Result<T, ConfigErrors> {
    let mut errors = Vec::new();
    let mut ignored: BTreeSet<String> = sources.env_ignored.iter().map(|name| (*name).to_owned()).collect();
    let mut root = match &sources.file {
        Some(file) => match read_file(file, sources, &mut ignored, &mut errors) {
            Ok(root) => root,
            Err(error) => {
                errors.push(error);
                return Err(ConfigErrors::new(errors));
            }
        },
        None => Node::empty_map(Origin::Nowhere),
    };
    let ignored = ignored.iter().map(String::as_str).collect();
    let top_level = check::top_level_keys::<T>();
    environment::apply(&mut root, sources.env_prefix, &sources.environment, &ignored, top_level, &mut errors);
    for (key, value) in &sources.flags {
        let path: Vec<String> = key.split('.').map(str::to_owned).collect();
        root.set(&path, Node::loose(value.as_str(), Origin::Flag(Arc::from(key.as_str()))));
    }
    let removed = removed_paths(&root);
    let value = check::check(root, removed, &mut errors);
    if let Some(value) = &value {
        let unreadable: Vec<String> = errors.iter().map(|error| error.path.clone()).collect();
        let is_readable =
            |path: &str| !unreadable.iter().any(|other| is_within(path, other) || is_within(other, path));
        errors.extend(meaning(value).into_iter().filter(|error| is_readable(&error.path)));
    }
    match value {
        Some(value) if errors.is_empty() => Ok(value),
        _ => Err(ConfigErrors::new(errors)),
    }
}

/// Whether the key at `path` is `other` or lies below it.
fn is_within(path: &str, other: &str) -> bool {
    path.strip_prefix(other).is_some_and(|rest| other.is_empty() || rest.is_empty() || rest.starts_with('.'))
}

fn read_file(
    file: &Path,
    sources: &Sources,
    ignored: &mut BTreeSet<String>,
    errors: &mut Vec<ConfigError>,
) -> Result<Node, ConfigError> {
    let name: Arc<str> = file.display().to_string().into();
    let text = read_text(file).map_err(|problem| ConfigError {
        place: name.to_string(),
        path: String::new(),
        problem,
        remedy: Some("check the path and its permissions".into()),
    })?;
    let (text, expressions) = interpolate::cut(&text);
    ignored.extend(expressions.variables().map(str::to_owned));
    let mut root = yaml::parse(&text, |line| Origin::File(Arc::clone(&name), line), errors)?;
    expressions.fill(&mut root, &sources.environment, &mut Vec::new(), errors);
    if root.is_null() {
        return Ok(Node::empty_map(root.origin));
    }
    Ok(root)
}

fn read_text(file: &Path) -> Result<String, String> {
    let size = std::fs::metadata(file).map_err(|error| format!("cannot be read: {error}"))?.len();
    if size > FILE_LEN_MAX {
        return Err(format!("has {size} bytes, more than the limit of {FILE_LEN_MAX}"));
    }
    let bytes = std::fs::read(file).map_err(|error| format!("cannot be read: {error}"))?;
    let text = String::from_utf8(bytes).map_err(|_| "is not UTF-8 text".to_owned())?;
    Ok(text.strip_prefix('\u{FEFF}').map(str::to_owned).unwrap_or(text))
}

/// The parts whose mistakes were reported while reading.
fn removed_paths(root: &Node) -> Vec<Vec<String>> {
    fn walk(node: &Node, path: &mut Vec<String>, out: &mut Vec<Vec<String>>) {
        let mut below = |segment: String, node: &Node| {
            path.push(segment);
            walk(node, path, out);
            path.pop();
        };
        match &node.value {
            Value::List(items) => {
                items.iter().enumerate().for_each(|(index, item)| below(index.to_string(), item));
            }
            Value::Map(entries) => entries.iter().for_each(|entry| below(entry.key.clone(), &entry.node)),
            Value::Removed => out.push(path.clone()),
            Value::Scalar { .. } | Value::Hole(_) => {}
        }
    }
    let mut out = Vec::new();
    walk(root, &mut Vec::new(), &mut out);
    out
}

#[cfg(test)]
mod tests;
