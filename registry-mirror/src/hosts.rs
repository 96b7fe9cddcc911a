//! Wires the container runtimes of this machine to the agent, and takes it back byte for byte.
//!
//! The operator's files stay theirs: text is put into them, everything else in them stays as it is, and a file that is not understood or
//! says something else is refused with its place and a remedy. What was changed is recorded before it is changed, so that any end of this
//! program leaves each file old or new, and `restore` finds its way. And since runtimes ignore what they do not understand without a word, only a
//! pull that came through the agent proves the wiring; when it does not, everything is taken back.
//!
//! Non-goals: to install or start runtimes, and to keep files that somebody else manages as they are later on.

mod carry;
mod containerd;
mod containers;
mod difference;
mod disk;
mod docker;
mod error;
mod hosts_file;
mod json_members;
mod judge;
mod k3s;
mod options;
mod plan;
mod program;
mod prove;
mod record;
mod reload;
mod report;
mod root;
mod runtime;
mod settings;
mod text;
mod toml_text;
mod view;
mod yaml_places;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::config::Config;
use carry::{carry_out, restore, restoring, reversed, sweep};
use disk::Disk;
use plan::{Change, Plan, Wish, changes};
use prove::{Proof, Verdict};
use record::{Record, State};
use report::Report;
use root::Root;
use view::View;

pub use error::{HostsError, Refusal};
pub use options::{ApplyOptions, HostsCommand, Place, RestoreOptions, Verb, WishOptions};
pub use plan::Existing;
pub use runtime::Runtime;
pub use settings::Hosts;

/// What a command has to say, and whether its status is 0.
#[derive(Debug)]
pub struct Answer {
    /// For standard output.
    pub text: String,
    /// Whether there is nothing left to do or to complain about.
    pub is_good: bool,
}

/// Does what the command line says.
///
/// # Errors
/// When nothing was done, or everything was taken back.
pub async fn run(config: &Config, command: &HostsCommand) -> Result<Answer, HostsError> {
    match &command.verb {
        Verb::Apply(options) => apply(config, options).await,
        Verb::Diff(options) => diff(config, options),
        Verb::Restore(options) => take_back(options).await,
    }
}

/// What apply would change.
fn diff(config: &Config, options: &WishOptions) -> Result<Answer, HostsError> {
    let disk = Disk::new(Root::new(&options.place.root)?);
    let wish = wish(config, options, disk.root())?;
    let state = State::new(&disk);
    let record = state.load()?;
    let view = View { disk: &disk, state: &state, record: &record };
    let plan = Plan::of(&view, &wish)?;
    let changes = changes(&view, &plan, &wish, options.force)?;
    let is_good = changes.is_empty();
    let report = Report { changes: &changes, notes: plan.notes, proofs: Vec::new(), verb: "would change" };
    Ok(Answer { text: report.render(options.place.output, true), is_good })
}

async fn apply(config: &Config, options: &ApplyOptions) -> Result<Answer, HostsError> {
    let disk = Disk::new(Root::new(&options.wish.place.root)?);
    let wish = wish(config, &options.wish, disk.root())?;
    let canary = canary(config, options, disk.root())?;
    let admin = options.admin.unwrap_or(reachable(config.admin.listen));
    if canary.is_some() {
        prove::ask(admin).await.map_err(|why| {
            HostsError::Unproven(format!(
                "nothing was changed: the agent's admin port does not answer, so that nothing could be proven ({why}); start the agent, or apply with --no-prove"
            ))
        })?;
    }
    let state = State::new(&disk);
    let _lock = state.lock(true)?;
    let mut record = state.load()?;
    sweep(&disk, &record)?;
    let view = View { disk: &disk, state: &state, record: &record };
    let plan = Plan::of(&view, &wish)?;
    let changes = changes(&view, &plan, &wish, options.wish.force)?;
    judge::check(&disk, &plan, &changes).await?;
    carry_out(&disk, &state, &mut record, &changes)?;
    let mut notes = plan.notes.clone();
    notes.extend(reload::reload(&disk, &changes, options.restart).await);
    let mut proofs = Vec::new();
    if let Some(image) = &canary {
        proofs = prove::prove(disk.root(), &wish, &plan, image, admin).await;
        settle_proofs(&disk, &state, &mut record, &changes, &proofs, options.restart).await?;
    }
    let report = Report { changes: &changes, notes, proofs, verb: "changed" };
    Ok(Answer { text: report.render(options.wish.place.output, false), is_good: true })
}

