//! The last preheat jobs, for the operator's status.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use shoal_api::preheat::{PreheatImage, Preheated};

use super::notification::Wanted;
use crate::clock;

/// Jobs that are remembered.
const JOBS_MAX: usize = 100;

/// One job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PreheatJob {
    /// When it was done.
    pub time: String,
    /// Where the image is.
    pub repository: String,
    /// What was asked for: a tag or a digest.
    pub reference: String,
    /// The manifest or index.
    pub manifest: String,
    /// Blobs that peers can fetch now.
    pub ready: usize,
    /// Blobs and manifests that are not here.
    pub missing: usize,
    /// Agents that were asked to fetch.
    pub agents: usize,
}

/// The last jobs, the newest last. Clones share them.
#[derive(Clone, Default)]
pub struct PreheatJobs(Arc<Mutex<VecDeque<PreheatJob>>>);

impl PreheatJobs {
    /// The jobs that are remembered.
    pub fn list(&self) -> Vec<PreheatJob> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    pub(super) fn record(&self, wanted: &Wanted, image: &PreheatImage, done: Preheated) -> PreheatJob {
        let job = PreheatJob {
            time: clock::now_text(),
            repository: image.repository.to_string(),
            reference: wanted.reference.to_string(),
            manifest: image.manifest.to_string(),
            ready: done.ready,
            missing: done.missing,
            agents: done.agents,
        };
        let (repository, reference, ready, missing) =
            (&job.repository, &job.reference, job.ready, job.missing);
        tracing::info!(repository, reference, ready, missing, "preheated");
        let mut jobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if jobs.len() == JOBS_MAX {
            jobs.pop_front();
        }
        jobs.push_back(job.clone());
        job
    }
}
