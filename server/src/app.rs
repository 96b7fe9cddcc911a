//! The composition root: the only place that knows all rooms of the server.
//!
//! Every port is bound before anything else happens, then the rooms are built from the disk upwards (store, metadata, tags, origin,
//! tracker, registry), and only a whole server answers. Draining goes the other way round: listeners first, then the swarm, then
//! the disk, and the admin port last, because it says that the server is stopping.

use std::os::unix::fs::DirBuilderExt;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use shoal_api::preheat::Preheat;
use shoal_api::tags::Tags;
use shoal_api::{EverybodyMay, Grants, Leases, MembersOnly, Rights};
use shoal_auth::Guard;
use shoal_config::Secret;
use shoal_events::PreheatHandler;
use shoal_http::{Handler, Limits, Listener, ProbeHandler, Shutdown};
use shoal_metadata::Embedded;
use shoal_oci::{Repository, Tag};
use shoal_origin::{Origin, OriginHandler, OriginOptions};
use shoal_registry::{Registry, RegistryOptions};
use shoal_store::{Durability, Options, Store};
use shoal_swarm::GrantCheck;
use shoal_swarm_types::{PeerId, Zone, ZoneName};
use shoal_tags::{LocalTags, TagsHandler};
use shoal_telemetry::{
    CollectMetrics, EventsMetrics, Health, HttpMetrics, Metrics, RegistryMetrics, StoreMetrics, SwarmMetrics,
    TrackerMetrics,
};
use shoal_tracker::{Tracker, TrackerHandler, TrackerOptions};
use tokio::net::TcpListener;
use tokio::task::{JoinError, JoinSet};

use crate::addresses::{Addresses, Listeners};
use crate::admin::AdminHandler;
use crate::admin::events::EventsAdmin;
use crate::admin::inside::Inside;
use crate::admin::upkeep::UpkeepAdmin;
use crate::config::Config;
use crate::copies::copies;
use crate::grants::ServerGrants;
use crate::owner_source::OwnerSource;
use crate::preheat::{OriginPreheat, RegistryGate};
use crate::rights::LinkedRights;
use crate::tls::Certificates;
use crate::upkeep::Upkeep;
use crate::witnesses::Witnesses;
use crate::{advertise, auth, housekeeping, upkeep};

/// The health check that stands for the disk: passed once the store and the metadata have been recovered.
const DISK_CHECK: &str = "disk";

/// A running server. Dropping it stops everything at once, without draining.
pub struct App {
    addresses: Addresses,
    health: Health,
    rooms: Rooms,
    /// Listeners and housekeeping; ends the work that depends on nothing else.
    faces: Shutdown,
    face_tasks: JoinSet<()>,
    /// The admin port alone.
    admin: Shutdown,
    admin_task: JoinSet<()>,
}

/// The roles, and the two things on disk under them.
struct Rooms {
    store: Store,
    tags: Arc<dyn Tags>,
    origin: Origin,
    tracker: Arc<Tracker>,
    registry: Registry,
    guard: Guard,
    rights: Arc<dyn Rights>,
    upkeep: Upkeep,
    witnesses: Witnesses,
}

impl App {
    /// Binds, recovers, builds and answers.
    ///
    /// # Errors
    /// With the address, file or key that is the trouble.
    pub async fn start(config: &Config) -> Result<Self> {
        let started = Instant::now();
        let metrics = Metrics::new("shoal-server", env!("CARGO_PKG_VERSION"));
        let health = Health::new();
        health.expect(DISK_CHECK);
        let listeners = Listeners::bind(config, &HttpMetrics::register(&metrics)).await?;
        let addresses = listeners.addresses()?;
        let Listeners { registry, peer, origin, tracker, tags, admin } = listeners;
        let certificates = Certificates::load(config)?;
        let rooms = Rooms::build(config, peer, &addresses, &certificates, &metrics).await?;
        health.set(DISK_CHECK, Ok(()));
        let status = AdminHandler {
            started,
            addresses,
            health: health.clone(),
            store: rooms.store.clone(),
            origin: rooms.origin.clone(),
            tracker: Arc::clone(&rooms.tracker),
            upkeep: UpkeepAdmin {
                collector: rooms.upkeep.collector.clone(),
                scrubber: rooms.upkeep.scrubber.clone(),
                store: rooms.store.clone(),
            },
            events: rooms.events_admin(),
            inside: rooms.inside(),
        };
        let (faces, admin_shutdown) = (Shutdown::new(), Shutdown::new());
        let mut face_tasks = rooms.housekeeping(&metrics, &health, &faces);
        certificates.watch(&mut face_tasks, &faces);
        let probed =
            |handler: Arc<dyn Handler>| Arc::new(ProbeHandler::new(handler, health.clone(), metrics.clone()));
        let serve =
            |tasks: &mut JoinSet<()>, listener: Listener, handler: Arc<dyn Handler>, shutdown: &Shutdown| {
                tasks.spawn(listener.serve(probed(handler), Limits::default(), shutdown.clone()));
            };
        serve(&mut face_tasks, certificates.of_registry(registry), rooms.registry_face(), &faces);
        let secret = config.cluster_key.as_ref().map(Secret::reveal);
        let members = |tasks: &mut JoinSet<()>, listener: Listener, handler: Arc<dyn Handler>| {
            let gate = Arc::new(MembersOnly::new(handler, secret));
            serve(tasks, certificates.of_members(listener), gate, &faces);
        };
        let blobs = OriginHandler::new(rooms.origin.clone(), Arc::clone(&rooms.rights));
        members(&mut face_tasks, origin, Arc::new(blobs));
        members(&mut face_tasks, tracker, Arc::new(TrackerHandler::new(Arc::clone(&rooms.tracker))));
        members(&mut face_tasks, tags, Arc::new(TagsHandler::new(Arc::clone(&rooms.tags))));
        let mut admin_task = JoinSet::new();
        serve(&mut admin_task, admin, Arc::new(status), &admin_shutdown);
        tracing::info!(
            registry = %addresses.registry, peer = %addresses.peer, origin = %addresses.origin, tracker = %addresses.tracker,
            tags = %addresses.tags, admin = %addresses.admin, took_ms = started.elapsed().as_millis(), "ready"
        );
        Ok(Self { addresses, health, rooms, faces, face_tasks, admin: admin_shutdown, admin_task })
    }

