//! A configuration as YAML that [`crate::load`] reads back to the same value. Secrets are redacted.

use serde::Serialize;

use crate::node::{Node, Origin, Style, Value};
use crate::yaml;

/// `value` as YAML, keys in the order of its fields.
pub fn render(value: &impl Serialize) -> String {
    // YAML contains JSON, so the tree that the parser makes of serde's JSON is the value with its order.
    let json = match serde_json::to_string(value) {
        Ok(json) => json,
        Err(error) => return format!("# the configuration cannot be shown: {error}\n"),
    };
    let mut out = String::new();
    match yaml::parse(&json, |_| Origin::Nowhere, &mut Vec::new()) {
        Ok(root) => block(&root, 0, &mut out),
        Err(error) => out = format!("# the configuration cannot be shown: {error}\n"),
    }
    out
}

/// `node` as lines at `indent`.
fn block(node: &Node, indent: usize, out: &mut String) {
    match &node.value {
        Value::Map(entries) if !entries.is_empty() => {
            for entry in entries {
                out.push_str(&" ".repeat(indent));
                out.push_str(&text(&entry.key));
                out.push(':');
                after(&entry.node, indent, out);
            }
        }
        Value::List(items) if !items.is_empty() => {
            for item in items {
                out.push_str(&" ".repeat(indent));
                out.push('-');
                item_after(item, indent, out);
            }
        }
        _ => {
            out.push_str(&inline(node));
            out.push('\n');
        }
    }
}

/// A value behind its key.
fn after(node: &Node, indent: usize, out: &mut String) {
    if is_inline(node) {
        out.push(' ');
        block(node, indent, out);
    } else {
        out.push('\n');
        block(node, indent + 2, out);
    }
}

/// A list item behind its dash; a map starts on the same line.
fn item_after(node: &Node, indent: usize, out: &mut String) {
    let mut lines = String::new();
    block(node, indent + 2, &mut lines);
    out.push(' ');
    out.push_str(lines.trim_start());
}

fn is_inline(node: &Node) -> bool {
    match &node.value {
        Value::Map(entries) => entries.is_empty(),
        Value::List(items) => items.is_empty(),
        Value::Scalar { .. } | Value::Removed | Value::Hole(_) => true,
    }
}

fn inline(node: &Node) -> String {
    match &node.value {
        Value::Map(_) => "{}".into(),
        Value::List(_) => "[]".into(),
        Value::Scalar { text: value, style: Style::Quoted } => text(value),
        Value::Scalar { text, .. } => text.clone(),
        Value::Removed | Value::Hole(_) => "null".into(),
    }
}

/// A text that reads back as itself: plain when that is safe, else in quotes. Dollars are doubled, for interpolation.
fn text(value: &str) -> String {
    let word = |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | '/' | '.' | '-' | ':');
    let safe = value.chars().all(word)
        && (value.starts_with(|char: char| char.is_ascii_alphabetic() || char == '/')
            || is_quantity_or_address(value))
        && !value.ends_with(':')
        && !matches!(
            value.to_ascii_lowercase().as_str(),
            "true" | "false" | "null" | "yes" | "no" | "on" | "off"
        );
    // A string has always a JSON form.
    if safe { value.to_owned() } else { serde_json::Value::from(value).to_string().replace('$', "$$") }
}

/// `20GiB`, `30s`, `127.0.0.1:80`: starts like a number and cannot be one.
fn is_quantity_or_address(value: &str) -> bool {
    value.starts_with(|char: char| char.is_ascii_digit())
        && value.parse::<f64>().is_err()
        && (value.ends_with(|char: char| char.is_ascii_alphabetic()) || value.matches('.').count() == 3)
}
