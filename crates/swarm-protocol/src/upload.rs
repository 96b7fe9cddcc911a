//! What this process sends next, and to how many at once.
//!
//! What a reader waits for goes first, then what readers come by soon, then the blobs in turn; see `lanes`. Only a few pieces are on their way at a time, over all
//! connections: a piece is useful to its receiver only when it is whole, so sharing the uplink among all requesters delays all of them.
//! A slot is free again when the piece has left; a connection takes more only as the receiver says that pieces have arrived, because
//! what lies in the network before a busy receiver only waits there. A receiver that takes far longer than usual is slow and does not
//! hold up the others.

mod lanes;

use std::collections::BTreeMap;

use shoal_oci::Digest;
use shoal_swarm_types::PieceIndex;

use crate::io::{ConnId, Time};
use crate::limits::{
    ARRIVAL_MICROS_MAX, BEGINNING_UPLOADS, UPLOADS_PER_CONN, UPLOADS_STUCK_MAX, URGENT_RUN_MAX,
};
use crate::pace::Pace;
use lanes::Lanes;

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

/// Who waits for a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// Somebody who gives nothing of what he owes: only when nobody else wants anything.
    Spare,
    /// Nobody in particular.
    Background,
    /// A reader that streams a blob and comes by it soon.
    Ahead,
    /// A reader that waits for a few bytes and nothing else.
    Demand,
}

impl Class {
    const ALL: [Self; 4] = [Self::Spare, Self::Background, Self::Ahead, Self::Demand];
}

/// A piece that the driver was told to send, and that has not arrived as far as we know.
#[derive(Clone, Copy, Debug)]
struct Handed {
    job: Job,
    at: Time,
    /// It leaves before others that were handed over.
    demanded: bool,
    /// The driver's queue has let go of it.
    drained: bool,
    /// One side has left the swarm since: nobody is told when it fails, and nobody will confirm it.
    void: bool,
}

/// Everything that waits to be sent, or is being sent.
#[derive(Debug)]
pub(crate) struct Uploads {
    slots_max: u32,
    demanded: Lanes,
    urgent: Lanes,
    normal: Lanes,
    spare: Lanes,
    /// Urgent pieces sent in a row while others waited.
    urgent_run: u32,
    queued: BTreeMap<ConnId, usize>,
    queued_bytes: u64,
    handed: BTreeMap<ConnId, Vec<Handed>>,
    pace: Pace,
}

impl Uploads {
    /// Nothing to send yet; at most `slots_max` pieces at a time where that fills the path.
    pub(crate) fn new(slots_max: u32) -> Self {
        Self {
            slots_max: slots_max.max(1),
            demanded: Lanes::default(),
            urgent: Lanes::default(),
            normal: Lanes::default(),
            spare: Lanes::default(),
            urgent_run: 0,
            queued: BTreeMap::new(),
            queued_bytes: 0,
            handed: BTreeMap::new(),
            pace: Pace::default(),
        }
    }

    /// Queues a piece.
    pub(crate) fn push(&mut self, job: Job, class: Class, now: Time) {
        *self.queued.entry(job.conn).or_default() += 1;
        self.queued_bytes += job.len;
        self.lanes(class).push(job, now);
    }

    /// Number of pieces queued for a connection.
    pub(crate) fn queued_for(&self, conn: ConnId) -> usize {
        self.queued.get(&conn).copied().unwrap_or(0)
    }

    /// Whether a connection could be handed one more piece than it already has waiting. `alone`: nobody else wants anything.
    pub(crate) fn has_room(&self, conn: ConnId, alone: bool) -> bool {
        let queued = self.queued_for(conn);
        (alone && queued == 0) || queued + on_the_way(&self.handed, conn, false) < UPLOADS_PER_CONN as usize
    }

    /// Number of queued pieces whose connection could take one now.
    pub(crate) fn ready(&self) -> usize {
        let ready = |demanded| move |job: &&Job| can_take(&self.handed, job.conn, demanded);
        let others = self.urgent.iter().chain(self.normal.iter());
        self.demanded.iter().filter(ready(true)).count() + others.filter(ready(false)).count()
    }

    /// Number of pieces queued for anybody.
    pub(crate) const fn queued(&self) -> usize {
        self.demanded.len() + self.urgent.len() + self.normal.len() + self.spare.len()
    }

    /// Whether a connection has pieces queued or on the way.
    pub(crate) fn is_busy(&self, conn: ConnId) -> bool {
        self.queued.contains_key(&conn) || self.handed.contains_key(&conn)
    }

    /// Whether a piece is queued for a connection, or was handed over and has not drained.
    pub(crate) fn is_under_way(&self, conn: ConnId, digest: Digest, index: PieceIndex) -> bool {
        let same = |job: &Job| job.conn == conn && job.digest == digest && job.index == index;
        let handed = self.handed.get(&conn).into_iter().flatten();
        [&self.demanded, &self.urgent, &self.normal, &self.spare].into_iter().flat_map(Lanes::iter).any(same)
            || handed.filter(|handed| !handed.drained).any(|handed| same(&handed.job))
    }

