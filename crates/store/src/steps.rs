//! The moments between two changes on the disk, by name. In a test of this crate an observer can look at the directory at each
//! of them, as a crash at that moment would leave it; in every other build a step costs nothing.

/// What has just been done to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    UploadLabelled,
    UploadCreated,
    UploadWritten,
    ContentWritten,
    MetainfoStaged,
    MetainfoPlaced,
    DataPlaced,
    DirectorySynced,
    LeftoversRemoved,
    PartialDescribed,
    PartialCreated,
    PieceWritten,
    PieceClaimed,
    DemotionPrepared,
    DataDemoted,
    DataUnlinked,
    MetainfoUnlinked,
    SegmentCreated,
    GroupWritten,
    GroupSynced,
    SegmentSealed,
    SegmentUnlinked,
    SummaryUnlinked,
    DataSetAside,
    MetainfoSetAside,
}

#[cfg(not(test))]
pub(crate) const fn passed(_: Step) {}

#[cfg(test)]
pub(crate) use observed::{observe, passed};

#[cfg(test)]
mod observed {
    use std::cell::RefCell;

    use super::Step;

    type Observer = Box<dyn FnMut(Step)>;

    thread_local! {
        static OBSERVER: RefCell<Option<Observer>> = const { RefCell::new(None) };
    }

    pub(crate) fn passed(step: Step) {
        // Taken out while it runs, so that what it does itself is not observed.
        let taken = OBSERVER.with_borrow_mut(Option::take);
        if let Some(mut observer) = taken {
            observer(step);
            OBSERVER.with_borrow_mut(|slot| *slot = Some(observer));
        }
    }

    /// Runs `work`, calling `observer` at each step that this thread passes.
    pub(crate) fn observe<T>(observer: impl FnMut(Step) + 'static, work: impl FnOnce() -> T) -> T {
        OBSERVER.with_borrow_mut(|slot| *slot = Some(Box::new(observer)));
        let result = work();
        OBSERVER.with_borrow_mut(|slot| *slot = None);
        result
    }
}
