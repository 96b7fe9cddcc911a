//! A pull through each runtime, and the agent's own word that it came through the agent.
//!
//! A runtime ignores a file that it does not understand, and pulls past the mirror without saying so. So nothing that can be read proves the
//! wiring; a pull does. The agent's journal of requests names the client, the repository and the answer. What was pulled is removed again,
//! unless it was there before.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use shoal_http::{Client, ClientOptions};
use shoal_oci::Host;

use super::plan::{Plan, Wish};
use super::program::{Ended, run};
use super::root::Root;
use super::runtime::{Runtime, locate};
use crate::image::{ImageName, ImageNameError};

/// One pull of a canary, which is small, from an upstream that may be far.
const PULL_TIMEOUT: Duration = Duration::from_secs(180);
/// One question to the agent.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);
/// Records asked of the agent: all that it has.
const RECORDS_MAX: usize = 1024;
/// Until what was served is in the journal as served: its end is noted when the connection is done with it.
const SETTLE: Duration = Duration::from_secs(5);
/// The registry of images that name none.
const DOCKER_HUB: &str = "docker.io";
/// containerd's namespace for the canary.
const NAMESPACE: &str = "shoal-proof";

/// How the proof went for one runtime.
#[derive(Debug, Serialize)]
pub(super) struct Proof {
    pub(super) runtime: Runtime,
    /// The program that pulled.
    pub(super) program: &'static str,
    #[serde(flatten)]
    pub(super) verdict: Verdict,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", content = "detail", rename_all = "snake_case")]
pub(super) enum Verdict {
    /// The agent gave the image: so many requests, so many bytes.
    Proven(String),
    /// It cannot be tried here.
    Untried(String),
    /// It did not.
    Failed(String),
}

/// What the agent remembers of a request.
#[derive(Debug, Deserialize)]
struct Record {
    at_ms: u64,
    client: String,
    request: String,
    status: u16,
    sent_bytes: u64,
    events: Vec<Event>,
}

#[derive(Debug, Deserialize)]
struct Event {
    what: String,
}

/// How an image is pulled by one program.
struct Puller {
    program: &'static str,
    /// How the program calls itself towards registries.
    client: &'static str,
    /// Fails when the program's daemon does not run.
    alive: Vec<String>,
    /// Succeeds when the image is there already.
    present: Option<Vec<String>>,
    pull: Vec<String>,
    remove: Vec<Vec<String>>,
}

/// The image as every runtime understands it: with its registry, and on Docker Hub with what people leave out.
pub(super) fn canary(text: &str) -> Result<ImageName, String> {
    let name: ImageName = text.parse().map_err(|error: ImageNameError| error.to_string())?;
    let is_short = !name.repository.as_str().contains('/');
    let whole = match &name.host {
        Some(host) if host.as_str() != DOCKER_HUB || !is_short => return Ok(name),
        Some(host) => format!("{host}/library/{}", ImageName { host: None, ..name.clone() }),
        None if is_short => format!("{DOCKER_HUB}/library/{name}"),
        None => format!("{DOCKER_HUB}/{name}"),
    };
    whole.parse().map_err(|error: ImageNameError| error.to_string())
}

/// Whether pulls of this image go through the agent by what was wished.
fn covers(runtime: Runtime, wish: &Wish, image: &ImageName) -> Result<(), String> {
    let host = image.host.as_ref().map_or(DOCKER_HUB, Host::as_str);
    let is_listed = wish.registries.iter().any(|registry| registry == host);
    match runtime {
        Runtime::Docker if host != DOCKER_HUB => Err("Docker is proven by an image of docker.io".to_owned()),
        Runtime::Podman if !is_listed || host.contains(':') => {
            Err(format!("{host} is not among its registries"))
        }
        Runtime::Containerd | Runtime::K3s if !is_listed && !wish.catch_all => {
            Err(format!("{host} is not among its registries"))
        }
        _ => Ok(()),
    }
}

/// Pulls an image through each runtime of the wish.
pub(super) async fn prove(
    root: &Root,
    wish: &Wish,
    plan: &Plan,
    image: &ImageName,
    admin: SocketAddr,
) -> Vec<Proof> {
    let mut proofs = Vec::new();
    for runtime in &wish.runtimes {
        let puller =
            covers(*runtime, wish, image).and_then(|()| puller(root, *runtime, plan, &image.to_string()));
        let (program, verdict) = match puller {
            Ok(puller) => (puller.program, attempt(root, &puller, image, admin).await),
            Err(why) => ("", Verdict::Untried(why)),
        };
        proofs.push(Proof { runtime: *runtime, program, verdict });
    }
    proofs
}

/// Whether the agent answers at all, so that a proof means something.
pub(super) async fn ask(admin: SocketAddr) -> Result<(), String> {
    records(admin, 1).await.map(drop)
}

fn puller(root: &Root, runtime: Runtime, plan: &Plan, image: &str) -> Result<Puller, String> {
    let words = |text: &str| -> Vec<String> { text.split(' ').map(str::to_owned).collect() };
    let is_there = |program: &str| locate(root, program).is_some();
    let puller = |program, client, alive: &str, present: &str, pull: String, remove: Vec<String>| Puller {
        program,
        client,
        alive: words(alive),
        present: (!present.is_empty()).then(|| words(present)),
        pull: words(&pull),
        remove: remove.iter().map(|line| words(line)).collect(),
    };
    match runtime {
        Runtime::Containerd if is_there("ctr") => {
            let hosts =
                plan.hosts_directory.as_deref().unwrap_or(Path::new("/etc/containerd/certs.d")).display();
            let own = format!("--namespace {NAMESPACE}");
            let remove =
                vec![format!("{own} images rm --sync {image}"), format!("namespaces rm {NAMESPACE}")];
            Ok(puller(
                "ctr",
                "containerd/",
                "version",
                "",
                format!("{own} content fetch --hosts-dir {hosts} {image}"),
                remove,
            ))
        }
        Runtime::Containerd => Err("ctr is not installed".to_owned()),
        Runtime::Docker if is_there("docker") => {
            let present = format!("image inspect {image}");
            Ok(puller(
                "docker",
                "docker/",
                "version",
                &present,
                format!("pull {image}"),
                vec![format!("rmi {image}")],
            ))
        }
        Runtime::Docker => Err("docker, the client, is not installed".to_owned()),
        Runtime::Podman if is_there("podman") => {
            let present = format!("image exists {image}");
            Ok(puller(
                "podman",
                "containers/",
                "version",
                &present,
                format!("pull {image}"),
                vec![format!("rmi {image}")],
            ))
        }
        Runtime::Podman if is_there("skopeo") => {
            let pull = format!("inspect --no-tags docker://{image}");
            Ok(puller("skopeo", "skopeo/", "--version", "", pull, vec![]))
        }
        Runtime::Podman => Err("neither podman nor skopeo is installed".to_owned()),
        Runtime::K3s => {
            let present = format!("crictl inspecti {image}");
            let remove = vec![format!("crictl rmi {image}")];
            Ok(puller(
                "k3s",
                "containerd/",
                "crictl version",
                &present,
                format!("crictl pull {image}"),
                remove,
            ))
        }
    }
}

async fn attempt(root: &Root, puller: &Puller, image: &ImageName, admin: SocketAddr) -> Verdict {
    let call = |line: &[String], limit| {
        let line: Vec<String> = line.to_vec();
        async move {
            let words: Vec<&str> = line.iter().map(String::as_str).collect();
            run(root, puller.program, &words, limit).await
        }
    };
    match call(&puller.alive, ASK_TIMEOUT).await {
        Some(Ended { is_success: true, .. }) => {}
        Some(ended) => return Verdict::Untried(format!("it does not run: {}", ended.words)),
        None => return Verdict::Untried(format!("{} is not installed", puller.program)),
    }
    let was_present = match &puller.present {
        Some(line) => call(line, ASK_TIMEOUT).await.is_some_and(|ended| ended.is_success),
        None => false,
    };
    let begun = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let pulled = call(&puller.pull, PULL_TIMEOUT).await;
    let verdict = match pulled {
        Some(Ended { is_success: true, .. }) => {
            judge(puller, image, admin, u64::try_from(begun).unwrap_or(0)).await
        }
        Some(ended) => Verdict::Failed(format!("the pull failed: {}", ended.words)),
        None => Verdict::Failed(format!("{} is not installed", puller.program)),
    };
    if !was_present {
        for line in &puller.remove {
            // What is left over does no harm, and the verdict is about the pull.
            let _ = call(line, ASK_TIMEOUT).await;
        }
    }
    verdict
}

/// What the agent says of a pull.
async fn judge(puller: &Puller, image: &ImageName, admin: SocketAddr, begun: u64) -> Verdict {
    let deadline = tokio::time::Instant::now() + SETTLE;
    loop {
        let all = match records(admin, RECORDS_MAX).await {
            Ok(all) => all,
            Err(why) => {
                return Verdict::Failed(format!("the agent does not say what came through it: {why}"));
            }
        };
        let about = format!("/{}/", image.repository.as_str());
        let is_ours = |record: &&Record| {
            record.at_ms >= begun
                && record.client.starts_with(puller.client)
                && record.request.contains(&about)
        };
        let ours: Vec<&Record> = all.iter().filter(is_ours).collect();
        let is_settled = ours.iter().all(|record| record.status != 0);
        if (is_settled && !ours.is_empty()) || tokio::time::Instant::now() >= deadline {
            return verdict(puller, &ours);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn verdict(puller: &Puller, records: &[&Record]) -> Verdict {
    if records.is_empty() {
        return Verdict::Failed(format!(
            "the image came, but not through the agent: no request of {} reached it",
            puller.program
        ));
    }
    if let Some(refused) = records.iter().find(|record| record.status >= 400) {
        let why = refused.events.last().map_or("", |event| event.what.as_str());
        return Verdict::Failed(format!(
            "the agent answered {} with {}: {why}",
            refused.request, refused.status
        ));
    }
    if !records.iter().any(|record| record.request.contains("/manifests/") && record.status == 200) {
        return Verdict::Failed("the manifest did not come through the agent".to_owned());
    }
    let bytes: u64 = records.iter().map(|record| record.sent_bytes).sum();
    Verdict::Proven(format!("{} requests of {}, {bytes} bytes", records.len(), puller.program))
}

async fn records(admin: SocketAddr, count: usize) -> Result<Vec<Record>, String> {
    let client = Client::new(&ClientOptions::default());
    let url = format!("http://{admin}/why?n={count}");
    client.get_json(&url, ASK_TIMEOUT).await.map_err(|error| error.to_string())
}