    /// Bytes queued, or on their way beyond what the path itself holds: on a long path there is always much on its way, which says
    /// nothing about how busy we are.
    pub(crate) fn load_bytes(&self) -> u64 {
        let handed = self.handed.values().flatten().map(|handed| handed.job.len).sum::<u64>();
        self.queued_bytes + handed.saturating_sub(self.pace.bytes_on_path())
    }

    /// Takes up the next piece, if a slot is free: the driver is to send it now. It stays until it has arrived, or failed. `copies`
    /// tells how many neighbours have a piece. Says whether it leaves before others that were handed over.
    ///
    /// At the `beginning` of all blobs fewer slots are used.
    pub(crate) fn start(
        &mut self,
        now: Time,
        beginning: bool,
        copies: impl Fn(&Job) -> u32,
    ) -> Option<(Job, bool)> {
        if self.queued() == 0 {
            return None;
        }
        let slots = if beginning { self.slots_max.min(BEGINNING_UPLOADS) } else { self.slots_max };
        let free = self.free_slots(now, slots);
        let (job, demanded) =
            self.take(now, &copies, free, false).or_else(|| self.take(now, &copies, free, true))?;
        self.unqueue(&job);
        self.pace.begin(now);
        let handed = Handed { job, at: now, demanded, drained: false, void: false };
        self.handed.entry(job.conn).or_default().push(handed);
        Some((job, demanded))
    }

    /// A piece that was taken up cannot be sent. False when nobody waits for it any more.
    pub(crate) fn failed(&mut self, conn: ConnId, digest: Digest, index: PieceIndex) -> bool {
        let found = self.finish(conn, digest, index, |handed| !handed.drained);
        self.rest();
        found.is_some_and(|handed| !handed.void)
    }

    /// A receiver has a piece: the job when its leaving was not known yet, because the receiver's word was faster than the driver's.
    pub(crate) fn arrived(
        &mut self,
        conn: ConnId,
        digest: Digest,
        index: PieceIndex,
        now: Time,
    ) -> Option<Job> {
        let handed = self.finish(conn, digest, index, |_| true)?;
        self.pace.arrived(handed.job.len, now.micros_since(handed.at), now);
        self.rest();
        (!handed.drained).then_some(handed.job)
    }

    /// A connection has let go of what it was handed: the pieces of which that is news.
    pub(crate) fn drained(&mut self, conn: ConnId) -> Vec<Job> {
        let Some(standing) = self.handed.get_mut(&conn) else { return Vec::new() };
        let fresh = standing.iter().filter(|handed| !handed.drained).map(|handed| handed.job).collect();
        standing.iter_mut().for_each(|handed| handed.drained = true);
        self.drop_handed(conn, |handed| handed.void);
        fresh
    }

    /// Removes a queued piece. False when it is not queued (any more).
    pub(crate) fn cancel(&mut self, conn: ConnId, digest: Digest, index: PieceIndex) -> bool {
        let found = self.remove(conn, digest, index, Class::Demand);
        if let Some(job) = &found {
            self.unqueue(job);
        }
        found.is_some()
    }

    /// Moves a queued piece up to a class, unless it is in that or in a higher one.
    pub(crate) fn hurry(&mut self, conn: ConnId, digest: Digest, index: PieceIndex, class: Class, now: Time) {
        let below = if class == Class::Demand { Class::Ahead } else { Class::Background };
        if let Some(job) = self.remove(conn, digest, index, below) {
            self.lanes(class).push(job, now);
        }
    }

    /// Takes out a queued piece of a class or one below.
    fn remove(&mut self, conn: ConnId, digest: Digest, index: PieceIndex, most: Class) -> Option<Job> {
        let mut within = Class::ALL.into_iter().filter(|class| *class <= most);
        within.find_map(|class| self.lanes(class).remove(conn, digest, index))
    }

    const fn lanes(&mut self, class: Class) -> &mut Lanes {
        match class {
            Class::Demand => &mut self.demanded,
            Class::Ahead => &mut self.urgent,
            Class::Background => &mut self.normal,
            Class::Spare => &mut self.spare,
        }
    }

    /// Forgets everything for a connection, or only one blob of it. What was handed over stays until it drains.
    pub(crate) fn forget(&mut self, conn: ConnId, digest: Option<Digest>) {
        let gone = |job: &Job| job.conn == conn && digest.is_none_or(|digest| digest == job.digest);
        for class in Class::ALL {
            self.lanes(class).remove_all(gone).iter().for_each(|job| self.unqueue(job));
        }
        if digest.is_none() {
            self.drop_handed(conn, |_| true);
            return;
        }
        let standing = self.handed.get_mut(&conn).into_iter().flatten();
        standing.filter(|handed| gone(&handed.job)).for_each(|handed| handed.void = true);
        self.drop_handed(conn, |handed| handed.void && handed.drained);
    }

