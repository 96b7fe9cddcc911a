//! The composition root: the only place that knows all rooms of the agent.
//!
//! Every address is bound before anything else is built, so that a second agent, a taken port or a missing right is reported at once
//! and no half-started process answers. Draining goes the other way round: the faces first, the swarm last.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use anyhow::{Context, Result};
use shoal_api::cluster_key;
use shoal_api::origin::OriginClient;
use shoal_api::tracker::TrackerClient;
use shoal_config::Secret;
use shoal_http::{Client, Handler, Limits, Listener, ProbeHandler, Shutdown};
use shoal_store::{Durability, Options, Store};
use shoal_swarm::{Announcer, RangeSource, Role, Shaper, Swarm, SwarmOptions};
use shoal_swarm_types::{PeerId, Zone, ZoneName};
use shoal_telemetry::{Health, Metrics, MirrorMetrics, StoreMetrics, SwarmMetrics};

use crate::admin::AdminHandler;
use crate::ahead::Ahead;
use crate::announcer::TrackerAnnouncer;
use crate::clients::Clients;
use crate::config::Config;
use crate::direct::Owners;
use crate::drain::Drain;
use crate::faces::{Addresses, Faces, Inherited};
use crate::fetch::{self, Fetch, Ways};
use crate::gate::Gate;
use crate::leads::Leads;
use crate::manifest_cache::ManifestCache;
use crate::mirror::Mirror;
use crate::namespace::Namespaces;
use crate::pins::Pins;
use crate::preheat::Preheats;
use crate::references::References;
use crate::relay::Registry;
use crate::resolve::Resolver;
use crate::scrub;
use crate::tracker_check::TrackerCheck;
use crate::upkeep::Upkeep;
use crate::web_seed::OriginRanges;
use crate::why::Journal;

/// A bound and built agent that does not answer yet.
pub struct App {
    addresses: Addresses,
    registry: Listener,
    admin: Listener,
    mirror: Mirror,
    status: AdminHandler,
    swarm: Swarm,
    shaper: Arc<Shaper>,
    upkeep: Upkeep,
    probe: Pin<Box<dyn Future<Output = ()> + Send>>,
    clients: Clients,
    health: Health,
    metrics: Metrics,
}

impl App {
    /// Binds every address, opens the cache, and joins the swarm with what is in it.
    ///
    /// # Errors
    /// With the address or directory that is the trouble.
    pub async fn build(config: &Config) -> Result<Self> {
        Self::build_with(config, Inherited::none()).await
    }

    /// The same on sockets that somebody else has bound, as far as there are some for the configured addresses.
    ///
    /// # Errors
    /// As [`Self::build`].
    pub async fn build_with(config: &Config, inherited: Inherited) -> Result<Self> {
        let metrics = Metrics::new("shoal-agent", env!("CARGO_PKG_VERSION"));
        let Faces { addresses, registry, admin, peer } = Faces::bind(config, inherited, &metrics).await?;
        let health = Health::new();
        let store = open_store(config).await?;
        let clients = Clients::new(config)?;
        let peer_id = PeerId(std::array::from_fn(|_| fastrand::u8(..)));
        let tracker = tracker(config, peer_id, addresses.peer.port(), &clients.cluster)?;
        let wanted = fetch::wanted();
        let check = Arc::new(TrackerCheck::new(health.clone()));
        let shaper = Arc::new(Shaper::new(config.limits.into()));
        let leads = Leads::default();
        let drain = Drain::new(health.clone());
        let gate = Gate::open(&config.cache.directory, cluster_key_of(config), drain.clone());
        let origin = OriginClient::new(clients.cluster.clone());
        let ahead = Ahead::new(tracker.clone());
        let ways = Ways {
            ahead: ahead.clone(),
            wanted: wanted.clone(),
            leads: leads.clone(),
            owners: Owners::new(tracker.clone(), origin.clone()),
            registry: Registry::new(config.registry_url(), clients.registry.clone()),
            check: Arc::clone(&check),
        };
        let announcer =
            TrackerAnnouncer::new(tracker, check, wanted, leads.clone(), gate.clone(), drain.clone())
                .with_notes(ahead);
        let mut options = swarm_options(config, peer_id, &clients, gate);
        options.shaper = Arc::clone(&shaper);
        let web = Some(Arc::new(OriginRanges::new(origin)) as Arc<dyn RangeSource>);
        let swarm_metrics = SwarmMetrics::register(&metrics);
        let words: Arc<dyn Announcer> = Arc::new(announcer.clone());
        let swarm = Swarm::start(peer, options, store.clone(), words, web, swarm_metrics);
        store.digests().into_iter().for_each(|digest| swarm.seed(digest));
        let resolver = resolver(config, &clients.registry, leads)?;
        let fetch = Fetch::new(swarm.clone(), store.clone(), ways, config.registry.first_byte_timeout.0);
        let journal = Journal::default();
        let mirror_metrics = MirrorMetrics::register(&metrics);
        let (server, client) = (config.registry_url(), clients.registry.clone());
        let mirror =
            Mirror::new(resolver.clone(), fetch.clone(), server, client, mirror_metrics, journal.clone());
        let status = AdminHandler {
            swarm: swarm.clone(),
            store: store.clone(),
            shaper: Arc::clone(&shaper),
            journal,
            pins: open_pins(config, &store).await?,
            preheats: Preheats::new(resolver.clone(), fetch),
            resolver: resolver.clone(),
            drain,
            announcer: announcer.clone(),
        };
        let probe = Box::pin(announcer.watch(store.clone()));
        let store_metrics = StoreMetrics::register(&metrics);
        let upkeep = Upkeep { store, resolver, health: health.clone(), metrics: store_metrics };
        Ok(Self {
            addresses,
            registry,
            admin,
            mirror,
            status,
            swarm,
            shaper,
            upkeep,
            probe,
            clients,
            health,
            metrics,
        })
    }

