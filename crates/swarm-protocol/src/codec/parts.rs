//! Pieces that come in parts: which of them have begun on a connection, and what may follow.
//!
//! A sender pauses a long piece when a reader waits for another one, and goes on afterwards. So two pieces at most have begun at any time:
//! one that pauses, and one that overtakes it. Each goes on exactly where it stopped. Whoever sends anything else is cut off, so a peer
//! cannot make us keep more than that, nor write a byte twice.

use super::{MoreHead, PieceHead};

/// Pieces that may have begun on one connection: one of the background, and one that a reader waits for.
const BEGUN_MAX: usize = 2;

/// What a peer did wrong with parts of pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartError {
    /// More of a piece that has not begun, or is complete.
    #[error("more of a piece that has not begun")]
    Unknown,
    /// More of a piece, but not from where it stopped.
    #[error("a gap or an overlap in a piece")]
    Offset,
    /// More than the whole piece.
    #[error("more bytes than the piece has")]
    Length,
    /// A piece that has begun already.
    #[error("a piece that has begun already")]
    Doubled,
    /// Too many pieces that have begun.
    #[error("too many pieces have begun")]
    Crowded,
}

/// The pieces that have begun on a connection, each with what the driver keeps for it.
#[derive(Debug)]
pub struct Parts<T>(Vec<Begun<T>>);

/// A piece of which bytes are still to come.
#[derive(Debug)]
pub struct Begun<T> {
    /// What was said first.
    pub head: PieceHead,
    /// What the driver keeps.
    pub kept: T,
    /// Bytes of it that were announced so far.
    come: u32,
}

impl<T> Default for Parts<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Parts<T> {
    /// Whether a piece may begin, or come whole.
    ///
    /// # Errors
    /// [`PartError::Doubled`]; for one that comes in parts also [`PartError::Crowded`].
    pub fn may_begin(&self, head: &PieceHead, in_parts: bool) -> Result<(), PartError> {
        if self.position(head.swarm, head.index.0).is_some() {
            return Err(PartError::Doubled);
        }
        if in_parts && self.0.len() >= BEGUN_MAX {
            return Err(PartError::Crowded);
        }
        Ok(())
    }

    /// Keeps a piece of which the first `come` bytes were announced. [`Self::may_begin`] comes first.
    pub fn keep(&mut self, head: PieceHead, come: u32, kept: T) {
        self.0.push(Begun { head, kept, come });
    }

    /// Takes out the piece that goes on.
    ///
    /// # Errors
    /// [`PartError`], when it may not go on so.
    pub fn go_on(&mut self, more: &MoreHead) -> Result<Begun<T>, PartError> {
        let at = self.position(more.swarm, more.index.0).ok_or(PartError::Unknown)?;
        let begun = &mut self.0[at];
        if more.offset != begun.come {
            return Err(PartError::Offset);
        }
        // Neither is longer than a frame.
        if more.len > begun.head.len - begun.come {
            return Err(PartError::Length);
        }
        begun.come += more.len;
        Ok(self.0.swap_remove(at))
    }

    /// Keeps a piece again that went on and is not complete.
    pub fn keep_again(&mut self, begun: Begun<T>) {
        self.0.push(begun);
    }

    fn position(&self, swarm: u32, index: u32) -> Option<usize> {
        self.0.iter().position(|begun| begun.head.swarm == swarm && begun.head.index.0 == index)
    }
}

impl<T> Begun<T> {
    /// Whether all bytes were announced.
    pub const fn is_whole(&self) -> bool {
        self.come == self.head.len
    }
}

#[cfg(test)]
mod tests {
    use shoal_swarm_types::PieceIndex;

    use super::*;

    fn head(index: u32, len: u32) -> PieceHead {
        PieceHead { swarm: 1, index: PieceIndex(index), queue: 0, len }
    }

    fn more(index: u32, offset: u32, len: u32) -> MoreHead {
        MoreHead { swarm: 1, index: PieceIndex(index), offset, len }
    }

    fn begun() -> Parts<()> {
        let mut parts = Parts::default();
        assert_eq!(parts.may_begin(&head(7, 100), true), Ok(()));
        parts.keep(head(7, 100), 40, ());
        parts
    }

    #[test]
    fn a_piece_pauses_for_another_and_goes_on_where_it_stopped() {
        let mut parts = begun();
        assert_eq!(
            (parts.may_begin(&head(8, 50), true), parts.may_begin(&head(9, 50), false)),
            (Ok(()), Ok(()))
        );
        parts.keep(head(8, 50), 10, ());
        assert!(parts.go_on(&more(8, 10, 40)).unwrap().is_whole());
        let first = parts.go_on(&more(7, 40, 30)).unwrap();
        assert!(!first.is_whole());
        parts.keep_again(first);
        assert!(parts.go_on(&more(7, 70, 30)).unwrap().is_whole());
        assert_eq!(parts.go_on(&more(7, 100, 1)).unwrap_err(), PartError::Unknown, "it is complete");
    }

    #[test]
    fn gaps_overlaps_and_excess_are_refused() {
        for (more, error) in [
            (more(7, 41, 10), PartError::Offset),
            (more(7, 39, 10), PartError::Offset),
            (more(7, 0, 40), PartError::Offset),
            (more(7, 40, 61), PartError::Length),
            (more(7, 40, u32::MAX), PartError::Length),
            (more(6, 40, 10), PartError::Unknown),
            (MoreHead { swarm: 2, ..more(7, 40, 10) }, PartError::Unknown),
        ] {
            assert_eq!(begun().go_on(&more).unwrap_err(), error, "{more:?}");
        }
    }

    #[test]
    fn no_third_piece_begins_and_none_begins_twice() {
        let mut parts = begun();
        assert_eq!(parts.may_begin(&head(7, 100), true), Err(PartError::Doubled));
        assert_eq!(parts.may_begin(&head(7, 100), false), Err(PartError::Doubled));
        parts.keep(head(8, 50), 10, ());
        assert_eq!(parts.may_begin(&head(9, 50), true), Err(PartError::Crowded));
        assert_eq!(parts.may_begin(&head(9, 50), false), Ok(()), "one that comes whole is not kept");
    }
}
