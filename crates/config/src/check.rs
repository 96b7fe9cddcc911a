//! Reads a tree into the target type again and again, each time without the mistakes found so far, until all are known.

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;

use crate::error::ConfigError;
use crate::node::{Node, Origin, Value};
use crate::reader::{Fault, FaultKind};
use crate::suggest;

/// The most rounds. Each mistake costs one or a few; whoever has more mistakes fixes these first.
const ROUNDS_MAX: usize = 500;

/// The value, when the tree has no mistakes. Mistakes are added to `errors`; parts whose mistakes are in there already have been
/// removed from the tree by the caller, and so `None` can come with no new error.
pub(crate) fn check<T: DeserializeOwned>(
    mut root: Node,
    removed: Vec<Vec<String>>,
    errors: &mut Vec<ConfigError>,
) -> Option<T> {
    let mut known: BTreeSet<Vec<String>> = removed.into_iter().collect();
    for _ in 0..ROUNDS_MAX {
        let fault = match T::deserialize(&root) {
            Ok(value) => return Some(value),
            Err(fault) => fault,
        };
        let mut path = fault.path();
        if let FaultKind::Missing { field } = fault.kind {
            path.push(field.to_owned());
        }
        let is_new = !(0..=path.len()).any(|len| known.contains(&path[..len]));
        if is_new {
            errors.push(describe(&fault, &path));
        }
        known.insert(path.clone());
        if !patch(&mut root, &fault, &path, &mut known) {
            return None;
        }
    }
    None
}

/// Changes the tree so that the next round gets past the fault. `false` when nothing is left to change.
fn patch(root: &mut Node, fault: &Fault, path: &[String], known: &mut BTreeSet<Vec<String>>) -> bool {
    if path.is_empty() {
        return false;
    }
    let hole = || Node { value: Value::Hole(0), origin: Origin::Nowhere };
    let missing = matches!(fault.kind, FaultKind::Missing { .. });
    match root.get_mut(path) {
        None | Some(Node { value: Value::Removed, .. }) if missing => root.set(path, hole()),
        Some(node) if matches!(node.value, Value::Hole(_)) => {
            if !node.is_out_of_guesses() {
                if let Value::Hole(guess) = &mut node.value {
                    *guess += 1;
                }
                return true;
            }
            // No guess fits: give the parent up. It is known, so that nothing below it is reported.
            let parent = path[..path.len() - 1].to_vec();
            if parent.is_empty() {
                return false;
            }
            known.insert(parent.clone());
            root.set(&parent, Node { value: Value::Removed, origin: Origin::Nowhere });
        }
        Some(node) => node.value = Value::Removed,
        None => return false,
    }
    true
}

fn describe(fault: &Fault, path: &[String]) -> ConfigError {
    let origin = fault.origin.as_ref().unwrap_or(&Origin::Nowhere);
    match &fault.kind {
        FaultKind::Unknown { expected } => {
            let key = path.last().map_or("", String::as_str);
            origin.error(path, "unknown key", Some(remedy_for_key(key, expected)))
        }
        FaultKind::Missing { field } => {
            origin.error(path, "this key is required", Some(format!("add `{field}: …`")))
        }
        FaultKind::Invalid { problem } => {
            // The standard library's sentence does not say how an address is written.
            let address =
                problem.contains("socket address").then_some("write it as 127.0.0.1:16000 or [::1]:16000");
            origin.error(path, problem, fault.remedy.or(address).map(str::to_owned))
        }
    }
}

fn remedy_for_key(key: &str, expected: &[&str]) -> String {
    match suggest::nearest(key, expected) {
        Some(near) => format!("did you mean `{near}`?"),
        None if expected.is_empty() => "remove it; no keys are expected here".into(),
        None => format!("keys here are {}", expected.join(", ")),
    }
}

/// The keys that `T` knows at its top level, when it is a struct that denies unknown ones.
pub(crate) fn top_level_keys<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut root = Node::empty_map(Origin::Nowhere);
    // No key contains a blank.
    root.set(&["no such key".to_owned()], Node::loose("", Origin::Nowhere));
    match T::deserialize(&root) {
        Err(Fault { kind: FaultKind::Unknown { expected }, .. }) => expected,
        _ => &[],
    }
}
