//! TOML of others: read with places by one parser, judged by a second one that shares no code with it.
//!
//! Nothing is ever written from a tree: text is put into the operator's text, and then both parsers have to agree that exactly what was
//! wanted has come to what was there. The second parser knows TOML 0.5, as the oldest runtimes do.

use std::ops::Range;
use std::path::Path;

use serde_json::Value;
use toml_edit::{Document, Item};

use super::error::Refusal;
use super::text::line_of;

/// A file that is understood.
pub(super) struct Toml<'t> {
    pub(super) file: &'t Path,
    pub(super) text: &'t str,
    pub(super) document: Document<&'t str>,
}

impl<'t> Toml<'t> {
    /// Reads a file.
    pub(super) fn parse(file: &'t Path, text: &'t str) -> Result<Self, Refusal> {
        let document = Document::parse(text).map_err(|error| {
            let line = error.span().map_or(1, |span| line_of(text, span.start));
            let problem = format!("is not TOML: {}", error.message().trim().replace('\n', ", "));
            Refusal::new(file, problem, "its runtime does not read it either; correct it").at(line, "")
        })?;
        Ok(Self { file, text, document })
    }

    /// What stands under a path of keys.
    pub(super) fn at(&self, keys: &[&str]) -> Option<&Item> {
        keys.iter().try_fold(self.document.as_item(), |item, key| item.get(key))
    }

    /// The line of something in it.
    pub(super) fn line(&self, span: Option<Range<usize>>) -> usize {
        span.map_or(1, |span| line_of(self.text, span.start))
    }

    /// Refuses because of something in it.
    pub(super) fn refuse(
        &self,
        item: &Item,
        key: &str,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Refusal {
        Refusal::new(self.file, problem, remedy).at(self.line(first_place(item)), key)
    }
}

/// Where something begins, or the first thing in it when it has no place of its own.
pub(super) fn first_place(item: &Item) -> Option<Range<usize>> {
    if let Some(span) = item.span() {
        return Some(span);
    }
    let table = item.as_table_like()?;
    table.iter().filter_map(|(_, item)| first_place(item)).min_by_key(|span| span.start)
}

/// The second parser's opinion, if it has one.
fn second(text: &str) -> Option<Value> {
    basic_toml::from_str(text).ok()
}

/// Checks that `after` is `before` with something more in it, which `take` takes out of either.
///
/// What the second parser did not understand before, it need not understand after.
pub(super) fn agree(
    file: &Path,
    before: &str,
    after: &str,
    is_there: impl Fn(&Value) -> bool,
    take: impl Fn(&mut Value),
) -> Result<(), Refusal> {
    let unable = |why: &str| {
        let remedy = "docs/operations/runtimes.md shows what to write by hand";
        Refusal::new(file, format!("cannot be changed in place: {why}"), remedy)
    };
    Document::parse(after).map_err(|error| unable(error.message().trim()))?;
    let Some(mut old) = second(before) else { return Ok(()) };
    let mut new = second(after).ok_or_else(|| unable("the result is not understood by a second parser"))?;
    if !is_there(&new) {
        return Err(unable("the result does not say what it should"));
    }
    for value in [&mut old, &mut new] {
        take(value);
        prune(value);
    }
    if old == new { Ok(()) } else { Err(unable("the result would say more than it should")) }
}

/// Removes what is empty, at any depth.
pub(super) fn prune(value: &mut Value) {
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    };
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(prune);
            fields.retain(|_, value| !is_empty(value));
        }
        Value::Array(items) => items.iter_mut().for_each(prune),
        _ => {}
    }
}

/// Text as a TOML string.
pub(super) fn quoted(text: &str) -> String {
    toml_edit::Value::from(text).to_string()
}
