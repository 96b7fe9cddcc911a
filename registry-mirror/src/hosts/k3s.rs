//! k3s: `registries.yaml`, from which it makes `hosts.toml` for its own containerd at its start.
//!
//! YAML has no editor that keeps comments, so lines are put between the operator's lines: an entry on top of `mirrors`, or the agent on top
//! of an entry's `endpoint`. Where a place is written in a way in which a line cannot be put in, the file is refused with what to write.

use std::path::Path;

use serde_json::Value;

use super::error::{HostsError, Refusal};
use super::plan::{MARK, Plan, Wish};
use super::runtime::Runtime;
use super::text::insert;
use super::toml_text::prune;
use super::view::View;
use super::yaml_places::{Node, Place, parse};

/// The file.
const FILE: &str = "/etc/rancher/k3s/registries.yaml";
/// The name for all registries without an entry of their own.
const ALL: &str = "*";

/// What k3s should read.
pub(super) fn plan(view: &View<'_>, wish: &Wish, plan: &mut Plan) -> Result<(), HostsError> {
    let file = Path::new(FILE);
    let before = view.text(file)?.unwrap_or_default();
    let all = wish.catch_all.then_some(ALL);
    let names: Vec<&str> = wish.registries.iter().map(String::as_str).chain(all).collect();
    // First each by itself, so that refusals name the lines of the operator's file.
    for name in &names {
        wire(file, &before, name, wish)?;
    }
    let mut text = before.clone();
    // From the last to the first, since each new entry goes on top.
    for name in names.iter().rev() {
        text = wire(file, &text, name, wish)?;
    }
    check(file, &before, &text, &names, wish)?;
    plan.want(Runtime::K3s, file, text);
    Ok(())
}

/// A registry's entry, with nothing before its lines.
fn entry(indent: usize, name: &str, url: &str) -> String {
    let (outer, inner, item) = (" ".repeat(indent), " ".repeat(indent + 2), " ".repeat(indent + 4));
    // Quotes are needed for the star alone, and right for all.
    format!("{outer}\"{name}\":\n{inner}endpoint:\n{item}- \"{url}\"\n")
}

/// The text with the agent in front for one registry.
fn wire(file: &Path, text: &str, name: &str, wish: &Wish) -> Result<String, Refusal> {
    let url = wish.url();
    let root = parse(text).map_err(|error| {
        let problem = format!("is not YAML that can be changed: {}", error.why);
        Refusal::new(file, problem, "correct it, or leave one document in it").at(error.line, "")
    })?;
    let mirrors = match &root {
        None => {
            return Ok(insert(
                text,
                text.len(),
                &format!("{}mirrors:\n{}", mark(text), entry(2, name, &url)),
            ));
        }
        Some(Place { node: Node::Nothing, .. }) => {
            return Ok(insert(
                text,
                text.len(),
                &format!("{}mirrors:\n{}", mark(text), entry(2, name, &url)),
            ));
        }
        Some(root) => {
            check_block(file, root, "")?;
            match root.get("mirrors") {
                None => return put_above(text, root, &format!("mirrors:\n{}", entry(2, name, &url))),
                Some(found) => found,
            }
        }
    };
    let (key, value) = mirrors;
    match &value.node {
        Node::Nothing => Ok(put_behind(text, key.line, &entry(key.column + 2, name, &url))),
        _ => {
            check_block(file, value, "mirrors")?;
            match value.get(name) {
                None => put_above(text, value, &entry(column(value), name, &url)),
                Some((key, entry)) => put_endpoint(file, text, key, entry, wish),
            }
        }
    }
}

/// A file with nothing in it is ours; one with comments is not.
fn mark(text: &str) -> &'static str {
    if text.trim().is_empty() { MARK } else { "" }
}

/// The agent as the first endpoint of an entry that is there.
fn put_endpoint(file: &Path, text: &str, key: &Place, entry: &Place, wish: &Wish) -> Result<String, Refusal> {
    let (url, name) = (wish.url(), format!("mirrors.{}", key.text().unwrap_or_default()));
    if let Node::Nothing = entry.node {
        let (inner, item) = (" ".repeat(key.column + 2), " ".repeat(key.column + 4));
        return Ok(put_behind(text, key.line, &format!("{inner}endpoint:\n{item}- \"{url}\"\n")));
    }
    check_block(file, entry, &name)?;
    if let Some((rewrite, _)) = entry.get("rewrite") {
        let remedy = "move the rewriting to a registry of its own, or leave this one out";
        let problem = "would rewrite what the agent is asked for, too";
        return Err(Refusal::new(file, problem, remedy).at(rewrite.line, format!("{name}.rewrite")));
    }
    let Some((endpoint, list)) = entry.get("endpoint") else {
        let (inner, item) = (" ".repeat(column(entry)), " ".repeat(column(entry) + 2));
        return put_above(text, entry, &format!("{inner}endpoint:\n{item}- \"{url}\"\n"));
    };
    let name = format!("{name}.endpoint");
    let Node::List { items, is_flow } = &list.node else {
        let remedy = format!("write a list that begins with \"{url}\"");
        return Err(Refusal::new(file, "is not a list", remedy).at(endpoint.line, name));
    };
    if items.iter().any(|item| item.text().is_some_and(|item| item.trim_end_matches('/') == url)) {
        return Ok(text.to_owned());
    }
    let Some(first) = items.first().filter(|_| !is_flow) else {
        return put_into_flow(file, text, list, items, &name, wish);
    };
    wish.check_others(file, first.line, &name, first.text().unwrap_or("something else"))?;
    // The dash stands at the list's column.
    Ok(insert(text, offset(text, first.line), &format!("{}- \"{url}\"\n", " ".repeat(dash(text, first)))))
}

