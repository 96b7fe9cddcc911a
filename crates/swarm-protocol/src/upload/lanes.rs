//! What waits to be sent, blob by blob, so that the layers of one image progress together.
//!
//! Fair by bytes: the blob that has been served least has its turn, and a blob that comes back from having nothing to send does not
//! catch up on what it missed. Within a blob the pieces that fewest neighbours have go first, because whoever gets one of these has
//! something to pass on; but nobody is overtaken for longer than a while, so common pieces are not starved.

use std::collections::{BTreeMap, VecDeque};

use shoal_oci::Digest;
use shoal_swarm_types::PieceIndex;

use crate::io::{ConnId, Time};
use crate::limits::{OVERTAKEN_MICROS_MAX, RARITY_LOOK_AHEAD};

use super::Job;

/// One blob's queue.
#[derive(Debug, Default)]
struct Lane {
    /// Bytes sent, on a scale that all lanes share.
    served: u64,
    jobs: VecDeque<(Job, Time)>,
}

/// Everything that waits in one class.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: BTreeMap<Digest, Lane>,
    /// Where the lane that was served last stood: newcomers begin there.
    level: u64,
    len: usize,
}

impl Lanes {
    /// Number of pieces that wait.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Every piece that waits.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Job> {
        self.lanes.values().flat_map(|lane| lane.jobs.iter().map(|(job, _)| job))
    }

    /// Queues a piece.
    pub(super) fn push(&mut self, job: Job, now: Time) {
        let level = self.level;
        let lane = self.lanes.entry(job.digest).or_insert(Lane { served: level, jobs: VecDeque::new() });
        lane.jobs.push_back((job, now));
        self.len += 1;
    }

    /// Takes the next piece whose connection can take one.
    pub(super) fn take(
        &mut self,
        now: Time,
        can_take: impl Fn(ConnId) -> bool,
        copies: impl Fn(&Job) -> u32,
    ) -> Option<Job> {
        let chosen = self.lanes.iter().filter_map(|(digest, lane)| {
            lane.next(now, &can_take, &copies).map(|at| (lane.served, *digest, at))
        });
        let (served, digest, at) = chosen.min()?;
        self.level = self.level.max(served);
        let lane = self.lanes.get_mut(&digest)?;
        let (job, _) = lane.jobs.remove(at)?;
        lane.served += job.len;
        self.removed(&digest, 1);
        Some(job)
    }

    /// Removes one piece.
    pub(super) fn remove(&mut self, conn: ConnId, digest: Digest, index: PieceIndex) -> Option<Job> {
        let lane = self.lanes.get_mut(&digest)?;
        let at = lane.jobs.iter().position(|(job, _)| job.conn == conn && job.index == index)?;
        let (job, _) = lane.jobs.remove(at)?;
        self.removed(&digest, 1);
        Some(job)
    }

    /// Removes every piece that is `gone`, and returns them.
    pub(super) fn remove_all(&mut self, gone: impl Fn(&Job) -> bool) -> Vec<Job> {
        let mut removed = Vec::new();
        for lane in self.lanes.values_mut() {
            removed.extend(lane.jobs.iter().map(|(job, _)| *job).filter(|job| gone(job)));
            lane.jobs.retain(|(job, _)| !gone(job));
        }
        self.lanes.retain(|_, lane| !lane.jobs.is_empty());
        self.len -= removed.len();
        removed
    }

    fn removed(&mut self, digest: &Digest, count: usize) {
        self.len -= count;
        if self.lanes.get(digest).is_some_and(|lane| lane.jobs.is_empty())
            && let Some(lane) = self.lanes.remove(digest)
        {
            // One that was alone does not come back behind where it was.
            self.level = self.level.max(lane.served);
        }
    }
}

impl Lane {
    /// The place of the piece to send next.
    fn next(
        &self,
        now: Time,
        can_take: impl Fn(ConnId) -> bool,
        copies: impl Fn(&Job) -> u32,
    ) -> Option<usize> {
        let mut able = self.jobs.iter().enumerate().filter(|(_, (job, _))| can_take(job.conn));
        let (first, (job, since)) = able.next()?;
        if now.micros_since(*since) >= OVERTAKEN_MICROS_MAX {
            return Some(first);
        }
        let rest = able.take(RARITY_LOOK_AHEAD).map(|(at, (job, _))| (copies(job), at));
        rest.chain([(copies(job), first)]).min().map(|(_, at)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(blob: &str, conn: u64, index: u32, len: u64) -> Job {
        Job { conn: ConnId(conn), digest: Digest::sha256(blob.as_bytes()), index: PieceIndex(index), len }
    }

    fn drain(lanes: &mut Lanes, count: usize) -> Vec<Job> {
        let next = || lanes.take(Time(0), |_| true, |_| 0);
        std::iter::from_fn(next).take(count).collect()
    }

    #[test]
    fn blobs_share_by_bytes_and_latecomers_do_not_catch_up() {
        let mut lanes = Lanes::default();
        (0..40).for_each(|index| lanes.push(job("small", 1, index, 10), Time(0)));
        (0..40).for_each(|index| lanes.push(job("large", 1, index, 40), Time(0)));
        let bytes =
            |jobs: &[Job], len: u64| jobs.iter().filter(|job| job.len == len).map(|job| job.len).sum::<u64>();
        let first = drain(&mut lanes, 25);
        assert!(bytes(&first, 10).abs_diff(bytes(&first, 40)) <= 40, "{first:?}");
        (0..40).for_each(|index| lanes.push(job("late", 1, index, 20), Time(0)));
        let second = drain(&mut lanes, 35);
        let late = bytes(&second, 20);
        assert!(late.abs_diff(bytes(&second, 40)) <= 80 && late > 0, "{second:?}");
        assert_eq!(lanes.len(), lanes.iter().count());
    }

    #[test]
    fn rare_pieces_overtake_for_a_while() {
        let mut lanes = Lanes::default();
        (0..4).for_each(|index| lanes.push(job("x", 1, index, 10), Time(0)));
        let copies = |job: &Job| 9 - job.index.0;
        let take = |lanes: &mut Lanes, now| lanes.take(now, |_| true, copies).map(|job| job.index.0);
        assert_eq!(take(&mut lanes, Time(0)), Some(3));
        assert_eq!(take(&mut lanes, Time(OVERTAKEN_MICROS_MAX)), Some(0));
        assert_eq!(lanes.remove_all(|job| job.index.0 == 1).len(), 1);
        assert_eq!(take(&mut lanes, Time(0)), Some(2));
        assert_eq!((take(&mut lanes, Time(0)), lanes.len()), (None, 0));
    }

    #[test]
    fn who_cannot_take_one_is_passed_over() {
        let mut lanes = Lanes::default();
        lanes.push(job("x", 1, 0, 10), Time(0));
        lanes.push(job("x", 2, 1, 10), Time(0));
        let taken = lanes.take(Time(0), |conn| conn == ConnId(2), |_| 0);
        assert_eq!(taken.map(|job| job.conn), Some(ConnId(2)));
        assert!(lanes.take(Time(0), |conn| conn == ConnId(2), |_| 0).is_none());
        assert!(lanes.remove(ConnId(1), job("x", 1, 0, 10).digest, PieceIndex(0)).is_some());
    }
}
