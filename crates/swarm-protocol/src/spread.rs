//! Who passes on what an owner gives: for each receiver, how many pieces lie with it that nobody else has after a while.
//!
//! An owner's uplink is for what nobody has, and a piece that is given to somebody who keeps it has to be given again. Whether a peer
//! passes pieces on cannot be asked of it; but its neighbours say what they have, and each piece that was given to one only is a trial.
//! So owners serve those first who owe no such proof. Nobody is refused anything: who is served last still gets what nobody else
//! wants just now, and everything that others have from those.
//!
//! The price: peers that say in concert that they have one another's pieces pass every trial, and cost what they cost without this.

use std::collections::{BTreeMap, VecDeque};

use shoal_swarm_types::{Bitfield, PieceIndex};

use crate::io::{ConnId, Time};
use crate::limits::{SPREAD_DEBT_MICROS, SPREAD_PATIENCE_FACTOR, SPREAD_PATIENCE_MICROS};

/// A piece that one receiver gets from us, and nobody from it so far.
#[derive(Clone, Copy, Debug)]
struct Trial {
    holder: ConnId,
    /// When it was there; `None` while it is on its way.
    since: Option<Time>,
    /// It is late.
    late: bool,
}

/// What counts against a receiver: the less, the sooner it is served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Owed {
    /// Pieces that it has kept for too long.
    pub(crate) late: u32,
    /// Pieces that it has, or gets, and that nobody has from it, the late ones included.
    pub(crate) open: u32,
}

/// What became of the pieces of one blob that we gave.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spread {
    trials: BTreeMap<PieceIndex, Trial>,
    /// Those that have arrived in the order of time, with some that are over.
    order: VecDeque<(Time, PieceIndex)>,
    /// Pieces that were passed on once: no trial any more.
    passed: Option<Bitfield>,
    owed: BTreeMap<ConnId, Owed>,
    /// Until when pieces that had to be given again count, and against whom.
    debts: VecDeque<(Time, ConnId)>,
    /// The mean time until a piece is passed on.
    mean_micros: u64,
}

impl Spread {
    /// A piece is given to somebody. `count`: the blob's pieces.
    pub(crate) fn given(&mut self, conn: ConnId, index: PieceIndex, count: u32, now: Time) {
        let passed = self.passed.get_or_insert_with(|| Bitfield::empty(count));
        if passed.has(index) {
            return;
        }
        let trial = Trial { holder: conn, since: None, late: false };
        self.owed.entry(conn).or_default().open += 1;
        match self.trials.insert(index, trial) {
            // It has to be given again: that the new holder passes it on will not speak for the old one.
            Some(old) if old.late => self.debts.push_back((now.plus_micros(SPREAD_DEBT_MICROS), old.holder)),
            Some(old) => self.forgive(old.holder, false),
            None => {}
        }
    }

    /// A piece that we sent is with its receiver.
    pub(crate) fn arrived(&mut self, conn: ConnId, index: PieceIndex, now: Time) {
        let trial = self.trials.get_mut(&index);
        if let Some(trial) = trial.filter(|trial| trial.holder == conn && trial.since.is_none()) {
            trial.since = Some(now);
            self.order.push_back((now, index));
        }
    }

    /// A piece is not given after all.
    pub(crate) fn taken_back(&mut self, conn: ConnId, index: PieceIndex) {
        let trial = self.trials.get(&index);
        if trial.is_some_and(|trial| trial.holder == conn && trial.since.is_none()) {
            self.trials.remove(&index);
            self.forgive(conn, false);
        }
    }

    /// Somebody says that he has a piece which is not from us.
    pub(crate) fn heard(&mut self, conn: ConnId, index: PieceIndex, now: Time) {
        let Some(trial) = self.trials.get(&index).copied().filter(|trial| trial.holder != conn) else {
            return;
        };
        self.trials.remove(&index);
        if let Some(passed) = &mut self.passed {
            passed.set(index);
        }
        self.forgive(trial.holder, trial.late);
        if let Some(since) = trial.since {
            let (mean, micros) = (self.mean_micros, now.micros_since(since));
            self.mean_micros = if mean > 0 { (mean * 15 + micros) / 16 } else { micros };
        }
    }

    /// What counts against a receiver.
    pub(crate) fn owed(&self, conn: ConnId) -> Owed {
        self.owed.get(&conn).copied().unwrap_or_default()
    }

