//! What the runtimes themselves say about their new files, before these are put in place.
//!
//! Candidates lie in a directory of their own, readable for root alone. A program that is too old to be asked has no opinion.

use std::fs;
use std::path::{Path, PathBuf};

use super::disk::Disk;
use super::error::{HostsError, Refusal};
use super::plan::{Change, Plan};
use super::program::{ASK_TIMEOUT, Ended, run, run_with};
use super::runtime::Runtime;

/// The end of the path of containerd's main file; others are imported by it.
const MAIN: &str = "containerd/config.toml";

/// Asks each runtime about each file that it can be asked about.
pub(super) async fn check(disk: &Disk, plan: &Plan, changes: &[Change]) -> Result<(), HostsError> {
    if !disk.root().is_machine() {
        return Ok(());
    }
    let mut refusals = Vec::new();
    for change in changes.iter().filter(|change| change.target.is_some()) {
        let bytes = change.target.as_ref().map(|target| target.bytes.as_slice()).unwrap_or_default();
        let candidate = Candidate::write(&change.path, bytes)?;
        let said = match (change.runtime, name(&change.path)) {
            (Runtime::Containerd, file) if file != "hosts.toml" => {
                containerd(disk, plan, change, &candidate).await
            }
            (Runtime::Docker, "daemon.json") => docker(disk, &candidate).await,
            (Runtime::Podman, _) => podman(disk, &candidate).await,
            _ => None,
        };
        if let Some(why) = said {
            let problem = format!("{} does not take the new file: {why}", change.runtime);
            refusals.push(Refusal::new(
                &change.path,
                problem,
                "correct what it names, or leave this runtime out",
            ));
        }
    }
    if refusals.is_empty() { Ok(()) } else { Err(HostsError::Refused(refusals)) }
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// A file that is not in place yet.
struct Candidate {
    directory: PathBuf,
    file: PathBuf,
}

impl Candidate {
    fn write(path: &Path, bytes: &[u8]) -> Result<Self, HostsError> {
        use std::os::unix::fs::DirBuilderExt;
        let unique = format!("shoal-hosts-{:016x}", fastrand::u64(..));
        let directory = std::env::temp_dir().join(unique);
        fs::DirBuilder::new().mode(0o700).create(&directory).map_err(HostsError::io("make", &directory))?;
        let file = directory.join(name(path));
        let candidate = Self { directory, file };
        fs::write(&candidate.file, bytes).map_err(HostsError::io("write", &candidate.file))?;
        Ok(candidate)
    }

    fn text(&self) -> String {
        self.file.display().to_string()
    }
}

impl Drop for Candidate {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// `None`: no objection. The file is judged without what it imports, and a file that is imported without the others.
async fn containerd(disk: &Disk, plan: &Plan, change: &Change, candidate: &Candidate) -> Option<String> {
    let scratch = if change.path.ends_with(MAIN) {
        let text = fs::read_to_string(&candidate.file).ok()?;
        let mut document = text.parse::<toml_edit::DocumentMut>().ok()?;
        document.remove("imports");
        document.to_string()
    } else {
        format!("version = {}\nimports = [{:?}]\n", plan.containerd_version, candidate.text())
    };
    let main = candidate.directory.join("scratch.toml");
    fs::write(&main, scratch).ok()?;
    let main = main.display().to_string();
    let dump = run(disk.root(), "containerd", &["--config", &main, "config", "dump"], ASK_TIMEOUT).await?;
    if !dump.is_success {
        return Some(dump.words);
    }
    let path = plan.hosts_directory.as_ref()?.display().to_string();
    let says = dump.stdout.lines().any(|line| {
        let pair =
            line.split_once('=').map(|(key, value)| (key.trim(), value.trim().trim_matches(['"', '\''])));
        pair == Some(("config_path", path.as_str()))
    });
    (!says).then(|| format!("it does not find config_path = {path:?} in it"))
}

async fn docker(disk: &Disk, candidate: &Candidate) -> Option<String> {
    let ended =
        run(disk.root(), "dockerd", &["--validate", "--config-file", &candidate.text()], ASK_TIMEOUT).await?;
    // Before version 23 there is no such flag.
    objection(ended).filter(|words| !words.contains("unknown flag"))
}

async fn podman(disk: &Disk, candidate: &Candidate) -> Option<String> {
    let variables = [("CONTAINERS_REGISTRIES_CONF", candidate.file.as_path())];
    let words = ["info", "--format", "{{json .Registries}}"];
    objection(run_with(disk.root(), "podman", &words, &variables, ASK_TIMEOUT).await?)
        // Anything else that is wrong with its storage or its cgroups is not about this file.
        .filter(|words| words.contains("registries"))
}

fn objection(ended: Ended) -> Option<String> {
    (!ended.is_success).then_some(ended.words)
}
