//! Images that are fetched before anybody pulls them, and how far that is.
//!
//! A job fetches the blobs of an image a few at a time, as work that nobody waits for: limits for the background hold for it, and what a
//! runtime pulls at the same time goes first. Jobs are remembered for a while after their end. What is asked for twice is fetched once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::Serialize;
use shoal_oci::Digest;
use shoal_swarm::BlobStatus;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::contents::{Contents, Platforms};
use crate::fetch::Fetch;
use crate::image::ImageName;
use crate::resolve::Resolver;

/// Jobs remembered; the oldest that have ended go first.
const JOBS_MAX: usize = 64;

/// Blobs of one job at once, as container runtimes have it.
const BLOBS_AT_ONCE: usize = 3;

/// The jobs of this process. Clones share them.
#[derive(Clone)]
pub struct Preheats(Arc<Inner>);

struct Inner {
    resolver: Resolver,
    fetch: Fetch,
    jobs: Mutex<Jobs>,
}

#[derive(Default)]
struct Jobs {
    next: u64,
    list: VecDeque<Arc<Job>>,
}

/// One image that is fetched.
struct Job {
    id: u64,
    image: String,
    begun: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    blobs: Vec<Blob>,
    ended: Option<(u64, Option<String>)>,
}

#[derive(Clone)]
struct Blob {
    digest: Digest,
    size: u64,
    state: BlobState,
}

/// How far a blob is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum BlobState {
    Waiting,
    Fetching,
    Here,
    Failed(String),
}

/// A job as the admin port shows it.
#[derive(Debug, Serialize)]
pub struct JobStatus {
    id: u64,
    image: String,
    /// `running`, `done` or `failed`.
    state: &'static str,
    why: Option<String>,
    elapsed_ms: u64,
    bytes: u64,
    size: u64,
    blobs: Vec<BlobReport>,
}

#[derive(Debug, Serialize)]
struct BlobReport {
    digest: String,
    size: u64,
    bytes: u64,
    state: BlobState,
}

impl Preheats {
    /// No job yet.
    pub fn new(resolver: Resolver, fetch: Fetch) -> Self {
        Self(Arc::new(Inner { resolver, fetch, jobs: Mutex::default() }))
    }

    /// Begins to fetch an image; its number, or `None` when too many are being fetched.
    pub fn begin(&self, image: ImageName, platforms: Platforms) -> Option<u64> {
        let job = {
            let mut jobs = self.jobs();
            if jobs.list.len() >= JOBS_MAX {
                let ended = jobs.list.iter().position(|job| job.lock().ended.is_some())?;
                jobs.list.remove(ended);
            }
            jobs.next += 1;
            let (id, image) = (jobs.next, image.to_string());
            let job = Arc::new(Job { id, image, begun: Instant::now(), state: Mutex::default() });
            jobs.list.push_back(Arc::clone(&job));
            job
        };
        let (id, inner) = (job.id, Arc::clone(&self.0));
        tokio::spawn(async move {
            let outcome = inner.run(&job, &image, &platforms).await;
            let why = outcome.err();
            tracing::info!(image = job.image, failed = why, "an image was preheated, or not");
            let elapsed = u64::try_from(job.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            job.lock().ended = Some((elapsed, why));
        });
        Some(id)
    }

    /// Every job, or the one with this number, the newest first. `swarm` says how far each blob is.
    pub fn status(&self, id: Option<u64>, swarm: &[BlobStatus]) -> Vec<JobStatus> {
        let jobs: Vec<_> = self.jobs().list.iter().rev().cloned().collect();
        jobs.iter().filter(|job| id.is_none_or(|id| job.id == id)).map(|job| job.status(swarm)).collect()
    }

    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        self.0.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    async fn run(&self, job: &Arc<Job>, image: &ImageName, platforms: &Platforms) -> Result<(), String> {
        let contents = Contents::of(&self.resolver, image, platforms).await?;
        let blob =
            |(digest, size): &(Digest, u64)| Blob { digest: *digest, size: *size, state: BlobState::Waiting };
        job.lock().blobs = contents.blobs.iter().map(blob).collect();
        let (turns, repositories) =
            (Arc::new(Semaphore::new(BLOBS_AT_ONCE)), Arc::new(contents.repositories));
        let mut tasks = JoinSet::new();
        for (index, (digest, _)) in contents.blobs.into_iter().enumerate() {
            let (resolver, fetch, turns) = (self.resolver.clone(), self.fetch.clone(), Arc::clone(&turns));
            let (repositories, job) = (Arc::clone(&repositories), Arc::clone(job));
            tasks.spawn(async move {
                // Never closed.
                let _turn = turns.acquire().await;
                job.lock().blobs[index].state = BlobState::Fetching;
                let size = |size| job.lock().blobs[index].size = size;
                let state = match resolver.through().warm(&fetch, &digest, &repositories, size).await {
                    Ok(()) => BlobState::Here,
                    Err(error) => BlobState::Failed(error.to_string()),
                };
                job.lock().blobs[index].state = state;
            });
        }
        while tasks.join_next().await.is_some() {}
        let state = job.lock();
        let failed = state.blobs.iter().find_map(|blob| match &blob.state {
            BlobState::Failed(why) => Some(format!("{}: {why}", blob.digest)),
            _ => None,
        });
        failed.map_or(Ok(()), Err)
    }
}

impl Job {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn status(&self, swarm: &[BlobStatus]) -> JobStatus {
        let state = self.lock();
        let blobs: Vec<_> = state.blobs.iter().map(|blob| blob.report(swarm)).collect();
        let elapsed = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (word, why, elapsed_ms) = match &state.ended {
            None => ("running", None, elapsed),
            Some((elapsed, None)) => ("done", None, *elapsed),
            Some((elapsed, why)) => ("failed", why.clone(), *elapsed),
        };
        JobStatus {
            id: self.id,
            image: self.image.clone(),
            state: word,
            why,
            elapsed_ms,
            bytes: blobs.iter().map(|blob| blob.bytes).sum(),
            size: blobs.iter().map(|blob| blob.size).sum(),
            blobs,
        }
    }
}

impl Blob {
    fn report(&self, swarm: &[BlobStatus]) -> BlobReport {
        let coming = || {
            let status = swarm.iter().find(|status| status.digest == self.digest);
            let parts = status.filter(|status| status.count > 0);
            parts.map_or(0, |status| self.size / u64::from(status.count) * u64::from(status.have))
        };
        let bytes = match self.state {
            BlobState::Here => self.size,
            BlobState::Fetching => coming().min(self.size),
            BlobState::Waiting | BlobState::Failed(_) => 0,
        };
        BlobReport { digest: self.digest.to_string(), size: self.size, bytes, state: self.state.clone() }
    }
}