    /// Looks which pieces have been kept for too long by now.
    pub(crate) fn look(&mut self, now: Time) {
        let patience = self.patience_micros();
        while let Some((since, index)) = self.order.front().copied()
            && now.micros_since(since) >= patience
        {
            self.order.pop_front();
            if let Some(trial) = self.trials.get_mut(&index).filter(|trial| trial.since == Some(since)) {
                trial.late = true;
                self.owed.entry(trial.holder).or_default().late += 1;
            }
        }
        while let Some((until, conn)) = self.debts.front().copied()
            && until <= now
        {
            self.debts.pop_front();
            self.forgive(conn, true);
        }
    }

    /// Forgets a receiver.
    pub(crate) fn forget(&mut self, conn: ConnId) {
        self.trials.retain(|_, trial| trial.holder != conn);
        self.debts.retain(|(_, of)| *of != conn);
        self.owed.remove(&conn);
    }

    /// How long a piece may stay with one receiver: a few times what is usual here.
    fn patience_micros(&self) -> u64 {
        let (least, most) = SPREAD_PATIENCE_MICROS;
        if self.mean_micros == 0 {
            most
        } else {
            (self.mean_micros * SPREAD_PATIENCE_FACTOR).clamp(least, most)
        }
    }

    fn forgive(&mut self, conn: ConnId, late: bool) {
        if let Some(owed) = self.owed.get_mut(&conn) {
            (owed.open, owed.late) = (owed.open - 1, owed.late - u32::from(late));
            if owed.open == 0 {
                self.owed.remove(&conn);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEPER: ConnId = ConnId(1);
    const GIVER: ConnId = ConnId(2);

    fn seconds(count: u64) -> Time {
        Time::from_millis(count * 1_000)
    }

    fn gives(spread: &mut Spread, to: ConnId, index: u32, at: Time) {
        spread.given(to, PieceIndex(index), 10, at);
        spread.arrived(to, PieceIndex(index), at);
    }

    fn late(spread: &Spread) -> [u32; 2] {
        [KEEPER, GIVER].map(|conn| spread.owed(conn).late)
    }

    #[test]
    fn who_keeps_pieces_owes_them_and_who_passes_them_on_does_not() {
        let mut spread = Spread::default();
        for index in 0..4 {
            gives(&mut spread, if index < 2 { KEEPER } else { GIVER }, index, seconds(0));
        }
        spread.heard(KEEPER, PieceIndex(0), seconds(1));
        spread.heard(ConnId(3), PieceIndex(2), seconds(1));
        spread.heard(ConnId(3), PieceIndex(3), seconds(1));
        spread.look(seconds(1));
        assert_eq!(late(&spread), [0, 0], "not yet");
        assert_eq!((spread.owed(KEEPER).open, spread.owed(GIVER).open), (2, 0));
        spread.look(seconds(60));
        assert_eq!(late(&spread), [2, 0]);
        spread.heard(ConnId(3), PieceIndex(0), seconds(61));
        assert_eq!(late(&spread), [1, 0], "late, but passed on");
        spread.forget(KEEPER);
        assert_eq!(spread.owed(KEEPER), Owed::default());
    }

    #[test]
    fn a_piece_that_had_to_be_given_again_counts_for_a_while_whatever_becomes_of_it() {
        let mut spread = Spread::default();
        gives(&mut spread, KEEPER, 0, seconds(0));
        spread.look(seconds(60));
        gives(&mut spread, GIVER, 0, seconds(61));
        spread.heard(ConnId(3), PieceIndex(0), seconds(62));
        spread.look(seconds(62));
        assert_eq!(late(&spread), [1, 0]);
        assert_eq!(spread.owed(GIVER), Owed::default());
        spread.look(seconds(61).plus_micros(SPREAD_DEBT_MICROS));
        assert_eq!(spread.owed(KEEPER), Owed::default());
    }

    #[test]
    fn what_is_given_to_another_before_its_time_or_taken_back_counts_against_nobody() {
        let mut spread = Spread::default();
        gives(&mut spread, KEEPER, 0, seconds(0));
        spread.given(GIVER, PieceIndex(0), 10, seconds(1));
        assert_eq!((spread.owed(KEEPER).open, spread.owed(GIVER).open), (0, 1));
        spread.taken_back(GIVER, PieceIndex(0));
        spread.look(seconds(60));
        assert_eq!(spread.owed(GIVER), Owed::default());
    }
}
