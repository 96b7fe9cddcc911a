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

/// A piece that one receiver has from us, and nobody from it so far.
#[derive(Clone, Copy, Debug)]
struct Trial {
    holder: ConnId,
    since: Time,
    /// It counts against its holder.
    late: bool,
}

/// What became of the pieces of one blob that we gave.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spread {
    trials: BTreeMap<PieceIndex, Trial>,
    /// The same in the order of time, with some that are over.
    order: VecDeque<(Time, PieceIndex)>,
    /// Pieces that were passed on once: no trial any more.
    passed: Option<Bitfield>,
    /// How many pieces count against each.
    late: BTreeMap<ConnId, u32>,
    /// Until when pieces that had to be given again count, and against whom.
    debts: VecDeque<(Time, ConnId)>,
    /// The mean time until a piece is passed on.
    mean_micros: u64,
}

impl Spread {
    /// A piece that we sent is with its receiver. `count`: the blob's pieces.
    pub(crate) fn arrived(&mut self, conn: ConnId, index: PieceIndex, count: u32, now: Time) {
        let passed = self.passed.get_or_insert_with(|| Bitfield::empty(count));
        if passed.has(index) {
            return;
        }
        let trial = Trial { holder: conn, since: now, late: false };
        if let Some(Trial { holder, late: true, .. }) = self.trials.insert(index, trial) {
            // It had to be given again: that the new holder passes it on does not speak for the old one.
            self.debts.push_back((now.plus_micros(SPREAD_DEBT_MICROS), holder));
        }
        self.order.push_back((now, index));
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
        if trial.late {
            self.forgive(trial.holder);
        }
        let micros = now.micros_since(trial.since);
        self.mean_micros = if self.mean_micros > 0 { (self.mean_micros * 15 + micros) / 16 } else { micros };
    }

    /// How many pieces count against a receiver.
    pub(crate) fn owed(&self, conn: ConnId) -> u32 {
        self.late.get(&conn).copied().unwrap_or(0)
    }

    /// Looks which pieces have been kept for too long by now.
    pub(crate) fn look(&mut self, now: Time) {
        let patience = self.patience_micros();
        while let Some((since, index)) = self.order.front().copied()
            && now.micros_since(since) >= patience
        {
            self.order.pop_front();
            if let Some(trial) = self.trials.get_mut(&index).filter(|trial| trial.since == since) {
                trial.late = true;
                *self.late.entry(trial.holder).or_default() += 1;
            }
        }
        while let Some((until, conn)) = self.debts.front().copied()
            && until <= now
        {
            self.debts.pop_front();
            self.forgive(conn);
        }
    }

    /// Forgets a receiver.
    pub(crate) fn forget(&mut self, conn: ConnId) {
        self.trials.retain(|_, trial| trial.holder != conn);
        self.debts.retain(|(_, of)| *of != conn);
        self.late.remove(&conn);
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

    fn forgive(&mut self, conn: ConnId) {
        if let Some(count) = self.late.get_mut(&conn) {
            *count -= 1;
            if *count == 0 {
                self.late.remove(&conn);
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

    #[test]
    fn who_keeps_pieces_owes_them_and_who_passes_them_on_does_not() {
        let mut spread = Spread::default();
        for index in 0..4 {
            spread.arrived(if index < 2 { KEEPER } else { GIVER }, PieceIndex(index), 10, seconds(0));
        }
        spread.heard(KEEPER, PieceIndex(0), seconds(1));
        spread.heard(ConnId(3), PieceIndex(2), seconds(1));
        spread.heard(ConnId(3), PieceIndex(3), seconds(1));
        spread.look(seconds(1));
        assert_eq!((spread.owed(KEEPER), spread.owed(GIVER)), (0, 0), "not yet");
        spread.look(seconds(60));
        assert_eq!((spread.owed(KEEPER), spread.owed(GIVER)), (2, 0));
        spread.heard(ConnId(3), PieceIndex(0), seconds(61));
        assert_eq!(spread.owed(KEEPER), 1, "late, but passed on");
        spread.forget(KEEPER);
        assert_eq!(spread.owed(KEEPER), 0);
    }

    #[test]
    fn a_piece_that_had_to_be_given_again_counts_for_a_while_whatever_becomes_of_it() {
        let mut spread = Spread::default();
        spread.arrived(KEEPER, PieceIndex(0), 10, seconds(0));
        spread.look(seconds(60));
        spread.arrived(GIVER, PieceIndex(0), 10, seconds(61));
        spread.heard(ConnId(3), PieceIndex(0), seconds(62));
        spread.look(seconds(62));
        assert_eq!((spread.owed(KEEPER), spread.owed(GIVER)), (1, 0));
        spread.look(seconds(61).plus_micros(SPREAD_DEBT_MICROS));
        assert_eq!(spread.owed(KEEPER), 0);
    }
}
