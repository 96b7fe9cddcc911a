//! Daemons that have to be told: Docker reads its mirrors again on SIGHUP, CRI-O its registries; containerd and k3s read theirs at the start.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::disk::Disk;
use super::plan::{Change, Note};
use super::program::run;
use super::runtime::Runtime;

/// A daemon with many containers takes its time.
const RESTART_TIMEOUT: Duration = Duration::from_secs(120);

/// Docker takes a signal within milliseconds, on a machine that has some.
const TAKEN_TIMEOUT: Duration = Duration::from_secs(15);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// Where dockerd and CRI-O say who they are.
const DOCKER_PID: &str = "/run/docker.pid";
const CRIO_PID: &str = "/run/crio/crio.pid";

/// Has daemons take what changed; says what is left to be done.
pub(super) async fn reload(disk: &Disk, changes: &[Change], may_restart: bool) -> Vec<Note> {
    let mut notes = Vec::new();
    if !disk.root().is_machine() {
        return notes;
    }
    if let Some(daemon) = changes.iter().find(|change| change.path.ends_with("daemon.json")) {
        match hang_up(Path::new(DOCKER_PID), "dockerd") {
            Some(why) => notes.push(Note { runtime: Runtime::Docker, note: why }),
            None if Path::new(DOCKER_PID).exists() => notes.extend(wait_for_docker(disk, daemon).await),
            None => {}
        }
    }
    if changes.iter().any(|change| change.runtime == Runtime::Podman) {
        let _ = hang_up(Path::new(CRIO_PID), "crio");
    }
    // `hosts.toml` is read at every pull; everything else of containerd's, and k3s' file, at the start.
    let needs_start = |runtime: Runtime| {
        changes.iter().any(|change| change.runtime == runtime && !change.path.ends_with("hosts.toml"))
    };
    for (runtime, unit) in [(Runtime::Containerd, "containerd"), (Runtime::K3s, "k3s")] {
        if needs_start(runtime) {
            notes.extend(restart(disk, runtime, unit, may_restart).await);
        }
    }
    notes
}

/// Waits until Docker has the mirrors of its file. It reads them some time after the signal, and a proof must not come before that.
///
/// A key that is no longer in the file changes nothing in a Docker that runs (measured with 20.10), so that is only said.
async fn wait_for_docker(disk: &Disk, daemon: &Change) -> Option<Note> {
    let bytes = daemon.target.as_ref().map(|target| target.bytes.as_slice()).unwrap_or(b"{}");
    let file: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let Some(wanted) = file.get("registry-mirrors").map(|list| mirrors(Some(list))) else {
        let note = "Docker asks its former mirrors first until it is restarted: none are in its file any more, which it does not take for none";
        return Some(Note { runtime: Runtime::Docker, note: note.to_owned() });
    };
    let deadline = Instant::now() + TAKEN_TIMEOUT;
    let words = ["info", "--format", "{{json .RegistryConfig.Mirrors}}"];
    while Instant::now() < deadline {
        let ended = run(disk.root(), "docker", &words, TAKEN_TIMEOUT).await?;
        let known: Value = serde_json::from_str(&ended.stdout).unwrap_or_default();
        // A daemon that does not run takes them at its start.
        if !ended.is_success || mirrors(Some(&known)) == wanted {
            return None;
        }
        tokio::time::sleep(LOOK).await;
    }
    let note =
        "Docker was told, and does not have the mirrors of its file yet: look at its log, or restart it";
    Some(Note { runtime: Runtime::Docker, note: note.to_owned() })
}

/// The URLs, as Docker compares them.
fn mirrors(list: Option<&Value>) -> Vec<String> {
    let all = list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    all.map(|url| url.trim_end_matches('/').to_owned()).collect()
}

async fn restart(disk: &Disk, runtime: Runtime, unit: &str, may_restart: bool) -> Option<Note> {
    if !may_restart {
        let note =
            format!("{unit} reads this at its next start: systemctl restart {unit}, or apply with --restart");
        return Some(Note { runtime, note });
    }
    let ended = run(disk.root(), "systemctl", &["restart", unit], RESTART_TIMEOUT).await;
    let why = match ended {
        Some(ended) if ended.is_success => return None,
        Some(ended) => ended.words,
        None => "there is no systemctl".to_owned(),
    };
    Some(Note { runtime, note: format!("{unit} was not restarted: {why}") })
}

/// Sends SIGHUP to the process that a file names, if it is that program. Why not, when that should be known.
fn hang_up(file: &Path, program: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let id: i32 = text.trim().parse().ok()?;
    let running = std::fs::read_to_string(format!("/proc/{id}/comm")).ok()?;
    if running.trim() != program {
        return None;
    }
    kill(Pid::from_raw(id), Signal::SIGHUP)
        .err()
        .map(|error| format!("{program} ({id}) was not told: {error}"))
}
