//! One `hosts.toml`, as containerd and newer Docker read it at every pull.
//!
//! The agent's table goes in front of all other hosts, because hosts are asked in the order of the file. `server` is left out of files
//! of our own: what the runtime would ask without the file is then what it asks behind the agent, by its own rules.

use std::path::{Path, PathBuf};

use serde_json::Value;
use toml_edit::Item;

use super::error::Refusal;
use super::plan::{MARK, Wish};
use super::text::{insert, line_start};
use super::toml_text::{Toml, agree, first_place, quoted};

/// The directory that answers for every registry without one of its own.
pub(super) const DEFAULT: &str = "_default";

/// Certificates beside a `hosts.toml` that does not exist yet: runtimes use them only as long as there is none.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    /// Authorities, `*.crt`.
    pub(super) authorities: Vec<PathBuf>,
    /// Certificate and key of the client, `*.cert` and `*.key`.
    pub(super) clients: Vec<(PathBuf, PathBuf)>,
}

impl Certificates {
    /// Those among the names in a directory.
    pub(super) fn among(directory: &Path, names: &[String]) -> Self {
        let ending = |ending: &str| -> Vec<PathBuf> {
            names.iter().filter(|name| name.ends_with(ending)).map(|name| directory.join(name)).collect()
        };
        let clients = ending(".cert").into_iter().map(|certificate| {
            let key = certificate.with_extension("key");
            (certificate, key)
        });
        Self { authorities: ending(".crt"), clients: clients.collect() }
    }

    fn render(&self) -> String {
        let path = |path: &PathBuf| quoted(&path.display().to_string());
        let mut text = String::new();
        if !self.authorities.is_empty() {
            let all: Vec<String> = self.authorities.iter().map(path).collect();
            text.push_str(&format!("ca = [{}]\n", all.join(", ")));
        }
        if !self.clients.is_empty() {
            let pair =
                |(certificate, key): &(PathBuf, PathBuf)| format!("[{}, {}]", path(certificate), path(key));
            let all: Vec<String> = self.clients.iter().map(pair).collect();
            text.push_str(&format!("client = [{}]\n", all.join(", ")));
        }
        text
    }
}

/// The agent's table.
fn table(url: &str) -> String {
    // Both capabilities are known to every version. Old ones ignore `dial_timeout`; for the others an agent that is gone costs 200 ms.
    format!(
        "[host.{}]\n  capabilities = [\"pull\", \"resolve\"]\n  dial_timeout = \"200ms\"\n",
        quoted(url).trim()
    )
}

/// The file with the agent in front. The second part is what an operator should know.
pub(super) fn wire(
    file: &Path,
    text: Option<&str>,
    certificates: &Certificates,
    wish: &Wish,
) -> Result<(String, Option<String>), Refusal> {
    let url = wish.url();
    let Some(text) = text else {
        let certificates = certificates.render();
        let gap = if certificates.is_empty() { "" } else { "\n" };
        let fresh = format!("{MARK}{certificates}{gap}{}", table(&url));
        check(file, &certificates, &fresh, &url)?;
        return Ok((fresh, None));
    };
    let toml = Toml::parse(file, text)?;
    if let Some(server) = toml.at(&["server"]).filter(|server| names(server.as_str(), &url)) {
        let remedy =
            "name the registry itself, so that pulls go on when the agent is away, or remove the line";
        return Err(toml.refuse(server, "server", "names the agent, and nothing behind it", remedy));
    }
    let hosts = hosts(&toml)?;
    if let Some(at) = hosts.iter().position(|(host, _)| names(Some(host), &url)) {
        return already(&toml, hosts[at].1, at).map(|note| (text.to_owned(), note));
    }
    let after = match hosts.first() {
        None => insert(
            text,
            text.len(),
            &format!("{}{}", if text.trim().is_empty() { "" } else { "\n" }, table(&url)),
        ),
        Some((host, item)) => {
            wish.check_others(file, toml.line(first_place(item)), &format!("host.{host:?}"), host)?;
            let at = first_place(item).map_or(text.len(), |span| span.start);
            insert(text, above_comments(text, at), &format!("{}\n", table(&url)))
        }
    };
    check(file, text, &after, &url)?;
    Ok((after, None))
}

/// The hosts in the order of the file.
fn hosts<'t>(toml: &'t Toml<'_>) -> Result<Vec<(&'t str, &'t Item)>, Refusal> {
    let Some(item) = toml.at(&["host"]) else { return Ok(Vec::new()) };
    let in_one_line = |item: &Item| {
        let remedy = "write each host as a table, [host.\"https://…\"], so that another can go in front";
        toml.refuse(item, "host", "is not written as tables", remedy)
    };
    let table = item.as_table().filter(|table| !table.is_dotted()).ok_or_else(|| in_one_line(item))?;
    let mut hosts: Vec<(&str, &Item)> = table.iter().collect();
    if hosts.iter().any(|(_, host)| host.as_table().is_none_or(toml_edit::Table::is_dotted)) {
        return Err(in_one_line(item));
    }
    hosts.sort_by_key(|(_, host)| first_place(host).map_or(0, |span| span.start));
    Ok(hosts)
}

/// The agent is in the file, by hand or from a run whose record is lost.
fn already(toml: &Toml<'_>, host: &Item, position: usize) -> Result<Option<String>, Refusal> {
    let capabilities = host.get("capabilities").and_then(Item::as_array);
    let can = |what: &str| capabilities.is_none_or(|all| all.iter().any(|one| one.as_str() == Some(what)));
    if !(can("pull") && can("resolve")) {
        let remedy = "write capabilities = [\"pull\", \"resolve\"], or remove the table and apply again";
        return Err(toml.refuse(host, "capabilities", "names the agent, but not for pulls by tag", remedy));
    }
    let note = format!("{} has the agent behind other hosts; it was left so", toml.file.display());
    Ok((position > 0).then_some(note))
}

/// Whether a URL is the agent's.
fn names(text: Option<&str>, url: &str) -> bool {
    text.is_some_and(|text| text.trim_end_matches('/').trim_end_matches("/v2") == url)
}

/// The beginning of the comments that stand directly above a line.
fn above_comments(text: &str, at: usize) -> usize {
    let mut start = line_start(text, at);
    while start > 0 {
        let above = line_start(text, start - 1);
        if !text[above..start].trim_start().starts_with('#') {
            break;
        }
        start = above;
    }
    // A head of comments on top of the file is about the file, not about its first table.
    if start == 0 { line_start(text, at) } else { start }
}

fn check(file: &Path, before: &str, after: &str, url: &str) -> Result<(), Refusal> {
    let host = |value: &Value| value.get("host").and_then(|hosts| hosts.get(url)).is_some();
    agree(file, before, after, host, |value| {
        if let Some(hosts) = value.get_mut("host").and_then(Value::as_object_mut) {
            hosts.remove(url);
        }
    })
}
