//! containerd's own configuration: the main file, what it imports, and the one key in them that matters to us.

use std::path::{Path, PathBuf};

use serde_json::Value;
use toml_edit::Item;

use super::super::error::{HostsError, Refusal};
use super::super::plan::MARK;
use super::super::text::{insert, line_end, splice};
use super::super::toml_text::{Toml, agree, first_place, quoted};
use super::super::view::View;

/// Where containerd looks, unless told otherwise on its command line.
const MAIN: &str = "/etc/containerd/config.toml";
/// Our drop-in, among the files that the main one imports.
const DROP_IN: &str = "shoal.toml";

/// All files of the configuration, in the order in which containerd merges them.
pub(super) struct Config {
    files: Vec<(PathBuf, String)>,
    /// Whether the main file is there.
    has_main: bool,
    /// A pattern of imports under which a drop-in can go.
    drop_ins: Option<PathBuf>,
    version: i64,
}

impl Config {
    /// Reads the main file and everything that it imports.
    pub(super) fn read(view: &View<'_>) -> Result<Self, HostsError> {
        let main = Path::new(MAIN);
        let text = view.text(main)?;
        let has_main = text.is_some();
        let text = text.unwrap_or_default();
        let mut config = Self { files: Vec::new(), has_main, drop_ins: None, version: 2 };
        let toml = Toml::parse(main, &text)?;
        // Without a number it is the first version, whose plugins have short names; every containerd translates it.
        let version = toml.at(&["version"]).and_then(Item::as_integer);
        config.version = if has_main { version.unwrap_or(1) } else { 2 };
        let patterns = toml.at(&["imports"]).and_then(Item::as_array).map(|imports| {
            imports.iter().filter_map(|import| import.as_str().map(str::to_owned)).collect::<Vec<_>>()
        });
        config.files.push((main.to_owned(), text.clone()));
        for pattern in patterns.unwrap_or_default() {
            config.import(view, &Path::new("/etc/containerd").join(pattern))?;
        }
        Ok(config)
    }

    fn import(&mut self, view: &View<'_>, pattern: &Path) -> Result<(), HostsError> {
        let (Some(directory), Some(name)) =
            (pattern.parent(), pattern.file_name().and_then(|name| name.to_str()))
        else {
            return Ok(());
        };
        if name == "*.toml" && self.drop_ins.is_none() {
            self.drop_ins = Some(directory.join(DROP_IN));
        }
        for found in view.names(directory)?.into_iter().filter(|found| matches(name, found)) {
            let path = directory.join(found);
            let text = view.text(&path)?.unwrap_or_default();
            self.files.push((path, text));
        }
        Ok(())
    }

    /// The main file.
    pub(super) fn main(&self) -> &Path {
        &self.files[0].0
    }

    /// The version of the main file's form.
    pub(super) const fn version(&self) -> i64 {
        self.version
    }