/// Remembers a proof, or takes back what was not proven.
async fn settle_proofs(
    disk: &Disk,
    state: &State<'_>,
    record: &mut Record,
    changes: &[Change],
    proofs: &[Proof],
    may_restart: bool,
) -> Result<(), HostsError> {
    let failures: Vec<String> = proofs
        .iter()
        .filter_map(|proof| match &proof.verdict {
            Verdict::Failed(why) => Some(format!("{}: {why}", proof.runtime)),
            _ => None,
        })
        .collect();
    if failures.is_empty() {
        if proofs.iter().any(|proof| matches!(proof.verdict, Verdict::Proven(_))) && !record.proven {
            record.proven = true;
            state.save(record)?;
        }
        return Ok(());
    }
    // Files that this run did not change were proven before, or they were never.
    let back = if !changes.is_empty() {
        reversed(changes)
    } else if record.proven {
        Vec::new()
    } else {
        restoring(&View { disk, state, record }, false)?
    };
    let what = if back.is_empty() { "Nothing was changed by this run" } else { "Everything was taken back" };
    restore(disk, state, record, &back)?;
    let left = reload::reload(disk, &back, may_restart).await;
    let left: String = left.iter().map(|note| format!("\n  {}: {}", note.runtime, note.note)).collect();
    Err(HostsError::Unproven(format!("the proof failed. {what}.\n  {}{left}", failures.join("\n  "))))
}

async fn take_back(options: &RestoreOptions) -> Result<Answer, HostsError> {
    let disk = Disk::new(Root::new(&options.place.root)?);
    let state = State::new(&disk);
    let _lock = state.lock(false)?;
    let mut record = state.load()?;
    let changes = restoring(&View { disk: &disk, state: &state, record: &record }, options.force)?;
    restore(&disk, &state, &mut record, &changes)?;
    let notes = reload::reload(&disk, &changes, options.restart).await;
    let report = Report { changes: &changes, notes, proofs: Vec::new(), verb: "put back" };
    Ok(Answer { text: report.render(options.place.output, false), is_good: true })
}

/// The image by which the wiring is proven, if it is to be.
fn canary(
    config: &Config,
    options: &ApplyOptions,
    root: &Root,
) -> Result<Option<crate::image::ImageName>, HostsError> {
    let image = match (&options.prove, options.no_prove) {
        (Some(image), _) if root.is_machine() => Some(image),
        (Some(_), _) => {
            let why = "--prove needs the machine's own runtimes, and --root names another tree";
            return Err(HostsError::Wish(why.to_owned()));
        }
        (None, true) => None,
        (None, false) => config.hosts.canary.as_ref().filter(|_| root.is_machine()),
    };
    image.map(|image| prove::canary(image).map_err(HostsError::Wish)).transpose()
}

/// What is wished, from flags and configuration.
fn wish(config: &Config, options: &WishOptions, root: &Root) -> Result<Wish, HostsError> {
    let mut runtimes = options.runtime.clone();
    if runtimes.is_empty() {
        runtimes = Runtime::ALL.into_iter().filter(|runtime| runtime.is_installed(root)).collect();
    }
    if runtimes.is_empty() {
        return Err(HostsError::Wish(
            "no container runtime is installed here; name one with --runtime".to_owned(),
        ));
    }
    runtimes.sort_unstable();
    runtimes.dedup();
    let mut registries = options.registry.clone();
    if registries.is_empty() {
        registries.clone_from(&config.hosts.registries);
        registries.extend(config.namespaces.iter().map(|namespace| namespace.host.clone()));
    }
    if let Some(bad) = registries.iter().find(|name| !settings::is_registry(name)) {
        return Err(HostsError::Wish(format!("`{bad}` is no registry; write it as host or host:port")));
    }
    let mut seen = std::collections::BTreeSet::new();
    registries.retain(|registry| seen.insert(registry.clone()));
    let agent = options.agent.unwrap_or(reachable(config.registry.listen));
    if agent.port() == 0 {
        let why = "the agent's port is not known, because registry.listen has port 0; name it with --agent";
        return Err(HostsError::Wish(why.to_owned()));
    }
    let catch_all = config.hosts.catch_all && !options.no_catch_all;
    Ok(Wish { agent, registries, catch_all, existing: options.existing, runtimes })
}

/// How a listener is reached from its own machine.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests;