    /// When the next receiver counts as slow, if anybody waits for a slot.
    pub(crate) fn next_stuck(&self, now: Time) -> Option<Time> {
        if self.queued() == 0 {
            return None;
        }
        let patience = self.pace.patience();
        let ends = self.handed.values().flatten().map(|handed| handed.at.plus_micros(patience));
        ends.filter(|at| *at > now).min()
    }

    /// Whether one more piece may leave: those that have left do not count, nor those of slow receivers. Demanded ones have all slots to
    /// themselves besides, because they leave before others that were handed over.
    fn free_slots(&mut self, now: Time, slots: u32) -> Free {
        let patience = self.pace.patience();
        let (mut used, mut demanded, mut stuck, mut lost) = (0, 0, 0, None);
        for handed in self.handed.values().flatten() {
            let waited = now.micros_since(handed.at);
            match handed.drained {
                true if waited > ARRIVAL_MICROS_MAX => lost = Some(handed.job.conn),
                true => {}
                false if waited >= patience => stuck += 1,
                false if handed.demanded => demanded += 1,
                false => used += 1,
            }
        }
        if let Some(conn) = lost {
            self.drop_handed(conn, |handed| {
                handed.drained && now.micros_since(handed.at) > ARRIVAL_MICROS_MAX
            });
        }
        let any = stuck < UPLOADS_STUCK_MAX;
        Free { demanded: any && demanded < self.slots_max, others: any && used < slots }
    }

    /// The next piece in turn, and whether it is demanded. `more`: also for connections that have their share on the way already, when
    /// nobody else wants anything.
    fn take(
        &mut self,
        now: Time,
        copies: &impl Fn(&Job) -> u32,
        free: Free,
        more: bool,
    ) -> Option<(Job, bool)> {
        let handed = &self.handed;
        let able = |demanded| move |conn: ConnId| more || can_take(handed, conn, demanded);
        if free.demanded
            && let Some(job) = self.demanded.take(now, able(true), copies)
        {
            return Some((job, true));
        }
        if !free.others {
            return None;
        }
        let overdue = self.urgent_run >= URGENT_RUN_MAX;
        if !overdue && let Some(job) = self.urgent.take(now, able(false), copies) {
            self.urgent_run = if self.normal.len() > 0 { self.urgent_run + 1 } else { 0 };
            return Some((job, false));
        }
        let job = self.normal.take(now, able(false), copies);
        if job.is_some() {
            self.urgent_run = 0;
        }
        let job = job.or_else(|| self.urgent.take(now, able(false), copies));
        job.or_else(|| self.spare.take(now, able(false), copies)).map(|job| (job, false))
    }

    fn finish(
        &mut self,
        conn: ConnId,
        digest: Digest,
        index: PieceIndex,
        can: impl Fn(&Handed) -> bool,
    ) -> Option<Handed> {
        let standing = self.handed.get_mut(&conn)?;
        let same = |handed: &Handed| handed.job.digest == digest && handed.job.index == index && can(handed);
        let at = standing.iter().position(same)?;
        let found = standing.remove(at);
        if standing.is_empty() {
            self.handed.remove(&conn);
        }
        Some(found)
    }

    fn drop_handed(&mut self, conn: ConnId, gone: impl Fn(&Handed) -> bool) {
        let Some(standing) = self.handed.get_mut(&conn) else { return };
        standing.retain(|handed| !gone(handed));
        if standing.is_empty() {
            self.handed.remove(&conn);
        }
        self.rest();
    }

    fn rest(&mut self) {
        if self.handed.is_empty() {
            self.pace.end();
        }
    }

    fn unqueue(&mut self, job: &Job) {
        self.queued_bytes -= job.len;
        if let Some(count) = self.queued.get_mut(&job.conn) {
            *count -= 1;
            if *count == 0 {
                self.queued.remove(&job.conn);
            }
        }
    }
}

/// Slots that are free.
#[derive(Clone, Copy)]
struct Free {
    demanded: bool,
    others: bool,
}

/// Pieces that were handed to a connection: demanded ones, or the others.
fn on_the_way(handed: &BTreeMap<ConnId, Vec<Handed>>, conn: ConnId, demanded: bool) -> usize {
    let handed = handed.get(&conn).into_iter().flatten();
    handed.filter(|handed| handed.demanded == demanded).count()
}

fn can_take(handed: &BTreeMap<ConnId, Vec<Handed>>, conn: ConnId, demanded: bool) -> bool {
    on_the_way(handed, conn, demanded) < UPLOADS_PER_CONN as usize
}

#[cfg(test)]
mod tests;