/// The agent as the first item of a list in brackets.
fn put_into_flow(
    file: &Path,
    text: &str,
    list: &Place,
    items: &[Place],
    name: &str,
    wish: &Wish,
) -> Result<String, Refusal> {
    let url = wish.url();
    let start = offset(text, list.line) + column_bytes(text, list);
    if !text[start..].starts_with('[') {
        let remedy = format!("write a list, and \"{url}\" as its first item");
        return Err(Refusal::new(file, "is not a plain list", remedy).at(list.line, name));
    }
    let gap = if items.is_empty() { "" } else { ", " };
    if let Some(first) = items.first() {
        wish.check_others(file, first.line, name, first.text().unwrap_or("something else"))?;
    }
    Ok(super::text::splice(text, start + 1..start + 1, &format!("\"{url}\"{gap}")))
}

fn check_block(file: &Path, place: &Place, key: &str) -> Result<(), Refusal> {
    match &place.node {
        Node::Map { is_flow: false, .. } => Ok(()),
        _ => {
            let remedy = "write it as lines of `key: value`, without braces, anchors and tags";
            Err(Refusal::new(file, "is not written so that something can be put in", remedy)
                .at(place.line, key))
        }
    }
}

/// The column of a map's keys.
fn column(map: &Place) -> usize {
    map.entries().first().map_or(map.column, |(key, _)| key.column)
}

/// Puts lines in front of the first key of a map.
fn put_above(text: &str, map: &Place, lines: &str) -> Result<String, Refusal> {
    let line = map.entries().first().map_or(map.line, |(key, _)| key.line);
    Ok(insert(text, offset(text, line), lines))
}

/// Puts lines behind a line.
fn put_behind(text: &str, line: usize, lines: &str) -> String {
    insert(text, offset(text, line + 1), lines)
}

/// Where a line begins; the end of the text when there are not so many.
fn offset(text: &str, line: usize) -> usize {
    text.split_inclusive('\n').take(line - 1).map(str::len).sum()
}

/// The column of a place in bytes.
fn column_bytes(text: &str, place: &Place) -> usize {
    let line = &text[offset(text, place.line)..];
    line.chars().take(place.column).map(char::len_utf8).sum()
}

/// The column of the dash of a list's item.
fn dash(text: &str, item: &Place) -> usize {
    let line = &text[offset(text, item.line)..];
    line.find('-').unwrap_or(0)
}

/// Checks that what was wanted, and nothing else, has come.
fn check(file: &Path, before: &str, after: &str, names: &[&str], wish: &Wish) -> Result<(), Refusal> {
    let unable = || {
        let remedy = "docs/operations/runtimes.md shows what to write by hand";
        Refusal::new(file, "cannot be changed in place", remedy)
    };
    let value = |text: &str| parse(text).map(|place| place.map_or(Value::Null, |place| place.value()));
    let (mut old, mut new) = (value(before).map_err(|_| unable())?, value(after).map_err(|_| unable())?);
    let url = wish.url();
    let is_first = |name: &&str| {
        let endpoints =
            new.get("mirrors").and_then(|mirrors| mirrors.get(*name)).and_then(|entry| entry.get("endpoint"));
        endpoints.and_then(Value::as_array).is_some_and(|all| all.iter().any(|one| is(one, &url)))
    };
    if !names.iter().all(is_first) {
        return Err(unable());
    }
    for value in [&mut old, &mut new] {
        let mirrors = value.get_mut("mirrors").and_then(Value::as_object_mut);
        for entry in mirrors.into_iter().flat_map(|mirrors| mirrors.values_mut()) {
            if let Some(all) = entry.get_mut("endpoint").and_then(Value::as_array_mut) {
                all.retain(|one| !is(one, &url));
            }
        }
        prune(value);
        // What is empty is as good as absent.
        if value.as_object().is_some_and(serde_json::Map::is_empty) {
            *value = Value::Null;
        }
    }
    if old == new { Ok(()) } else { Err(unable()) }
}

fn is(value: &Value, url: &str) -> bool {
    value.as_str().is_some_and(|text| text.trim_end_matches('/') == url)
}