    /// The plugin that pulls for Kubernetes, as this version calls it.
    const fn plugin(&self) -> &'static str {
        match self.version {
            ..2 => "cri",
            2 => "io.containerd.grpc.v1.cri",
            _ => "io.containerd.cri.v1.images",
        }
    }

    /// Whether the plugin is switched off.
    pub(super) fn is_disabled(&self) -> bool {
        self.files.iter().any(|(file, text)| {
            let Ok(toml) = Toml::parse(file, text) else { return false };
            let disabled = toml.at(&["disabled_plugins"]).and_then(Item::as_array);
            disabled.is_some_and(|all| {
                all.iter().any(|one| one.as_str().is_some_and(|one| one == "cri" || one == self.plugin()))
            })
        })
    }

    /// What `config_path` says, if it says something.
    pub(super) fn hosts_directory(&self) -> Result<Option<String>, HostsError> {
        let mut found = None;
        for (file, text) in &self.files {
            let toml = Toml::parse(file, text)?;
            let Some(plugin) = toml.at(&["plugins", self.plugin()]) else { continue };
            check_old_keys(&toml, plugin)?;
            let path = plugin.get("registry").and_then(|registry| registry.get("config_path"));
            found = path.and_then(Item::as_str).filter(|path| !path.is_empty()).map(str::to_owned);
        }
        Ok(found)
    }

    /// The file that has to change so that `config_path` is this directory, and what it becomes.
    pub(super) fn with_hosts_directory(&self, directory: &str) -> Result<(PathBuf, String), HostsError> {
        let has_plugin = |(file, text): &&(PathBuf, String)| {
            Toml::parse(file, text).is_ok_and(|toml| toml.at(&["plugins", self.plugin()]).is_some())
        };
        let owner = self.files.iter().rev().find(has_plugin);
        let keys = format!(
            "[plugins.{}.registry]\n  config_path = {}\n",
            name(self.plugin()),
            quoted(directory).trim()
        );
        let head = if self.version < 2 { String::new() } else { format!("version = {}\n\n", self.version) };
        let fresh = format!("{MARK}{head}{keys}");
        match (owner, &self.drop_ins) {
            (Some((file, text)), _) => Ok((file.clone(), self.put(file, text, &keys, directory)?)),
            (None, Some(drop_in)) => Ok((drop_in.clone(), fresh)),
            (None, None) if !self.has_main => Ok((MAIN.into(), fresh)),
            (None, None) => {
                let (file, text) = &self.files[0];
                Ok((file.clone(), self.put(file, text, &keys, directory)?))
            }
        }
    }

    /// Puts the key where it belongs in a file.
    fn put(&self, file: &Path, text: &str, keys: &str, directory: &str) -> Result<String, Refusal> {
        let toml = Toml::parse(file, text)?;
        let registry = toml.at(&["plugins", self.plugin(), "registry"]);
        let value = registry.and_then(|registry| registry.get("config_path"));
        let key = format!("config_path = {}\n", quoted(directory).trim());
        let after = if let Some(span) = value.and_then(Item::span) {
            splice(text, span, quoted(directory).trim())
        } else if let Some(span) = registry.and_then(Item::as_table).and_then(toml_edit::Table::span) {
            let header = line_end(text, span.start);
            insert(text, header, &format!("{}  {key}", indent(text, span.start)))
        } else {
            let gap = if text.trim().is_empty() { "" } else { "\n" };
            insert(text, text.len(), &format!("{gap}{keys}"))
        };
        let pointer = format!("/plugins/{}/registry/config_path", self.plugin());
        let is_there = |value: &Value| value.pointer(&pointer).and_then(Value::as_str) == Some(directory);
        agree(file, text, &after, is_there, |value| {
            let registry = value.pointer_mut(&format!("/plugins/{}/registry", self.plugin()));
            if let Some(registry) = registry.and_then(Value::as_object_mut) {
                registry.remove("config_path");
            }
        })?;
        Ok(after)
    }
}

/// Keys with which containerd refuses to load the plugin once `config_path` is set.
fn check_old_keys(toml: &Toml<'_>, plugin: &Item) -> Result<(), Refusal> {
    let Some(registry) = plugin.get("registry") else { return Ok(()) };
    let is_used = |item: &&Item| item.as_table_like().is_some_and(|table| !table.is_empty());
    if let Some(mirrors) = registry.get("mirrors").filter(is_used) {
        let remedy = "move them to hosts.toml files below config_path (containerd's docs/hosts.md) and remove the table";
        return Err(toml.refuse(mirrors, "registry.mirrors", "cannot be together with config_path", remedy));
    }
    let configs = registry.get("configs").and_then(Item::as_table_like);
    for (host, config) in configs.iter().flat_map(|configs| configs.iter()) {
        if let Some(tls) = config.get("tls") {
            let key = format!("registry.configs.{host:?}.tls");
            let remedy = "move it to a hosts.toml below config_path and remove the table";
            return Err(Refusal::new(toml.file, "cannot be together with config_path", remedy)
                .at(toml.line(first_place(tls)), key));
        }
    }
    Ok(())
}

/// A key, in quotes when it has dots.
fn name(plugin: &str) -> String {
    if plugin.contains('.') { quoted(plugin).trim().to_owned() } else { plugin.to_owned() }
}

/// The white space before a table's header.
fn indent(text: &str, at: usize) -> &str {
    let line = &text[super::super::text::line_start(text, at)..];
    &line[..line.len() - line.trim_start_matches([' ', '\t']).len()]
}

/// Whether a name is meant by a pattern with `*` and `?`.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.chars().next() {
        None => name.is_empty(),
        Some('*') => {
            let rest = &pattern[1..];
            name.char_indices().map(|(at, _)| at).chain([name.len()]).any(|at| matches(rest, &name[at..]))
        }
        Some(first) => {
            let mut letters = name.chars();
            letters.next().is_some_and(|letter| first == '?' || first == letter)
                && matches(&pattern[first.len_utf8()..], letters.as_str())
        }
    }
}
