//! The one task that owns the core and everything that changes with it.
//!
//! It waits for an event, a command, a word on the desk or a moment; turns each into inputs of the core; and does what the core then
//! asks for. It never waits for anything else: whatever takes time is handed to another task and comes back as an event.

mod growing;
mod heal;
mod inputs;
mod outputs;
mod passes;
mod whole;

use std::collections::VecDeque;
use std::sync::Arc;

use shoal_oci::Digest;
use shoal_swarm_protocol::{BlobPhase, Core, CoreConfig, Identity, Input, Role, Time};
use shoal_telemetry::SwarmMetrics;
use tokio::net::TcpListener;
use tokio::select;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};
use tracing::{error, info};

use crate::announce::{AnnounceItem, Announcer, Announces};
use crate::blobs::Blobs;
use crate::conns::Conns;
use crate::desk::Desk;
use crate::dial::Dialer;
use crate::disk::{Disk, Landed};
use crate::error::{OpenError, ReadError};
use crate::event::{Command, Event};
use crate::follow::Followers;
use crate::grant::GrantCheck;
use crate::handshake::Introduction;
use crate::limits::{EVENTS_BATCH, HANDLE_IDLE, SWEEP, Times};
use crate::listen::{Door, accept};
use crate::metrics::Gauges;
use crate::options::SwarmOptions;
use crate::web::{RangeSource, Web};
use crate::whole::Wholes;
use heal::Patients;
use passes::Passes;
use shoal_swarm_protocol::AnnounceEvent;

/// What the actor is given besides the options.
pub(crate) struct Parts {
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) events_in: mpsc::Receiver<Event>,
    pub(crate) commands_in: mpsc::Receiver<Command>,
    pub(crate) desk: Arc<Desk>,
    pub(crate) disk: Disk,
    pub(crate) announcer: Arc<dyn Announcer>,
    pub(crate) web: Option<Arc<dyn RangeSource>>,
    pub(crate) metrics: SwarmMetrics,
}

/// The actor's state.
pub(crate) struct Actor {
    core: Core,
    role: Role,
    /// Time zero of the core.
    start: Instant,
    times: Times,
    /// Inputs that the core has not seen yet: answers that were at hand at once.
    inbox: VecDeque<Input>,
    /// The bytes of the piece that the core is looking at, until they are on their way to the disk.
    in_hand: Option<Landed>,
    conns: Conns,
    /// Who may have pieces.
    grants: Arc<dyn GrantCheck>,
    passes: Passes,
    blobs: Blobs,
    patients: Patients,
    announces: Announces,
    dialer: Dialer,
    web: Web,
    wholes: Wholes,
    followers: Followers,
    disk: Disk,
    gauges: Gauges,
    desk: Arc<Desk>,
    events: mpsc::Receiver<Event>,
    commands: mpsc::Receiver<Command>,
    sweep_due: Instant,
    listener: AbortHandle,
}

/// Why the loop ended.
enum End {
    /// Somebody asked for it, and waits.
    Shutdown(oneshot::Sender<()>),
    /// Nobody holds the swarm any more.
    Abandoned,
}

impl Actor {
    /// Starts the actor and the task that accepts connections.
    pub(crate) fn start(listener: TcpListener, options: SwarmOptions, parts: Parts) {
        let start = Instant::now();
        let port = listener.local_addr().map_or(0, |addr| addr.port());
        let ours = Identity { peer_id: options.peer_id, port, zone: options.zone };
        let Parts { events, events_in, commands_in, desk, disk, announcer, web, metrics } = parts;
        let us = Introduction { ours, cluster_key: options.cluster_key, envelope: options.envelope.clone() };
        let door = Door { us: us.clone(), limit: options.times.handshake, events: events.clone() };
        let conns = Conns::new(&options, disk.clone(), Arc::clone(&desk), events.clone());
        let SwarmOptions { peer_id, zone, role, grants, limits, seed, times, .. } = options;
        let choice = usize::try_from(seed >> 33).unwrap_or_default();
        let actor = Self {
            core: Core::new(CoreConfig { peer_id, zone, role, seed, limits }, Time(0)),
            role,
            start,
            inbox: VecDeque::new(),
            in_hand: None,
            conns,
            grants,
            passes: Passes::default(),
            blobs: Blobs::default(),
            patients: Patients::default(),
            announces: Announces::new(announcer, &times, events.clone()),
            dialer: Dialer::new(us, times.clone(), events.clone()),
            wholes: Wholes::new(web.clone(), &times, choice, events.clone()),
            followers: Followers::new(web.clone(), Arc::clone(desk.growths()), events.clone()),
            web: Web::new(web, times.clone(), Arc::clone(desk.growths()), events),
            times,
            disk,
            gauges: Gauges::new(metrics),
            desk,
            events: events_in,
            commands: commands_in,
            sweep_due: start + SWEEP,
            listener: tokio::spawn(accept(listener, door)).abort_handle(),
        };
        tokio::spawn(actor.run());
    }

