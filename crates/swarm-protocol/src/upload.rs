//! What this process sends next, and to how many at once.
//!
//! Requests are served in the order they came, those of waiting readers first. Only a few pieces are handed to connections at a time,
//! over all of them: a piece is useful to its receiver only when it is whole, so sharing the uplink among all requesters delays all of
//! them. A slot is free again when its connection has drained; one that drains far slower than usual belongs to a slow receiver and
//! does not hold up the others.

use std::collections::{BTreeMap, VecDeque};

use shoal_oci::Digest;
use shoal_swarm_types::PieceIndex;

use crate::io::{ConnId, Time};
use crate::limits::{UPLOAD_PATIENCE_FACTOR, UPLOAD_PATIENCE_MICROS, UPLOADS_PER_CONN, UPLOADS_STUCK_MAX};

/// One piece to send to one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Job {
    /// To whom.
    pub(crate) conn: ConnId,
    /// Of which blob.
    pub(crate) digest: Digest,
    /// Which piece.
    pub(crate) index: PieceIndex,
    /// Its length in bytes.
    pub(crate) len: u64,
}

/// What a connection is busy with.
#[derive(Clone, Debug)]
struct Slot {
    handed: Vec<Handed>,
    since: Time,
}

/// A piece that the driver was told to send, and that has not drained.
#[derive(Clone, Copy, Debug)]
struct Handed {
    job: Job,
    /// One side has left the swarm since: it occupies the slot, and nobody is told when it fails.
    void: bool,
}

impl Slot {
    fn pieces(&self) -> u32 {
        u32::try_from(self.handed.len()).unwrap_or(u32::MAX)
    }

    fn find(&self, digest: Digest, index: PieceIndex) -> Option<usize> {
        self.handed.iter().position(|handed| handed.job.digest == digest && handed.job.index == index)
    }
}

/// Everything that waits to be sent, or is being sent.
#[derive(Debug)]
pub(crate) struct Uploads {
    slots_max: u32,
    urgent: VecDeque<Job>,
    normal: VecDeque<Job>,
    queued: BTreeMap<ConnId, usize>,
    queued_bytes: u64,
    slots: BTreeMap<ConnId, Slot>,
    /// Mean time from handing a piece over to its connection being drained, in microseconds.
    drain_micros: u64,
}

impl Uploads {
    /// Nothing to send yet; at most `slots_max` pieces at a time.
    pub(crate) fn new(slots_max: u32) -> Self {
        Self {
            slots_max: slots_max.max(1),
            urgent: VecDeque::new(),
            normal: VecDeque::new(),
            queued: BTreeMap::new(),
            queued_bytes: 0,
            slots: BTreeMap::new(),
            drain_micros: UPLOAD_PATIENCE_MICROS.0,
        }
    }

    /// Queues a piece.
    pub(crate) fn push(&mut self, job: Job, urgent: bool) {
        *self.queued.entry(job.conn).or_default() += 1;
        self.queued_bytes += job.len;
        if urgent { &mut self.urgent } else { &mut self.normal }.push_back(job);
    }

    /// Number of pieces queued for a connection.
    pub(crate) fn queued_for(&self, conn: ConnId) -> usize {
        self.queued.get(&conn).copied().unwrap_or(0)
    }

    /// Whether a connection could be handed one more piece than it already has waiting.
    pub(crate) fn has_room(&self, conn: ConnId) -> bool {
        let active = self.slots.get(&conn).map_or(0, Slot::pieces);
        (self.queued_for(conn) as u64) + u64::from(active) < u64::from(UPLOADS_PER_CONN)
    }

    /// Number of queued pieces whose connection could take one now.
    pub(crate) fn ready(&self) -> usize {
        self.urgent.iter().chain(&self.normal).filter(|job| can_take(&self.slots, job.conn)).count()
    }

    /// Number of pieces queued for anybody.
    pub(crate) fn queued(&self) -> usize {
        self.urgent.len() + self.normal.len()
    }

    /// Whether a connection has pieces queued or on the way.
    pub(crate) fn is_busy(&self, conn: ConnId) -> bool {
        self.queued.contains_key(&conn) || self.slots.contains_key(&conn)
    }

    /// Whether a piece is queued for a connection, or was handed over and has not drained.
    pub(crate) fn is_under_way(&self, conn: ConnId, digest: Digest, index: PieceIndex) -> bool {
        let same = |job: &Job| job.conn == conn && job.digest == digest && job.index == index;
        self.urgent.iter().chain(&self.normal).any(same)
            || self.slots.get(&conn).is_some_and(|slot| slot.handed.iter().any(|handed| same(&handed.job)))
    }

    /// Bytes queued, or taken up and not yet drained.
    pub(crate) fn load_bytes(&self) -> u64 {
        let handed = self.slots.values().flat_map(|slot| &slot.handed).map(|handed| handed.job.len);
        self.queued_bytes + handed.sum::<u64>()
    }

