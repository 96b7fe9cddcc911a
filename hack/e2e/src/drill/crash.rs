//! The crash drill: `kill -9` of the server at random moments of pushes, tag moves and deletions, many times over one directory.
//!
//! After each kill the server is started again (one time in eight it is killed once more in the middle of that), and everything
//! of the round and a sample of what is older is compared with the journal; at the end, everything.
//!
//! The page cache survives a `kill -9`. With `power_loss` the disk loses its power first: the server goes on for a moment on a disk
//! that takes nothing any more, where it may refuse everything and still may promise nothing, and after that what was not synced is gone.

mod power;
mod worker;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::task::JoinSet;

use super::content::Content;
use super::journal::{Counts, Item, Journal, Kind};
use super::session::{Manner, Session};
use super::verify::{self, Found};
use crate::cluster::Node;
use crate::programs::Place;
use power::Power;
use worker::Worker;

/// The repositories; two, because content is shared between them and deletions must not be.
pub(super) const REPOSITORIES: [&str; 2] = ["drill/one", "drill/two"];
/// Clients that push at once. More than the server has threads.
const WORKERS: u64 = 8;
/// The moment of the kill, in milliseconds from the first requests of a round.
const KILL_MS: std::ops::Range<u64> = 3..350;
/// The moment of a kill during the start, in milliseconds.
const STUMBLE_MS: std::ops::Range<u64> = 1..120;
/// The moment when a collector runs as well: it frees nothing in the first second after a start.
const KILL_COLLECTING_MS: std::ops::Range<u64> = 1050..1700;
/// Older items that are compared after each round.
const SAMPLE: usize = 60;
/// Between two runs of the collector while the round lasts.
const COLLECT_EVERY: Duration = Duration::from_millis(25);
/// Ends a drill that finds fault after fault; the first ones say enough.
const FAULTS_MAX: usize = 20;

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Kills.
    pub rounds: u64,
    /// Whether the server collects what nothing refers to, with the shortest grace. Such blobs are then not counted as lost.
    pub collect: bool,
    /// Whether the machine loses its power at each kill, and not only the process its life. Needs root, to mount.
    pub power_loss: bool,
    /// Decides the load, and when to kill.
    pub seed: u64,
    /// Where the server's program is.
    pub bin_dir: PathBuf,
    /// Everything is written below this.
    pub directory: PathBuf,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Rounds that were carried out.
    pub rounds: u64,
    /// Kills, those during a start among them.
    pub kills: u64,
    /// What clients were told.
    pub counts: Counts,
    /// Comparisons.
    pub checked: usize,
    /// Runs of the collector that ended before a kill.
    pub collections: u64,
    /// Blobs that they removed.
    pub collected: u64,
    /// Slowest start, in milliseconds.
    pub start_ms_max: u128,
    /// Everything that was wrong, with its round.
    pub faults: Vec<String>,
}

/// What all rounds share.
pub(super) struct Ground {
    pub(super) journal: Arc<Journal>,
    pub(super) config: Content,
    pub(super) layer: Content,
    /// A manifest that is never deleted, to be the subject of others.
    pub(super) subject: Content,
    pub(super) number: std::sync::atomic::AtomicU64,
    power: Power,
}

/// Carries out a plan. `watch` hears of every round that is over.
pub async fn run(plan: &Plan, watch: &(dyn Fn(&Summary) + Send + Sync)) -> Result<Summary> {
    let mut place = Place::loopback(plan.directory.join("server"));
    if plan.collect {
        place = place.with("collect.every", "0s").with("collect.grace", "1s");
    }
    let power = Power::new(plan.power_loss)?;
    if let Some(disk) = power.disk() {
        place = place.with("data_directory", &disk.path().join("data").display().to_string());
    }
    let mut server = Node::server(&plan.bin_dir, place)?;
    let mut rng = fastrand::Rng::with_seed(plan.seed);
    let ground = Arc::new(Ground::prepare(server.listener("registry")?, plan.collect, power).await?);
    let mut workers: Vec<Worker> =
        (0..WORKERS).map(|number| Worker::new(number, rng.u64(..), Arc::clone(&ground))).collect();
    let mut summary = Summary::default();
    while summary.rounds < plan.rounds && summary.faults.len() < FAULTS_MAX {
        summary.rounds += 1;
        ground.journal.begin_round(summary.rounds);
        // Every third kill waits until there is something to collect.
        let is_long = plan.collect && summary.rounds.is_multiple_of(3);
        let moment = Duration::from_millis(rng.u64(if is_long { KILL_COLLECTING_MS } else { KILL_MS }));
        workers = summary.round(&mut server, workers, &ground.power, moment).await?;
        if rng.u8(..) < 32 {
            server.stumble(Duration::from_millis(rng.u64(STUMBLE_MS)))?;
            summary.kills += 1;
            ground.power.take().await?;
            ground.power.bring_back()?;
        }
        summary.recover(&mut server, &ground, &mut rng, SAMPLE).await?;
        watch(&summary);
    }
    summary.compare(&server, &ground, summary.rounds + 1, 0, &mut rng).await?;
    summary.counts = ground.journal.counts();
    ensure!(server.stop(), "the server did not end by itself when asked to");
    Ok(summary)
}

