//! The one sentence that everything else relies on: *each piece of a blob is in exactly one state*.
//!
//! Missing, requested (from whom, since when), storing (its bytes are with the driver), or present. This type owns that sentence; see
//! `download/STATE.md` for the drawing. It knows nothing of connections, time-outs or choice: it is told, and refuses what does not fit.

use std::collections::BTreeMap;

use shoal_swarm_types::{Bitfield, Layout, PieceIndex};

use crate::io::{Source, Time};

/// One outstanding request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// Who was asked.
    pub(crate) source: Source,
    /// When.
    pub(crate) at: Time,
}

/// The state of one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PieceState<'a> {
    /// Nobody was asked.
    Missing,
    /// Somebody was asked; in the endgame several.
    Requested(&'a [Request]),
    /// Its bytes came from there and are being verified and written.
    Storing(Source),
    /// Verified and written.
    Present,
}

/// What to do with the bytes of a piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// Verify and write them; the others that were asked need not send it.
    Store {
        /// Everybody else who was asked.
        others: Vec<Source>,
    },
    /// It is there already, or being written.
    Duplicate,
}

/// The pieces of one blob.
#[derive(Clone, Debug)]
pub(crate) struct Download {
    layout: Layout,
    present: Bitfield,
    missing: Bitfield,
    requested: BTreeMap<PieceIndex, Vec<Request>>,
    storing: BTreeMap<PieceIndex, Source>,
}

impl Download {
    /// A blob of which the store has some pieces. `present` must be of the layout's length.
    pub(crate) fn new(layout: Layout, present: Bitfield) -> Self {
        let mut missing = Bitfield::full(layout.piece_count());
        present.iter().for_each(|index| {
            missing.unset(index);
        });
        Self { layout, present, missing, requested: BTreeMap::new(), storing: BTreeMap::new() }
    }

    /// How the blob is cut.
    pub(crate) const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Length of a piece in bytes.
    pub(crate) fn piece_len(&self, index: PieceIndex) -> u64 {
        u64::from(self.layout.piece_len(index))
    }

    /// The pieces that are present.
    pub(crate) const fn present(&self) -> &Bitfield {
        &self.present
    }

    /// The pieces that nobody was asked for.
    pub(crate) const fn missing(&self) -> &Bitfield {
        &self.missing
    }

    /// The pieces that somebody was asked for.
    pub(crate) const fn requested(&self) -> &BTreeMap<PieceIndex, Vec<Request>> {
        &self.requested
    }

    /// Number of pieces whose bytes are being written.
    pub(crate) fn storing_count(&self) -> usize {
        self.storing.len()
    }

    /// Whether every piece is present.
    pub(crate) const fn is_complete(&self) -> bool {
        self.present.is_full()
    }

    /// The state of one piece. A piece beyond the end counts as present: there is nothing to do for it.
    pub(crate) fn state(&self, index: PieceIndex) -> PieceState<'_> {
        if self.missing.has(index) {
            PieceState::Missing
        } else if let Some(requests) = self.requested.get(&index) {
            PieceState::Requested(requests)
        } else if let Some(source) = self.storing.get(&index) {
            PieceState::Storing(*source)
        } else {
            PieceState::Present
        }
    }

    /// Somebody is asked for a piece. False, and nothing changes, unless it is missing or requested from others only.
    pub(crate) fn request(&mut self, index: PieceIndex, source: Source, at: Time) -> bool {
        if self.missing.unset(index) {
            self.requested.insert(index, vec![Request { source, at }]);
            return true;
        }
        let Some(requests) = self.requested.get_mut(&index) else { return false };
        if requests.iter().any(|request| request.source == source) {
            return false;
        }
        requests.push(Request { source, at });
        true
    }

    /// A source will not deliver after all. True when the piece is missing again.
    pub(crate) fn release(&mut self, index: PieceIndex, source: Source) -> bool {
        let Some(requests) = self.requested.get_mut(&index) else { return false };
        requests.retain(|request| request.source != source);
        if !requests.is_empty() {
            return false;
        }
        self.requested.remove(&index);
        self.missing.set(index)
    }

    /// The bytes of a piece came from `source`, asked for or not.
    pub(crate) fn deliver(&mut self, index: PieceIndex, source: Source) -> Delivery {
        let others = match (self.missing.unset(index), self.requested.remove(&index)) {
            (true, _) => Vec::new(),
            (false, Some(requests)) => {
                requests.into_iter().map(|request| request.source).filter(|other| *other != source).collect()
            }
            (false, None) => return Delivery::Duplicate,
        };
        self.storing.insert(index, source);
        Delivery::Store { others }
    }

    /// The driver has verified and written a piece. False when it was not being written.
    pub(crate) fn stored(&mut self, index: PieceIndex) -> bool {
        self.storing.remove(&index).is_some() && self.present.set(index)
    }

    /// The driver did not take a piece. False when it was not being written.
    pub(crate) fn rejected(&mut self, index: PieceIndex) -> bool {
        self.storing.remove(&index).is_some() && self.missing.set(index)
    }

    /// A piece that nobody was asked for is there. False when that was known, or somebody was asked.
    pub(crate) fn appeared(&mut self, index: PieceIndex) -> bool {
        self.missing.unset(index) && self.present.set(index)
    }

    /// A present piece no longer verifies. False when it was not present.
    pub(crate) fn lost(&mut self, index: PieceIndex) -> bool {
        self.present.unset(index) && self.missing.set(index)
    }
}

#[cfg(test)]
mod tests;