    /// Takes up the next piece, if a slot is free: the driver is to send it now. It stays until [`Uploads::drained`] or
    /// [`Uploads::failed`].
    pub(crate) fn start(&mut self, now: Time) -> Option<Job> {
        if !self.has_slot(now) {
            return None;
        }
        let job = Self::take(&mut self.urgent, &self.slots)
            .or_else(|| Self::take(&mut self.normal, &self.slots))?;
        self.unqueue(&job);
        let slot = self.slots.entry(job.conn).or_insert(Slot { handed: Vec::new(), since: now });
        if slot.handed.is_empty() {
            slot.since = now;
        }
        slot.handed.push(Handed { job, void: false });
        Some(job)
    }

    /// A piece that was taken up cannot be sent. False when nobody waits for it any more.
    pub(crate) fn failed(&mut self, conn: ConnId, digest: Digest, index: PieceIndex) -> bool {
        let Some(slot) = self.slots.get_mut(&conn) else { return false };
        let Some(at) = slot.find(digest, index) else { return false };
        let Handed { void, .. } = slot.handed.remove(at);
        self.free(conn);
        !void
    }

    /// A connection has sent what it was handed: the pieces.
    pub(crate) fn drained(&mut self, conn: ConnId, now: Time) -> Vec<Job> {
        let Some(slot) = self.slots.remove(&conn) else { return Vec::new() };
        self.drain_micros = (self.drain_micros * 7 + now.micros_since(slot.since)) / 8;
        slot.handed.into_iter().map(|handed| handed.job).collect()
    }

    /// Removes a queued piece. False when it is not queued (any more).
    pub(crate) fn cancel(&mut self, conn: ConnId, digest: Digest, index: PieceIndex) -> bool {
        let found = Self::find(&self.urgent, conn, digest, index)
            .and_then(|at| self.urgent.remove(at))
            .or_else(|| Self::find(&self.normal, conn, digest, index).and_then(|at| self.normal.remove(at)));
        if let Some(job) = &found {
            self.unqueue(job);
        }
        found.is_some()
    }

    /// Moves a queued piece to the urgent ones.
    pub(crate) fn hurry(&mut self, conn: ConnId, digest: Digest, index: PieceIndex) {
        let at = Self::find(&self.normal, conn, digest, index);
        self.urgent.extend(at.and_then(|at| self.normal.remove(at)));
    }

    /// Forgets everything for a connection, or only one blob of it. What was handed over stays until it drains.
    pub(crate) fn forget(&mut self, conn: ConnId, digest: Option<Digest>) {
        let gone = |job: &Job| job.conn == conn && digest.is_none_or(|digest| digest == job.digest);
        for queue in [&mut self.urgent, &mut self.normal] {
            for job in queue.iter().filter(|job| gone(job)) {
                self.queued_bytes -= job.len;
                decrement(&mut self.queued, job.conn);
            }
            queue.retain(|job| !gone(job));
        }
        if digest.is_none() {
            self.slots.remove(&conn);
        } else if let Some(slot) = self.slots.get_mut(&conn) {
            slot.handed.iter_mut().filter(|handed| gone(&handed.job)).for_each(|handed| handed.void = true);
        }
    }

    /// When the next slot counts as stuck, if anybody waits for one.
    pub(crate) fn next_stuck(&self, now: Time) -> Option<Time> {
        if self.queued() == 0 {
            return None;
        }
        let patience = self.patience();
        self.slots.values().map(|slot| slot.since.plus_micros(patience)).filter(|at| *at > now).min()
    }

    fn has_slot(&self, now: Time) -> bool {
        let patience = self.patience();
        let (mut used, mut stuck) = (0, 0);
        for slot in self.slots.values() {
            let pieces = slot.pieces();
            if now.micros_since(slot.since) < patience { used += pieces } else { stuck += pieces }
        }
        used < self.slots_max && stuck < UPLOADS_STUCK_MAX
    }

    fn patience(&self) -> u64 {
        let (least, most) = UPLOAD_PATIENCE_MICROS;
        (self.drain_micros * UPLOAD_PATIENCE_FACTOR).clamp(least, most)
    }

    /// The first piece in line whose connection can take another one.
    fn take(queue: &mut VecDeque<Job>, slots: &BTreeMap<ConnId, Slot>) -> Option<Job> {
        let at = queue.iter().position(|job| can_take(slots, job.conn))?;
        queue.remove(at)
    }

    fn find(queue: &VecDeque<Job>, conn: ConnId, digest: Digest, index: PieceIndex) -> Option<usize> {
        queue.iter().position(|job| job.conn == conn && job.index == index && job.digest == digest)
    }

    fn unqueue(&mut self, job: &Job) {
        self.queued_bytes -= job.len;
        decrement(&mut self.queued, job.conn);
    }

    fn free(&mut self, conn: ConnId) {
        if self.slots.get(&conn).is_some_and(|slot| slot.handed.is_empty()) {
            self.slots.remove(&conn);
        }
    }
}

fn can_take(slots: &BTreeMap<ConnId, Slot>, conn: ConnId) -> bool {
    slots.get(&conn).is_none_or(|slot| slot.pieces() < UPLOADS_PER_CONN)
}

fn decrement(counts: &mut BTreeMap<ConnId, usize>, conn: ConnId) {
    if let Some(count) = counts.get_mut(&conn) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&conn);
        }
    }
}

#[cfg(test)]
mod tests;
