//! `${VAR}`, `${VAR:-default}`, `${VAR:?message}` and `$$` in a configuration file.
//!
//! Expressions are cut out of the text before YAML is parsed and leave marks behind; their values go into the parsed scalars. So an
//! expression works in plain and quoted scalars and may hold characters that mean something in YAML, a comment never evaluates
//! anything, and no value can add a key or a line.

use std::collections::BTreeMap;

use crate::error::ConfigError;
use crate::node::{Node, Origin, Style, Value};

/// Stands around the number of an expression. A private-use character has no meaning in YAML and nobody's values contain it.
const MARK: char = '\u{E0F0}';

/// How deep defaults may contain expressions.
const DEPTH_MAX: usize = 8;

/// The expressions of one file in order of appearance.
pub(crate) struct Expressions(Vec<String>);

/// Replaces every expression by a mark. Lines keep their numbers.
pub(crate) fn cut(text: &str) -> (String, Expressions) {
    let mut out = String::with_capacity(text.len());
    let mut expressions = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let len = if rest.starts_with("$$") { Some(2) } else { expression_len(rest) };
        let Some(len) = len else {
            out.push('$');
            rest = &rest[1..];
            continue;
        };
        out.push(MARK);
        out.push_str(&expressions.len().to_string());
        out.push(MARK);
        expressions.push(rest[..len].to_owned());
        rest = &rest[len..];
    }
    out.push_str(rest);
    (out, Expressions(expressions))
}

/// Length of the `${…}` that `text` starts with. It ends on the same line, at the brace that matches.
fn expression_len(text: &str) -> Option<usize> {
    if !text.starts_with("${") {
        return None;
    }
    let mut depth = 0_usize;
    let mut previous = ' ';
    for (at, char) in text.char_indices() {
        match char {
            '\n' => return None,
            '{' if previous == '$' => depth += 1,
            '}' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
        previous = char;
    }
    None
}

impl Expressions {
    /// The variables that the file names, whether or not they are set.
    pub(crate) fn variables(&self) -> impl Iterator<Item = &str> {
        let inner = |text: &str| text.len() > 2 && text.starts_with("${");
        self.0.iter().filter(move |text| inner(text)).filter_map(|text| {
            let name = &text[2..];
            name.split([':', '}']).next()
        })
    }

    /// Puts values in place of the marks. A scalar whose value is missing is reported and removed.
    pub(crate) fn fill(
        &self,
        node: &mut Node,
        variables: &BTreeMap<String, String>,
        path: &mut Vec<String>,
        errors: &mut Vec<ConfigError>,
    ) {
        match &mut node.value {
            Value::Scalar { text, style } if text.contains(MARK) => match self.value(text, variables) {
                Ok(value) => (*text, *style) = (value, Style::Loose),
                Err((problem, remedy)) => {
                    errors.push(node.origin.error(path, problem, Some(remedy)));
                    node.value = Value::Removed;
                }
            },
            Value::List(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    path.push(index.to_string());
                    self.fill(item, variables, path, errors);
                    path.pop();
                }
            }
            Value::Map(entries) => {
                for entry in entries {
                    path.push(entry.key.clone());
                    if entry.key.contains(MARK) {
                        errors.push(refused_key(&entry.origin, path));
                        entry.node.value = Value::Removed;
                    }
                    self.fill(&mut entry.node, variables, path, errors);
                    path.pop();
                }
            }
            Value::Scalar { .. } | Value::Removed | Value::Hole(_) => {}
        }
    }

    fn value(&self, text: &str, variables: &BTreeMap<String, String>) -> Result<String, (String, String)> {
        let mut out = String::new();
        for (index, part) in text.split(MARK).enumerate() {
            // Marks come in pairs, so the odd parts are numbers.
            let expression = part.parse().ok().and_then(|number: usize| self.0.get(number));
            match (index % 2, expression) {
                (1, Some(expression)) => out.push_str(&evaluate(expression, variables, 0)?),
                _ => out.push_str(part),
            }
        }
        Ok(out)
    }
}

fn refused_key(origin: &Origin, path: &[String]) -> ConfigError {
    let parent = &path[..path.len() - 1];
    origin.error(parent, "a key must not contain ${…}", Some("write the key out".into()))
}

/// The value of one expression. The error is what is wrong and what to do.
fn evaluate(
    expression: &str,
    variables: &BTreeMap<String, String>,
    depth: usize,
) -> Result<String, (String, String)> {
    let Some(inner) = expression.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) else {
        return Ok("$".into());
    };
    let (name, operator) = inner.split_at(inner.find(':').unwrap_or(inner.len()));
    if !is_variable_name(name) || depth > DEPTH_MAX {
        let remedy = "write ${NAME}, ${NAME:-default}, ${NAME:?message}, or $$ for a dollar sign".to_owned();
        return Err((format!("`{expression}` is not understood"), remedy));
    }
    let value = variables.get(name);
    let not_empty = value.filter(|value| !value.is_empty());
    if let Some(default) = operator.strip_prefix(":-") {
        return not_empty.map_or_else(|| expand(default, variables, depth + 1), |value| Ok(value.clone()));
    }
    if let Some(message) = operator.strip_prefix(":?") {
        let message = if message.is_empty() { "it is required" } else { message };
        let error =
            || (format!("the environment variable {name} is not set: {message}"), format!("set {name}"));
        return not_empty.cloned().ok_or_else(error);
    }
    if operator.is_empty() {
        let remedy = format!("set it, or write ${{{name}:-default}}");
        return value.cloned().ok_or_else(|| (format!("the environment variable {name} is not set"), remedy));
    }
    Err((format!("`{expression}` is not understood"), "write ${NAME:-default} or ${NAME:?message}".into()))
}

/// A default with the expressions in it.
fn expand(
    text: &str,
    variables: &BTreeMap<String, String>,
    depth: usize,
) -> Result<String, (String, String)> {
    let (marked, Expressions(inner)) = cut(text);
    let mut out = String::new();
    for (index, part) in marked.split(MARK).enumerate() {
        match part.parse::<usize>().ok().filter(|_| index % 2 == 1).and_then(|number| inner.get(number)) {
            Some(expression) => out.push_str(&evaluate(expression, variables, depth)?),
            None => out.push_str(part),
        }
    }
    Ok(out)
}

fn is_variable_name(name: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.bytes().all(word) && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}