    async fn run(mut self) {
        let end = self.serve().await;
        self.listener.abort();
        self.stop().await;
        if let End::Shutdown(reply) = end {
            // The caller may have stopped waiting.
            let _ = reply.send(());
        }
    }

    /// Takes in what happens, until somebody ends it.
    async fn serve(&mut self) -> End {
        let mut batch = Vec::with_capacity(EVENTS_BATCH);
        let desk = Arc::clone(&self.desk);
        let timer = sleep_until(self.wake_due());
        tokio::pin!(timer);
        loop {
            let due = self.wake_due();
            if timer.deadline() != due {
                timer.as_mut().reset(due);
            }
            select! {
                _ = self.events.recv_many(&mut batch, EVENTS_BATCH) => {
                    for event in batch.drain(..) {
                        self.on_event(event);
                    }
                }
                command = self.commands.recv() => match command {
                    Some(Command::Shutdown { reply }) => return End::Shutdown(reply),
                    Some(command) => self.on_command(command),
                    None => return End::Abandoned,
                },
                () = desk.rung() => self.on_words(desk.take()),
                () = &mut timer => {}
            }
            self.on_time();
        }
    }

    /// The next moment at which something is due by itself.
    fn wake_due(&self) -> Instant {
        let core = self.core.next_timeout().and_then(|time| self.instant(time));
        [core, self.announces.due()].into_iter().flatten().fold(self.sweep_due, Instant::min)
    }

    fn on_time(&mut self) {
        let now = self.now();
        if self.core.next_timeout().is_some_and(|due| due <= now) {
            self.feed(Input::Tick);
        }
        let now = Instant::now();
        self.announces.leave(now);
        self.gauges.count(self.core.totals());
        if self.sweep_due <= now {
            self.sweep_due = now + SWEEP;
            self.sweep();
        }
    }

    /// Lets go of what is no longer needed.
    fn sweep(&mut self) {
        self.disk.handles().sweep(HANDLE_IDLE);
        self.conns.sweep();
        self.end_passes();
        self.followers.sweep();
        let statuses = self.core.statuses();
        self.gauges.show(&statuses);
        for status in statuses {
            if matches!(status.phase, BlobPhase::Seeding | BlobPhase::Idle) {
                self.forget_if_gone(status.digest);
            }
        }
    }

    /// Stops serving a blob that was evicted or removed.
    fn forget_if_gone(&mut self, digest: Digest) {
        if !self.blobs.contains(&digest)
            && !self.patients.contains(&digest)
            && !self.is_taken_in(&digest)
            && matches!(self.disk.store().stat(&digest), Ok(None))
        {
            info!(%digest, "the blob has left the store; no longer seeding it");
            self.disk.handles().close(&digest);
            self.disown(digest);
        }
    }

    /// Makes the core forget a blob altogether, whether it was downloading or seeding it.
    fn disown(&mut self, digest: Digest) {
        self.feed(Input::Close { digest });
        self.feed(Input::Absent { digest });
    }

    /// Gives the core an input and does everything that follows from it.
    fn feed(&mut self, input: Input) {
        self.inbox.push_back(input);
        while let Some(input) = self.inbox.pop_front() {
            let now = self.now();
            self.core.handle(input, now);
            while let Some(output) = self.core.poll() {
                self.apply(output);
            }
        }
    }

    /// Ends an entry: everybody who waits for the blob is told why. What has arrived of it stays on disk.
    fn give_up(&mut self, digest: &Digest, opening: &OpenError, reading: &ReadError) {
        self.blobs.failed(digest, opening, reading);
        self.keep_arrived(digest);
        self.disk.handles().close(digest);
    }

    /// Says goodbye.
    async fn stop(&mut self) {
        self.commands.close();
        self.events.close();
        self.conns.close_all();
        for digest in self.blobs.digests() {
            self.give_up(&digest, &OpenError::Unavailable, &ReadError::Unavailable);
        }
        let farewell = self.announces.farewell(self.last_words(), self.times.goodbye);
        let (drained, ()) = tokio::join!(self.disk.drained(self.times.disk_drain), farewell);
        if !drained {
            error!("disk work did not end in time; the next start verifies what it finds");
        }
        self.gauges.count(self.core.totals());
    }

    /// What the tracker should know when we go. It knows owners from the ring, whatever they hold.
    fn last_words(&self) -> Vec<AnnounceItem> {
        let statuses = self.core.statuses();
        let announced = statuses.iter().filter_map(|status| {
            let complete = matches!(status.phase, BlobPhase::Seeding | BlobPhase::Idle);
            (self.role == Role::Agent || !complete).then_some((status.digest, complete))
        });
        let item = |(digest, complete)| AnnounceItem {
            digest,
            event: AnnounceEvent::Stopped,
            complete,
            need_metainfo: false,
            known: 0,
            peers_wanted: 0,
        };
        announced.map(item).collect()
    }

    fn now(&self) -> Time {
        Time(u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// The runtime's moment for the core's; `None` for one that never comes.
    fn instant(&self, time: Time) -> Option<Instant> {
        self.start.checked_add(Time::default().until(time))
    }
}