    /// Where the server listens.
    pub const fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Finishes the requests under way and stops. Takes at most the listeners' drain timeout and the swarm's goodbye.
    pub async fn shutdown(mut self) {
        self.health.stopping();
        self.faces.trigger();
        // Agents that follow what is coming in would keep their connections busy.
        self.rooms.origin.stop_taking_in();
        while let Some(ended) = self.face_tasks.join_next().await {
            note_panic(ended);
        }
        self.rooms.witnesses.shutdown().await;
        self.rooms.origin.shutdown().await;
        // The last handles: the metadata finishes what is queued, the store gives its lock back.
        drop(self.rooms);
        self.admin.trigger();
        while let Some(ended) = self.admin_task.join_next().await {
            note_panic(ended);
        }
        tracing::info!("stopped");
    }
}

impl Rooms {
    async fn build(
        config: &Config,
        peer: TcpListener,
        addresses: &Addresses,
        certificates: &Certificates,
        metrics: &Metrics,
    ) -> Result<Self> {
        let store = open_store(config).await?;
        let metadata = open_metadata(config, &store).await?;
        let tags: Arc<dyn Tags> = Arc::new(LocalTags::new(metadata.clone()));
        let source = addresses.registry.to_string();
        let witnesses = Witnesses::start(config, source, &metadata, EventsMetrics::register(metrics)).await?;
        let peer_id = PeerId(std::array::from_fn(|_| fastrand::u8(..)));
        let secret = config.cluster_key.as_ref().map_or("", |key| key.reveal());
        let cluster_key = shoal_api::cluster_key(secret);
        let zone = config.zone.as_ref().map_or(Zone::UNKNOWN, ZoneName::zone);
        let grants = ServerGrants::open(config.auth.as_ref(), &config.data_directory, cluster_key).await?;
        let options = OriginOptions {
            peer_id,
            cluster_key,
            envelope: certificates.envelope(),
            upload: config.origin.upload.map(|rate| rate.0),
            check: grants.clone().map(|grants| Arc::new(grants) as Arc<dyn GrantCheck>),
            grants: grants.clone().map(|grants| Arc::new(grants) as Arc<dyn Grants>),
            zone,
            experiment: config.swarm.experiment.clone(),
        };
        let origin = Origin::start(peer, options, store.clone(), SwarmMetrics::register(metrics));
        let owners = advertise::owners(config.advertise.host.as_deref(), addresses, peer_id).await?;
        let guard = auth::guard(config.auth.as_ref(), &config.data_directory, witnesses.denials()).await?;
        let copies = copies(&config.upstreams, Arc::clone(&tags), &origin, metrics)?;
        let rights = LinkedRights::new(guard.clone(), Arc::clone(&tags)).with_copies(copies.clone());
        let rights: Arc<dyn Rights> = Arc::new(rights);
        let tracker = Tracker::new(
            owners.over_tls(certificates.is_cluster_secure()),
            Arc::new(OwnerSource(origin.clone())),
            Arc::clone(&rights),
            TrackerMetrics::register(metrics),
            TrackerOptions::with_seed(fastrand::u64(..)),
        )
        .with_grants(grants.map(|grants| Arc::new(grants) as Arc<dyn Grants>));
        let options = RegistryOptions {
            guard: guard.clone(),
            upload_idle_max: config.uploads.expire_after.get(),
            delete_enabled: config.registry.delete,
            sparse_allowed: config.registry.sparse,
            ..RegistryOptions::default()
        };
        let leases = Leases::new();
        let tracker = Arc::new(tracker);
        let upkeep = Upkeep::new(
            config,
            upkeep::Rooms {
                records: Arc::new(metadata),
                store: store.clone(),
                leases: leases.clone(),
                immutable: Box::new(keeper(guard.clone())),
                events: Arc::clone(&witnesses.events),
                audit: Arc::clone(&witnesses.audit),
                origin: origin.clone(),
                tracker: Arc::clone(&tracker),
                metrics: CollectMetrics::register(metrics),
            },
        );
        let registry = Registry::new(
            store.clone(),
            Arc::clone(&tags),
            leases,
            RegistryMetrics::register(metrics),
            options,
        );
        let registry = registry.with_witnesses(Arc::clone(&witnesses.events), Arc::clone(&witnesses.audit));
        let registry = registry.with_copies(copies);
        Ok(Self { store, tags, origin, tracker, registry, guard, rights, upkeep, witnesses })
    }

