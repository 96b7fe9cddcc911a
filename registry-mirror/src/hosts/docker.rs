//! Docker: `registry-mirrors` in `daemon.json`, which is about docker.io alone; and for Docker 28 and later with the containerd image store,
//! `hosts.toml` below `/etc/docker/certs.d`.
//!
//! The text of `daemon.json` is changed in one place; everything else in it stays as it is, byte for byte.

use std::path::Path;

use serde_json::Value;

use super::containerd::plan_hosts;
use super::error::{HostsError, Refusal};
use super::json_members::{Member, members, space_at};
use super::plan::{Plan, Wish};
use super::runtime::{Runtime, locate};
use super::text::{line_of, newline, splice};
use super::toml_text::prune;
use super::view::View;

/// The daemon's configuration.
const DAEMON: &str = "/etc/docker/daemon.json";
/// The key.
const KEY: &str = "registry-mirrors";
/// Hosts, for the containerd image store.
const HOSTS: &str = "/etc/docker/certs.d";
/// Files that may give the daemon flags; a flag that is in `daemon.json` too keeps it from starting.
const FLAGS: [&str; 5] = [
    "/etc/default/docker",
    "/etc/sysconfig/docker",
    "/etc/systemd/system/docker.service",
    "/lib/systemd/system/docker.service",
    "/usr/lib/systemd/system/docker.service",
];
/// More of them.
const FLAG_DIRECTORY: &str = "/etc/systemd/system/docker.service.d";
/// The first version that reads [`HOSTS`].
const HOSTS_SINCE: u32 = 28;

/// What Docker should read.
pub(super) fn plan(view: &View<'_>, wish: &Wish, plan: &mut Plan) -> Result<(), HostsError> {
    let result = check_flags(view);
    plan.take(result)?;
    let file = Path::new(DAEMON);
    let text = view.text(file)?;
    if wish.catch_all || wish.registries.iter().any(|registry| is_hub(registry)) {
        let wired = wire(file, text.as_deref(), wish);
        match wired {
            Ok((text, note)) => {
                plan.want(Runtime::Docker, file, text);
                note.into_iter().for_each(|note| plan.note(Runtime::Docker, note));
            }
            Err(refusal) => plan.refusals.push(refusal),
        }
    }
    if reads_hosts(view, text.as_deref()) {
        return plan_hosts(view, wish, Runtime::Docker, Path::new(HOSTS), plan);
    }
    let others = wish.registries.iter().filter(|registry| !is_hub(registry)).cloned().collect::<Vec<_>>();
    if wish.catch_all || !others.is_empty() {
        let note = format!(
            "this Docker has mirrors for docker.io only; others go through the agent by name: docker pull {}/NAME",
            wish.agent
        );
        plan.note(Runtime::Docker, note);
    }
    Ok(())
}

fn is_hub(registry: &str) -> bool {
    matches!(registry, "docker.io" | "index.docker.io" | "registry-1.docker.io")
}

/// Whether this Docker may read `hosts.toml`: one that is too old does not mind the files, so only that is ruled out.
fn reads_hosts(view: &View<'_>, daemon: Option<&str>) -> bool {
    let parsed: Option<Value> = daemon.and_then(|text| serde_json::from_str(text).ok());
    let store = parsed
        .as_ref()
        .and_then(|value| value.pointer("/features/containerd-snapshotter"))
        .and_then(Value::as_bool);
    match store {
        Some(asked) => asked,
        None => !view.disk.root().is_machine() || version(view).is_none_or(|version| version >= HOSTS_SINCE),
    }
}

/// The major version of this machine's Docker.
fn version(view: &View<'_>) -> Option<u32> {
    let program = locate(view.disk.root(), "dockerd")?;
    let output = std::process::Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.split_whitespace().nth(2)?.split('.').next()?.parse().ok()
}

/// Refuses when the daemon is given mirrors on its command line.
fn check_flags(view: &View<'_>) -> Result<(), HostsError> {
    let mut files: Vec<_> = FLAGS.iter().map(|file| Path::new(file).to_owned()).collect();
    files.extend(
        view.names(Path::new(FLAG_DIRECTORY))?.into_iter().map(|name| Path::new(FLAG_DIRECTORY).join(name)),
    );
    for file in files {
        let Some(content) =
            view.disk.root().resolve(&file).ok().and_then(|path| view.disk.read(&path).ok().flatten())
        else {
            continue;
        };
        let text = String::from_utf8_lossy(&content.bytes);
        let line = text
            .lines()
            .position(|line| !line.trim_start().starts_with('#') && line.contains("--registry-mirror"));
        if let Some(line) = line {
            let problem = "Docker does not start when mirrors are given there and in daemon.json";
            let remedy = "move them to registry-mirrors in /etc/docker/daemon.json, and apply again";
            return Err(Refusal::new(&file, problem, remedy).at(line + 1, "--registry-mirror").into());
        }
    }
    Ok(())
}

