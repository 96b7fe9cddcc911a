//! containerd 1.6 to 2.x: `config_path` in its configuration, and `hosts.toml` below it.
//!
//! Kubernetes' pulls use `hosts.toml` only when the CRI plugin's `config_path` is set, in a table whose name depends on the version of the
//! configuration. A drop-in replaces a plugin's whole table in containerd 1.x, so the key goes into the last file that has the table, and
//! a drop-in of our own is written only when no file has it.

mod config;

use std::path::{Path, PathBuf};

use super::error::{HostsError, Refusal};
use super::hosts_file::{self, Certificates, DEFAULT};
use super::plan::{Plan, Wish};
use super::runtime::Runtime;
use super::view::View;
use config::Config;

/// Where hosts are when nothing says otherwise.
const HOSTS: &str = "/etc/containerd/certs.d";

/// What containerd should read.
pub(super) fn plan(view: &View<'_>, wish: &Wish, plan: &mut Plan) -> Result<(), HostsError> {
    let config = Config::read(view)?;
    plan.containerd_version = config.version();
    let directory = match config.hosts_directory()? {
        Some(directory) => {
            if let Some((_, rest)) = directory.split_once(':') {
                let note = format!(
                    "config_path is a list, of which containerd 2.1 and later may read nothing; hosts are written to its first directory, not to {rest}. Name one directory"
                );
                plan.note(Runtime::Containerd, note);
            }
            PathBuf::from(directory.split(':').next().unwrap_or(HOSTS))
        }
        None if config.is_disabled() => {
            plan.note(Runtime::Containerd, "the CRI plugin is disabled: ctr and nerdctl need --hosts-dir");
            PathBuf::from(HOSTS)
        }
        None => {
            let (file, text) = config.with_hosts_directory(HOSTS)?;
            plan.want(Runtime::Containerd, &file, text);
            PathBuf::from(HOSTS)
        }
    };
    if !directory.is_absolute() {
        let problem = format!("config_path is {}, which is not absolute", directory.display());
        return Err(Refusal::new(config.main(), problem, "name a directory from the root").into());
    }
    plan.hosts_directory = Some(directory.clone());
    plan_hosts(view, wish, Runtime::Containerd, &directory, plan)
}

/// What a directory of hosts should have: one file for all registries where that is wished, and one for each that has a directory of its own,
/// since `_default` does not count there.
pub(super) fn plan_hosts(
    view: &View<'_>,
    wish: &Wish,
    runtime: Runtime,
    directory: &Path,
    plan: &mut Plan,
) -> Result<(), HostsError> {
    let present = view.names(directory)?;
    let default = directory.join(DEFAULT).join("hosts.toml");
    let mut targets = Vec::new();
    if wish.catch_all {
        targets.push(DEFAULT.to_owned());
    }
    for registry in &wish.registries {
        // In the order in which containerd looks.
        let names = [registry.replace(':', "_") + "_", registry.clone()];
        let names = if registry.contains(':') { &names[..] } else { &names[1..] };
        match names.iter().find(|name| present.contains(name)) {
            Some(own) => targets.push(own.clone()),
            None if wish.catch_all => {}
            None if view.text(&default)?.is_some() => {
                let problem =
                    format!("answers for {registry}, and would not any more with a directory of its own");
                plan.refusals.push(Refusal::new(&default, problem, "leave --no-catch-all out"));
            }
            None => targets.push(registry.clone()),
        }
    }
    for name in present.iter().filter(|name| wish.catch_all && !targets.contains(name)) {
        if view.text(&directory.join(name).join("hosts.toml"))?.is_some() {
            let note = format!(
                "{name} has hosts of its own in {}: --registry {name} wires it too",
                directory.display()
            );
            plan.note(runtime, note);
        }
    }
    for target in targets {
        let planned = plan_host(view, wish, runtime, &directory.join(target), plan);
        plan.take(planned)?;
    }
    Ok(())
}

fn plan_host(
    view: &View<'_>,
    wish: &Wish,
    runtime: Runtime,
    directory: &Path,
    plan: &mut Plan,
) -> Result<(), HostsError> {
    let file = directory.join("hosts.toml");
    let text = view.text(&file)?;
    let certificates = match text {
        Some(_) => Certificates::default(),
        None => Certificates::among(directory, &view.names(directory)?),
    };
    let (text, note) = hosts_file::wire(&file, text.as_deref(), &certificates, wish)?;
    note.into_iter().for_each(|note| plan.note(runtime, note));
    plan.want(runtime, &file, text);
    Ok(())
}
