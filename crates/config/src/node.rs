//! A configuration as a tree of what was written, each part with its place.

use std::sync::Arc;

use crate::error::ConfigError;

/// Where a part was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// In a file, on a line.
    File(Arc<str>, usize),
    /// In an environment variable.
    Environment(Arc<str>),
    /// In a command-line flag.
    Flag(Arc<str>),
    /// Nowhere: the root when there is no file.
    Nowhere,
}

impl Origin {
    /// For error messages.
    pub(crate) fn place(&self) -> String {
        match self {
            Self::File(file, line) => format!("{file}:{line}"),
            Self::Environment(name) => format!("environment variable {name}"),
            Self::Flag(key) => format!("flag for {key}"),
            Self::Nowhere => "configuration".into(),
        }
    }

    /// A mistake made here.
    pub(crate) fn error(
        &self,
        path: &[String],
        problem: impl Into<String>,
        remedy: Option<String>,
    ) -> ConfigError {
        ConfigError { place: self.place(), path: path.join("."), problem: problem.into(), remedy }
    }
}

/// A part of a configuration.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    Scalar {
        text: String,
        style: Style,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// Took part in a mistake that was reported; reads as if it were not there, but keeps its index in a list.
    Removed,
    /// Stands where a required value is missing or wrong, so that the rest can be checked. The number selects a guess at a text
    /// that the target may accept.
    Hole(usize),
}

/// How a scalar was written, which decides what it can mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// Without quotes: text, number, boolean or null, as the target wants.
    Plain,
    /// In quotes: text.
    Quoted,
    /// From the environment, a flag or an interpolation: whatever the target wants; also a list or a map in flow style.
    Loose,
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    /// Where the key stands; the value may start on a later line.
    pub(crate) origin: Origin,
    pub(crate) node: Node,
}

impl Node {
    pub(crate) fn empty_map(origin: Origin) -> Self {
        Self { value: Value::Map(Vec::new()), origin }
    }

    pub(crate) fn loose(text: impl Into<String>, origin: Origin) -> Self {
        Self { value: Value::Scalar { text: text.into(), style: Style::Loose }, origin }
    }

    /// Whether it says "nothing": YAML's null.
    pub(crate) fn is_null(&self) -> bool {
        match &self.value {
            Value::Scalar { text, style: Style::Plain } => matches!(text.as_str(), "" | "~" | "null"),
            _ => false,
        }
    }

    /// The part at `path`.
    pub(crate) fn get_mut(&mut self, path: &[String]) -> Option<&mut Self> {
        let Some((first, rest)) = path.split_first() else { return Some(self) };
        let child = match &mut self.value {
            Value::Map(entries) => {
                entries.iter_mut().find(|entry| entry.key == *first).map(|entry| &mut entry.node)
            }
            Value::List(items) => first.parse().ok().and_then(|index: usize| items.get_mut(index)),
            Value::Scalar { .. } | Value::Removed | Value::Hole(_) => None,
        };
        child?.get_mut(rest)
    }

    /// Puts `node` at `path`, making maps on the way. What is no map there gives way.
    pub(crate) fn set(&mut self, path: &[String], node: Self) {
        let Some((first, rest)) = path.split_first() else {
            *self = node;
            return;
        };
        if let Value::List(items) = &mut self.value
            && let Some(item) = first.parse().ok().and_then(|index: usize| items.get_mut(index))
        {
            return item.set(rest, node);
        }
        if !matches!(self.value, Value::Map(_)) {
            self.value = Value::Map(Vec::new());
        }
        let Value::Map(entries) = &mut self.value else { return };
        let index = entries.iter().position(|entry| entry.key == *first).unwrap_or_else(|| {
            let origin = node.origin.clone();
            entries.push(Entry { key: first.clone(), origin: origin.clone(), node: Self::empty_map(origin) });
            entries.len() - 1
        });
        let entry = &mut entries[index];
        if rest.is_empty() {
            entry.origin = node.origin.clone();
        }
        entry.node.set(rest, node);
    }
}