/// `daemon.json` with the agent as the first mirror. The second part is what an operator should know.
fn wire(file: &Path, text: Option<&str>, wish: &Wish) -> Result<(String, Option<String>), Refusal> {
    let url = wish.url();
    let text = match text {
        None => return Ok((format!("{{\n  \"{KEY}\": [\"{url}\"]\n}}\n"), None)),
        Some(text) => text,
    };
    let parsed: Value = serde_json::from_str(text).map_err(|error| {
        let problem = format!("is not JSON: {error}");
        Refusal::new(file, problem, "Docker does not start with it either; correct it").at(error.line(), "")
    })?;
    let no_object = || Refusal::new(file, "is not a JSON object", "write { … } around it").at(1, "");
    let (open, all) = members(text).ok_or_else(no_object)?;
    let ours: Vec<&Member> = all.iter().filter(|member| member.key == KEY).collect();
    let refuse = |member: &Member, problem: &str, remedy: &str| {
        Refusal::new(file, problem, remedy).at(line_of(text, member.at), KEY)
    };
    let after = match ours[..] {
        [] => put_member(text, open, all.is_empty(), &url),
        [member] => {
            let mirrors = mirrors(&parsed)
                .ok_or_else(|| refuse(member, "is not a list of URLs", "write [\"http://…\"]"))?;
            let position = mirrors.iter().position(|mirror| mirror.trim_end_matches('/') == url);
            if let Some(position) = position {
                let note = "daemon.json has the agent behind other mirrors; it was left so".to_owned();
                return Ok((text.to_owned(), (position > 0).then_some(note)));
            }
            if let Some(first) = mirrors.first() {
                wish.check_others(file, line_of(text, member.at), KEY, first)?;
            }
            put_item(text, member, mirrors.is_empty(), &url)
        }
        [_, second, ..] => return Err(refuse(second, "is there twice", "remove one of the two")),
    };
    check(file, &parsed, &after, &url)?;
    Ok((after, None))
}

/// The mirrors that are there, when they are text.
fn mirrors(parsed: &Value) -> Option<Vec<String>> {
    parsed.get(KEY)?.as_array()?.iter().map(|mirror| mirror.as_str().map(str::to_owned)).collect()
}

/// A new first member, on a line of its own where the others have one.
fn put_member(text: &str, open: usize, is_empty: bool, url: &str) -> String {
    let newline = newline(text);
    if is_empty {
        let close = open + space_at(text, open).len();
        return splice(text, open..close, &format!("{newline}  \"{KEY}\": [\"{url}\"]{newline}"));
    }
    let space = space_at(text, open);
    let gap = if space.is_empty() { " " } else { "" };
    splice(text, open..open, &format!("{space}\"{KEY}\": [\"{url}\"],{gap}"))
}

/// A new first mirror, on a line of its own where the others have one.
fn put_item(text: &str, member: &Member, is_empty: bool, url: &str) -> String {
    if is_empty {
        return splice(text, member.value.clone(), &format!("[\"{url}\"]"));
    }
    let open = member.value.start + 1;
    let space = space_at(text, open);
    let gap = if space.is_empty() { " " } else { "" };
    splice(text, open..open, &format!("{space}\"{url}\",{gap}"))
}

/// Checks the result with a real parser: the agent, and nothing else, has come.
fn check(file: &Path, before: &Value, after: &str, url: &str) -> Result<(), Refusal> {
    let unable = || {
        let remedy = "docs/operations/runtimes.md shows what to write by hand";
        Refusal::new(file, "cannot be changed in place", remedy)
    };
    let mut new: Value = serde_json::from_str(after).map_err(|_| unable())?;
    let mut old = before.clone();
    let mirrors = new.get_mut(KEY).and_then(Value::as_array_mut).ok_or_else(unable)?;
    if mirrors.first().and_then(Value::as_str) != Some(url) {
        return Err(unable());
    }
    mirrors.remove(0);
    prune(&mut old);
    prune(&mut new);
    if old == new { Ok(()) } else { Err(unable()) }
}