    /// The checks that say whether it is ready.
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// What slows pieces down.
    pub fn shaper(&self) -> Arc<Shaper> {
        Arc::clone(&self.shaper)
    }

    /// Where the agent listens.
    pub const fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Writes [`Self::addresses`] as JSON, so that whoever started the agent learns the real ports and that it listens.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_ready_file(&self, path: &Path) -> std::io::Result<()> {
        crate::references::write_aside(path, &serde_json::to_vec(&self.addresses)?)
    }

    /// Answers until `shutdown` is triggered, then drains.
    pub async fn run(self, shutdown: Shutdown) {
        let probes = |handler: Arc<dyn Handler>| -> Arc<dyn Handler> {
            Arc::new(ProbeHandler::new(handler, self.health.clone(), self.metrics.clone()))
        };
        // The admin face answers until the very end, so that it can say that the agent is stopping.
        let stopped = Shutdown::new();
        let admin = self.admin.serve(probes(Arc::new(self.status)), Limits::default(), stopped.clone());
        let admin = tokio::spawn(admin);
        let scrub = tokio::spawn(scrub::run(self.upkeep.store.clone()));
        let upkeep = tokio::spawn(self.upkeep.run());
        let certificates = self.clients.watch(&shutdown);
        let probe = tokio::spawn(self.probe);
        let registry = self.registry.serve(probes(Arc::new(self.mirror)), mirror_limits(), shutdown.clone());
        let registry = tokio::spawn(registry);
        shutdown.wait().await;
        self.health.stopping();
        // A listener task ends when it is drained and does not panic.
        let _ = registry.await;
        self.swarm.shutdown().await;
        upkeep.abort();
        scrub.abort();
        drop(certificates);
        probe.abort();
        stopped.trigger();
        let _ = admin.await;
    }
}

/// Limits of the mirror. Little is written ahead of a client: see [`SEND_BUFFER`].
fn mirror_limits() -> Limits {
    Limits { buffer_max: crate::mirror::WRITE_AHEAD, ..Limits::default() }
}

async fn open_store(config: &Config) -> Result<Store> {
    let root = config.cache.directory.join("blobs");
    let options = Options {
        durability: Durability::Cache,
        capacity: Some(config.cache.capacity.0),
        free_min: config.cache.free_min.0,
    };
    std::fs::create_dir_all(&root)
        .with_context(|| format!("cannot make {} (cache.directory)", root.display()))?;
    let shown = root.display().to_string();
    let (store, recovery) = tokio::task::spawn_blocking(move || Store::open(&root, options))
        .await?
        .with_context(|| format!("cannot open the cache in {shown} (cache.directory)"))?;
    tracing::info!(directory = shown, %recovery, "cache opened");
    Ok(store)
}

async fn open_pins(config: &Config, store: &Store) -> Result<Pins> {
    let (file, store) = (config.cache.directory.join("pins.json"), store.clone());
    Ok(tokio::task::spawn_blocking(move || Pins::open(file, store)).await?)
}

fn tracker(config: &Config, peer_id: PeerId, port: u16, client: &Client) -> Result<TrackerClient> {
    let urls = config.tracker_urls();
    let tracker = TrackerClient::new(&urls, client.clone(), peer_id, port).context("server.trackers")?;
    let tracker = tracker.in_zone(config.zone.clone());
    Ok(match config.peer.advertise {
        Some(ip) => tracker.with_ip(ip),
        None => tracker,
    })
}

/// How the configuration has this agent take part in the swarm.
fn swarm_options(config: &Config, peer_id: PeerId, clients: &Clients, gate: Gate) -> SwarmOptions {
    let mut options = SwarmOptions::new(peer_id, Role::Agent, cluster_key_of(config));
    options.grants = Arc::new(gate);
    options.envelope = clients.envelope.clone();
    options.zone = config.zone.as_ref().map_or(Zone::UNKNOWN, ZoneName::zone);
    let stall = config.peer.stall_timeout.get();
    config.swarm.experiment.apply(&mut options.limits);
    options.limits.fail_ms = u64::try_from(stall.as_millis()).unwrap_or(u64::MAX);
    // The core decides; readers wait twice as long, in case that it does not.
    options.times.stall = stall * 2;
    options
}

/// What tells members from strangers in the swarm.
fn cluster_key_of(config: &Config) -> [u8; 32] {
    cluster_key(config.cluster_key.as_ref().map_or("", Secret::reveal))
}

fn resolver(config: &Config, client: &Client, leads: Leads) -> Result<Resolver> {
    let namespaces =
        Namespaces::new(&config.namespaces).map_err(|errors| anyhow::anyhow!("namespaces: {}", errors[0]))?;
    let directory = &config.cache.directory;
    let references =
        References::open(&directory.join("references")).context("cannot open cache.directory")?;
    let manifests =
        ManifestCache::open(&directory.join("manifests")).context("cannot open cache.directory")?;
    Ok(Resolver::new(config.registry_url(), client.clone(), namespaces, references, manifests, leads))
}
