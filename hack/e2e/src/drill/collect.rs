//! The collection drill: pushes, mounts and deletions by many clients while the server collects all the time with a short grace.
//!
//! The race that it looks for is the one that other registries lost: a client is told that a blob is there (201 to its push, 200 to
//! its HEAD), the collector removes the blob, and the manifest that names it is refused or, worse, accepted. So contents are
//! shared, and become unwanted and wanted again all the time. Required: no manifest refused whose blobs were told to be there
//! within the grace, no blob of a tagged manifest unreadable, and that the collector does free something.

mod pusher;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::task::JoinSet;

use super::session::Session;
use crate::cluster::Node;
use crate::programs::Place;
use pusher::Pusher;

/// Nothing that was pushed or told within this time is collected. Short, so that much is collected; and long against one push, even
/// of a debug build on a busy machine.
pub(super) const GRACE: Duration = Duration::from_secs(2);
/// Clients.
const PUSHERS: u64 = 8;
/// Ends a drill that finds fault after fault.
const FAULTS_MAX: usize = 20;

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How long clients push.
    pub duration: Duration,
    /// Between two collections.
    pub every: Duration,
    /// Decides the load.
    pub seed: u64,
    /// Where the server's program is.
    pub bin_dir: PathBuf,
    /// Everything is written below this.
    pub directory: PathBuf,
}

/// What happened.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Blobs that were pushed.
    pub blobs: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Blobs that were found by HEAD, and so not pushed.
    pub found: u64,
    /// Mounts.
    pub mounts: u64,
    /// Manifests that were put under a tag.
    pub manifests: u64,
    /// Tags and manifests that were deleted.
    pub deletions: u64,
    /// Blobs of tagged manifests that were read and compared.
    pub read: u64,
    /// Manifests refused because the client had been told of a blob longer than the grace ago; a slow machine, not a loss.
    pub late: u64,
    /// Runs of the collector.
    pub collections: u64,
    /// Contents that it removed.
    pub collected_blobs: u64,
    /// Links of blobs to repositories that it removed.
    pub collected_links: u64,
    /// Bytes that it freed.
    pub freed_bytes: u64,
    /// Everything that was wrong.
    pub faults: Vec<String>,
}

impl Summary {
    /// Everything that clients and collector did.
    pub fn events(&self) -> u64 {
        self.blobs + self.found + self.mounts + self.manifests + self.deletions + self.read + self.collections
    }
}

/// The summary while the drill runs.
pub(super) type Shared = Arc<Mutex<Summary>>;

pub(super) fn note(shared: &Shared, change: impl FnOnce(&mut Summary)) {
    change(&mut shared.lock().unwrap_or_else(PoisonError::into_inner));
}

/// Carries out a plan. `watch` hears of every collection.
pub async fn run(plan: &Plan, watch: &(dyn Fn(&Summary) + Send + Sync)) -> Result<Summary> {
    let place = Place::loopback(plan.directory.join("server"))
        .with("collect.every", "0s")
        .with("collect.grace", &format!("{}s", GRACE.as_secs()));
    let mut server = Node::server(&plan.bin_dir, place)?;
    let address = server.listener("registry")?;
    let shared = Shared::default();
    let deadline = Instant::now() + plan.duration;
    let mut rng = fastrand::Rng::with_seed(plan.seed);
    let mut tasks = JoinSet::new();
    for number in 0..PUSHERS {
        let pusher = Pusher::new(number, rng.u64(..), Arc::clone(&shared));
        tasks.spawn(pusher.work(address, deadline));
    }
    let mut admin = Session::connect(server.listener("admin")?).await?;
    while Instant::now() < deadline && seen(&shared).faults.len() < FAULTS_MAX {
        collect(&mut admin, &shared).await?;
        watch(&seen(&shared));
        tokio::time::sleep(plan.every).await;
    }
    let mut pushers = Vec::new();
    while let Some(pusher) = tasks.join_next().await {
        pushers.push(
            pusher?.with_context(|| format!("a client got no answer\n{}", server.process().log_tail()))?,
        );
    }
    // What is unwanted has had its grace; what is wanted must survive that as well.
    tokio::time::sleep(GRACE).await;
    for _ in 0..3 {
        collect(&mut admin, &shared).await?;
        tokio::time::sleep(GRACE / 2).await;
    }
    for mut pusher in pushers {
        pusher.compare_all(address).await?;
    }
    ensure!(server.stop(), "the server did not end by itself when asked to");
    Ok(seen(&shared))
}

fn seen(shared: &Shared) -> Summary {
    shared.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Collects once, and reads the report.
async fn collect(admin: &mut Session, shared: &Shared) -> Result<()> {
    let (status, body) = admin.post("/collect").await?;
    ensure!(status == 200, "POST /collect was answered {status}: {}", String::from_utf8_lossy(&body));
    let report: Value = serde_json::from_slice(&body)?;
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    note(shared, |summary| {
        summary.collections += 1;
        summary.collected_blobs += number(&report["blobs"]["count"]);
        summary.collected_links += number(&report["links"]["count"]);
        summary.freed_bytes += number(&report["bytes_freed"]);
        if number(&report["faults"]["count"]) > 0 {
            summary.faults.push(format!("the collector reports {}", report["faults"]));
        }
    });
    Ok(())
}