impl Summary {
    /// Load, and a kill in the middle of it.
    async fn round(
        &mut self,
        server: &mut Node,
        workers: Vec<Worker>,
        power: &Power,
        moment: Duration,
    ) -> Result<Vec<Worker>> {
        let address = server.listener("registry")?;
        let mut tasks = JoinSet::new();
        for worker in workers {
            tasks.spawn(worker.work(address));
        }
        let collector = tokio::spawn(collect_until_it_fails(server.listener("admin")?));
        tokio::time::sleep(moment).await;
        power.take().await?;
        server.kill();
        self.kills += 1;
        let (collections, collected) = collector.await?;
        self.collections += collections;
        self.collected += collected;
        let mut workers = Vec::new();
        while let Some(worker) = tasks.join_next().await {
            let (worker, surprises) = worker?;
            self.report(surprises);
            workers.push(worker);
        }
        // The order in which they ended is not that of the seed.
        workers.sort_by_key(Worker::number);
        power.bring_back()?;
        Ok(workers)
    }

    async fn recover(
        &mut self,
        server: &mut Node,
        ground: &Ground,
        rng: &mut fastrand::Rng,
        sample: usize,
    ) -> Result<()> {
        let started = std::time::Instant::now();
        let opened = server.restart();
        opened
            .with_context(|| format!("the server did not open its directory after round {}", self.rounds))?;
        self.start_ms_max = self.start_ms_max.max(started.elapsed().as_millis());
        self.compare(server, ground, 1, sample, rng).await
    }

    async fn compare(
        &mut self,
        server: &Node,
        ground: &Ground,
        rounds: u64,
        sample: usize,
        rng: &mut fastrand::Rng,
    ) -> Result<()> {
        let address = server.listener("registry")?;
        let journal = &ground.journal;
        let mut found = verify::items(address, journal, journal.items(rounds, sample, rng)).await?;
        found.add(verify::tags(address, journal, &REPOSITORIES).await?);
        let Found { checked, faults } = found;
        self.checked += checked;
        self.report(faults);
        self.counts = journal.counts();
        Ok(())
    }

    fn report(&mut self, faults: Vec<String>) {
        let round = self.rounds;
        self.faults.extend(faults.into_iter().map(|fault| format!("round {round}: {fault}")));
    }
}

impl Ground {
    /// Pushes what every manifest refers to, into both repositories.
    async fn prepare(address: SocketAddr, collecting: bool, power: Power) -> Result<Self> {
        let journal = Arc::new(Journal::of_server(collecting));
        let (config, layer) = (Content::random(1, 2), Content::random(2, 4096));
        let subject = Content::manifest(0, &config, &layer, None);
        let mut session = Session::connect(address).await?;
        for repository in REPOSITORIES {
            for blob in [&config, &layer] {
                let status = session.push(repository, blob, Manner::AtOnce).await?;
                ensure!(status == 201, "the first blob was answered {status}");
                acknowledge(&journal, Kind::Blob, repository, blob);
            }
            let (status, words) =
                session.put_manifest(repository, &subject.digest.to_string(), &subject).await?;
            ensure!(status == 201, "the first manifest was answered {status}: {words}");
            acknowledge(&journal, Kind::Manifest, repository, &subject);
            let blobs = [&config, &layer].map(|blob| item(Kind::Blob, repository, blob)).to_vec();
            journal.names(&item(Kind::Manifest, repository, &subject), blobs);
        }
        Ok(Self { journal, config, layer, subject, number: 1.into(), power })
    }
}

fn acknowledge(journal: &Journal, kind: Kind, repository: &str, content: &Content) {
    let item = item(kind, repository, content);
    journal.pushing(&item);
    journal.pushed(&item);
}

pub(super) fn item(kind: Kind, repository: &str, content: &Content) -> Item {
    Item { kind, repository: repository.to_owned(), digest: content.digest.to_string() }
}

/// Collects again and again until the server is gone: runs, and blobs that they removed.
async fn collect_until_it_fails(admin: SocketAddr) -> (u64, u64) {
    let (mut runs, mut blobs) = (0, 0);
    let Ok(mut session) = Session::connect(admin).await else { return (runs, blobs) };
    while let Ok((status, body)) = session.post("/collect").await {
        if status == 200 {
            runs += 1;
            let report: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            blobs += report["blobs"]["count"].as_u64().unwrap_or_default();
        }
        tokio::time::sleep(COLLECT_EVERY).await;
    }
    (runs, blobs)
}