    /// What answers on the registry's port: notifications for preheating, else the registry.
    fn registry_face(&self) -> Arc<dyn Handler> {
        let preheat: Arc<dyn Preheat> = Arc::new(OriginPreheat(self.origin.clone()));
        let face = PreheatHandler::new(
            Arc::new(self.registry.clone()),
            Arc::clone(&self.tags),
            preheat,
            Arc::clone(&self.witnesses.audit),
            self.witnesses.preheat_jobs.clone(),
            self.witnesses.metrics.clone(),
        );
        Arc::new(face.with_gate(Arc::new(RegistryGate(self.registry.clone()))))
    }

    /// What the operator's port tells of the rooms behind the others.
    fn inside(&self) -> Inside {
        Inside {
            tracker: TrackerHandler::for_operators(Arc::clone(&self.tracker)),
            origin: OriginHandler::new(self.origin.clone(), Arc::new(EverybodyMay)),
            registry: Registry::new(
                self.store.clone(),
                Arc::clone(&self.tags),
                Leases::new(),
                RegistryMetrics::default(),
                RegistryOptions::default(),
            ),
        }
    }

    fn events_admin(&self) -> EventsAdmin {
        EventsAdmin {
            webhooks: self.witnesses.webhooks.clone(),
            audit: self.witnesses.audit_log.clone(),
            preheat: self.witnesses.preheat_jobs.clone(),
        }
    }

    fn housekeeping(&self, metrics: &Metrics, health: &Health, shutdown: &Shutdown) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        tasks.spawn(housekeeping::gauges(
            self.store.clone(),
            StoreMetrics::register(metrics),
            health.clone(),
            shutdown.clone(),
        ));
        tasks.spawn(housekeeping::sweeps(self.registry.clone(), shutdown.clone()));
        tasks.spawn(auth::watch(self.guard.clone(), shutdown.clone()));
        self.upkeep.spawn(&mut tasks, shutdown);
        let (tracker, shutdown) = (Arc::clone(&self.tracker), shutdown.clone());
        tasks.spawn(async move { tracker.run(shutdown).await });
        tasks
    }
}

async fn open_store(config: &Config) -> Result<Store> {
    let root = config.data_directory.join("blobs");
    let options = Options {
        durability: Durability::Durable,
        capacity: config.store.capacity.map(|capacity| capacity.bytes()),
        free_min: config.store.free_min.bytes(),
    };
    let shown = root.display().to_string();
    let opening = move || {
        // Private content is nobody else's on this machine. A directory that exists keeps the mode that its operator gave it.
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&root)?;
        anyhow::Ok(Store::open(&root, options)?)
    };
    let (store, recovery) = tokio::task::spawn_blocking(opening)
        .await?
        .with_context(|| format!("cannot open the store in {shown} (data_directory)"))?;
    tracing::info!(directory = shown, %recovery, "store opened");
    Ok(store)
}

async fn open_metadata(config: &Config, store: &Store) -> Result<Embedded> {
    let directory = config.data_directory.join("metadata");
    let shown = directory.display().to_string();
    let store = store.clone();
    let opening = move || {
        // SQLite makes a new database of a file without a byte, and deletes the log beside it.
        let is_new = std::fs::metadata(directory.join("metadata.db")).map_or(true, |file| file.len() == 0);
        if is_new && has_content(&store) {
            anyhow::bail!(
                "metadata.db is missing or empty, and there are blobs; without it none of them can be pulled and all would be \
                 collected: restore it from a backup, or move the directory blobs away as well to begin anew"
            );
        }
        Ok(Embedded::open(&directory)?)
    };
    tokio::task::spawn_blocking(opening)
        .await?
        .with_context(|| format!("cannot open the metadata in {shown} (data_directory)"))
}

/// Whether there is any blob. Waits until files are counted, of which a new store has none.
fn has_content(store: &Store) -> bool {
    store.finish_counting();
    !store.each_digest(None, 1).is_empty()
}

/// Says which tags retention leaves alone because they are immutable.
fn keeper(guard: Guard) -> impl Fn(&Repository, &Tag) -> bool + Send + Sync {
    move |repository, tag| guard.keeps(repository, tag)
}

fn note_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a task of the server ended early");
    }
}
