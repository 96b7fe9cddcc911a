//! The origin of one server: its store, and the swarm port in front of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use shoal_api::Grants;
use shoal_oci::Digest;
use shoal_store::{Blob, ErrorKind, Store};
use shoal_swarm::{
    BlobStatus, Envelope, Experiment, GrantCheck, RateLimits, Role, Shaper, Swarm, SwarmOptions,
};
use shoal_swarm_types::{Metainfo, PeerId, Zone};
use shoal_telemetry::SwarmMetrics;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::announcer::Introductions;
use crate::error::OriginError;
use crate::intake::Intake;
use crate::small::{SMALL_SIZE_MAX, Smalls};

/// Bodies sent at once over HTTP. Each holds at most two pieces (8 MiB), so together they hold half a gigabyte at worst; the
/// swarm port, which is the usual way, has limits of its own.
const BODIES_MAX: usize = 64;

/// How long a request waits for its turn before it is sent away. Its client has other sources.
const TURN_WAIT_MAX: Duration = Duration::from_secs(5);

/// Who this origin is in the swarm.
#[derive(Clone, Debug)]
pub struct OriginOptions {
    /// Identity, made anew at each start.
    pub peer_id: PeerId,
    /// Hash of the cluster's key; peers with another are turned away.
    pub cluster_key: [u8; 32],
    /// What connections of the swarm are put into; `None` for plain TCP.
    pub envelope: Option<Arc<dyn Envelope>>,
    /// Bytes of pieces sent per second at most; `None` for no limit.
    pub upload: Option<u64>,
    /// Who may have pieces; `None`: every member.
    pub check: Option<Arc<dyn GrantCheck>>,
    /// What the origin shows to agents from which it mends a blob; `None` where nothing is asked for.
    pub grants: Option<Arc<dyn Grants>>,
    /// Where this server stands.
    pub zone: Zone,
    /// What a measurement changes.
    pub experiment: Experiment,
}

impl OriginOptions {
    /// Plain connections, no limit, pieces for every member, no zone.
    pub fn new(peer_id: PeerId, cluster_key: [u8; 32]) -> Self {
        Self {
            peer_id,
            cluster_key,
            envelope: None,
            upload: None,
            check: None,
            grants: None,
            zone: Zone::UNKNOWN,
            experiment: Experiment::default(),
        }
    }
}

/// The origin. Cheap to clone.
#[derive(Clone)]
pub struct Origin {
    pub(crate) store: Store,
    pub(crate) swarm: Swarm,
    pub(crate) introductions: Introductions,
    pub(crate) intake: Intake,
    turns: Arc<Semaphore>,
    smalls: Arc<Smalls>,
}

impl Origin {
    /// Starts to serve every blob of `store`, now and later, on the swarm port `listener`.
    pub fn start(listener: TcpListener, options: OriginOptions, store: Store, metrics: SwarmMetrics) -> Self {
        let OriginOptions { peer_id, cluster_key, envelope, upload, check, grants, zone, experiment } =
            options;
        let mut options =
            SwarmOptions { envelope, zone, ..SwarmOptions::new(peer_id, Role::Owner, cluster_key) };
        experiment.apply(&mut options.limits);
        options.shaper = Arc::new(Shaper::new(RateLimits { upload, ..RateLimits::default() }));
        if let Some(check) = check {
            options.grants = check;
        }
        let introductions = Introductions::new(peer_id, grants);
        let announcer = Arc::new(introductions.clone());
        let swarm = Swarm::start(listener, options, store.clone(), announcer, None, metrics);
        Self {
            intake: Intake::new(store.clone(), swarm.clone()),
            store,
            swarm,
            introductions,
            turns: Arc::new(Semaphore::new(BODIES_MAX)),
            smalls: Arc::new(Smalls::new()),
        }
    }

    /// Size of a blob in bytes; `None` when it is not here.
    ///
    /// # Errors
    /// [`OriginError`] when the disk does not tell.
    pub fn size(&self, digest: &Digest) -> Result<Option<u64>, OriginError> {
        Ok(self.store.stat(digest)?)
    }

    /// Metainfo of a blob; `None` when it is not here. Of one that is coming in, what is known of it so far.
    ///
    /// # Errors
    /// [`OriginError`] when it is here and cannot be read.
    pub async fn metainfo(&self, digest: &Digest) -> Result<Option<Metainfo>, OriginError> {
        match self.blob(digest).await? {
            Some(blob) => Ok(Some(blob.metainfo().clone())),
            None => self.arriving_metainfo(digest).await,
        }
    }

    /// Metainfo of a blob that was here and is lost; `None` of one that is here, or that nothing is known of.
    ///
    /// # Errors
    /// [`OriginError`] when the disk does not tell.
    pub async fn lost(&self, digest: &Digest) -> Result<Option<Metainfo>, OriginError> {
        let (store, digest) = (self.store.clone(), *digest);
        Ok(tokio::task::spawn_blocking(move || store.lost(&digest)).await??)
    }

    /// A blob to read from; `None` when it is not here.
    ///
    /// # Errors
    /// [`OriginError`] when it is here and cannot be opened.
    pub async fn blob(&self, digest: &Digest) -> Result<Option<Blob>, OriginError> {
        // Saves the thread when the answer is no, which is what most look-ups of strangers' digests are.
        if self.store.stat(digest)?.is_none() {
            return Ok(None);
        }
        let (store, digest) = (self.store.clone(), *digest);
        match tokio::task::spawn_blocking(move || store.blob(&digest)).await? {
            Ok(blob) => Ok(Some(blob)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The whole of a blob that has at most `size_max` bytes and [`SMALL_SIZE_MAX`]; `None` when it is larger or not here. What a fleet
    /// asks for at once comes from memory.
    ///
    /// # Errors
    /// [`OriginError::Busy`] at once, when too much has left in this way lately; others when the blob is here and cannot be read.
    pub async fn content(&self, digest: &Digest, size_max: u64) -> Result<Option<Bytes>, OriginError> {
        let size = self.store.stat(digest)?;
        let Some(size) = size.filter(|size| *size <= size_max.min(SMALL_SIZE_MAX)) else { return Ok(None) };
        self.smalls.spend(size)?;
        if let Some(bytes) = self.smalls.get(digest) {
            return Ok(Some(bytes));
        }
        match self.store.small(digest) {
            Some(bytes) => Ok(Some(bytes?)),
            None => self.smalls.read(digest, self.blob(digest)).await,
        }
    }

    /// A turn to send a body.
    pub(crate) async fn turn(&self) -> Result<OwnedSemaphorePermit, OriginError> {
        let turn = tokio::time::timeout(TURN_WAIT_MAX, Arc::clone(&self.turns).acquire_owned()).await;
        // The semaphore is never closed.
        turn.ok().and_then(Result::ok).ok_or(OriginError::Busy)
    }

    /// The blobs that the swarm side has in memory.
    pub async fn status(&self) -> Vec<BlobStatus> {
        self.swarm.status().await
    }

    /// Ends what is coming in, for good. Those who follow it are told, so that their answers end.
    pub fn stop_taking_in(&self) {
        self.intake.stop();
    }

    /// Ends all swarm connections, and what is coming in.
    pub async fn shutdown(&self) {
        self.stop_taking_in();
        self.swarm.shutdown().await;
    }
}
