//! podman, buildah, skopeo and CRI-O: one file of ours in `registries.conf.d`.
//!
//! These programs take, of several entries for a prefix, the one that they read last, whole. So ours goes into a file that is read last,
//! and where the operator has an entry for the same prefix, ours is a copy of theirs with the agent as the first mirror. There is no entry for
//! all registries, and only the path tells the agent which registry is meant.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml_edit::{Item, Table};

use super::error::{HostsError, Refusal};
use super::plan::{MARK, Plan, Wish};
use super::runtime::Runtime;
use super::toml_text::{Toml, agree, quoted};
use super::view::View;

/// The main file.
const MAIN: &str = "/etc/containers/registries.conf";
/// The directory of the others.
const DIRECTORY: &str = "/etc/containers/registries.conf.d";
/// Ours. Entries of files that are read later win, so it is called to be read last.
const OURS: &str = "99-shoal.conf";

/// The operator's entry for a prefix.
struct Theirs {
    file: PathBuf,
    line: usize,
    /// Keys and values as TOML, but for the prefix.
    keys: Vec<String>,
    is_blocked: bool,
    /// Mirrors by their location, each with its keys and values as TOML.
    mirrors: Vec<(String, Vec<String>)>,
}

/// What these programs should read.
pub(super) fn plan(view: &View<'_>, wish: &Wish, plan: &mut Plan) -> Result<(), HostsError> {
    let theirs = theirs(view, plan)?;
    let mut text = MARK.to_owned();
    let mut count = 0;
    for registry in &wish.registries {
        if registry.contains(':') {
            let note =
                format!("{registry} has a port, which the path of a mirror cannot name: it is left as it is");
            plan.note(Runtime::Podman, note);
            continue;
        }
        match entry(registry, theirs.get(registry), wish) {
            Ok(Ok(entry)) => {
                text.push_str(&entry);
                count += 1;
            }
            Ok(Err(note)) => plan.note(Runtime::Podman, note),
            Err(refusal) => plan.refusals.push(refusal),
        }
    }
    if count == 0 {
        return Ok(());
    }
    let file = Path::new(DIRECTORY).join(OURS);
    let agent = wish.agent.to_string();
    agree(
        &file,
        "",
        &text,
        |value| value.to_string().contains(&agent),
        |value| *value = serde_json::Value::Null,
    )?;
    plan.want(Runtime::Podman, &file, text);
    Ok(())
}

/// The operator's entries, as these programs see them.
fn theirs(view: &View<'_>, plan: &mut Plan) -> Result<BTreeMap<String, Theirs>, HostsError> {
    let mut files = vec![PathBuf::from(MAIN)];
    let names = view.names(Path::new(DIRECTORY))?;
    files.extend(
        names.iter().filter(|name| name.ends_with(".conf")).map(|name| Path::new(DIRECTORY).join(name)),
    );
    let mut theirs = BTreeMap::new();
    for file in files {
        let Some(text) = view.text(&file)? else { continue };
        let read = Toml::parse(&file, &text).and_then(|toml| entries(&toml));
        match read {
            Ok(entries) if is_later(&file) && !entries.is_empty() => {
                let problem = format!("is read after {OURS}, and entries that are read later win");
                plan.refusals.push(Refusal::new(&file, problem, "rename it so that it comes before"));
            }
            Ok(entries) => theirs.extend(entries),
            Err(refusal) => plan.refusals.push(refusal),
        }
    }
    Ok(theirs)
}

fn is_later(file: &Path) -> bool {
    file.starts_with(DIRECTORY) && file.file_name().is_some_and(|name| name.to_string_lossy().as_ref() > OURS)
}

/// The entries of one file by their prefix.
fn entries(toml: &Toml<'_>) -> Result<Vec<(String, Theirs)>, Refusal> {
    if let Some(old) = toml.at(&["registries"]) {
        let remedy =
            "write it in the second version of the format ([[registry]], unqualified-search-registries)";
        return Err(toml.refuse(
            old,
            "registries",
            "is the first version of the format, which no file beside it may mix with",
            remedy,
        ));
    }
    let Some(registries) = toml.at(&["registry"]) else { return Ok(Vec::new()) };
    let tables = registries.as_array_of_tables().ok_or_else(|| {
        toml.refuse(registries, "registry", "is not written as tables", "write each as [[registry]]")
    })?;
    tables.iter().map(|table| theirs_of(toml, table)).collect()
}

fn theirs_of(toml: &Toml<'_>, table: &Table) -> Result<(String, Theirs), Refusal> {
    let text = |key: &str| table.get(key).and_then(Item::as_str).map(str::to_owned);
    let line = toml.line(table.span());
    let nameless = || {
        let remedy = "its programs refuse it too; give it one of the two";
        Refusal::new(toml.file, "has neither prefix nor location", remedy).at(line, "registry")
    };
    let prefix = text("prefix")
        .filter(|prefix| !prefix.is_empty())
        .or_else(|| text("location"))
        .ok_or_else(nameless)?;
    let mut mirrors = Vec::new();
    if let Some(item) = table.get("mirror") {
        let tables = item.as_array_of_tables().ok_or_else(|| {
            toml.refuse(
                item,
                "registry.mirror",
                "is not written as tables",
                "write each as [[registry.mirror]]",
            )
        })?;
        for mirror in tables {
            let location = mirror.get("location").and_then(Item::as_str).unwrap_or_default().to_owned();
            mirrors.push((location, pairs(mirror, &[])));
        }
    }
    let is_blocked = table.get("blocked").and_then(Item::as_bool).unwrap_or(false);
    let keys = pairs(table, &["prefix", "mirror"]);
    Ok((prefix, Theirs { file: toml.file.to_owned(), line, keys, is_blocked, mirrors }))
}

/// Keys and values of a table as TOML.
fn pairs(table: &Table, without: &[&str]) -> Vec<String> {
    let pair = |(key, item): (&str, &Item)| {
        let value = item.as_value()?.clone().decorated(" ", "");
        (!without.contains(&key)).then(|| format!("{key} ={value}"))
    };
    table.iter().filter_map(pair).collect()
}

/// Our entry for a registry; or why there is none; or why nothing is written at all.
fn entry(registry: &str, theirs: Option<&Theirs>, wish: &Wish) -> Result<Result<String, String>, Refusal> {
    let agent = format!("{}/{registry}", wish.agent);
    let mut text = format!("\n[[registry]]\nprefix = {}\n", quoted(registry).trim());
    let mut mirrors: &[(String, Vec<String>)] = &[];
    match theirs {
        None => text.push_str(&format!("location = {}\n", quoted(registry).trim())),
        Some(theirs) if theirs.is_blocked => {
            return Ok(Err(format!("{registry} is blocked in {}: it is left so", theirs.file.display())));
        }
        Some(theirs) => {
            if theirs.mirrors.iter().any(|(location, _)| *location == agent) {
                return Ok(Err(format!("{} already sends {registry} to the agent", theirs.file.display())));
            }
            if let Some((other, _)) = theirs.mirrors.first() {
                wish.check_others(&theirs.file, theirs.line, "registry.mirror", other)?;
            }
            theirs.keys.iter().for_each(|pair| text.push_str(&format!("{pair}\n")));
            mirrors = &theirs.mirrors;
        }
    }
    text.push_str(&format!("\n[[registry.mirror]]\nlocation = {}\ninsecure = true\n", quoted(&agent).trim()));
    for (_, keys) in mirrors {
        text.push_str(&format!("\n[[registry.mirror]]\n{}\n", keys.join("\n")));
    }
    Ok(Ok(text))
}
