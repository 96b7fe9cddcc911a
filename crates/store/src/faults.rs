//! A disk that fails on demand. In a test of this crate a store can be told which of its next changes to the disk fails, and how; in
//! every other build a question costs nothing and the answer is always that the disk is well.

/// A change to the disk that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Op {
    Create,
    #[cfg_attr(not(test), expect(dead_code, reason = "only a fault asks which change was a write"))]
    Write,
    Sync,
    Rename,
    SyncDir,
}

#[cfg(not(test))]
pub(crate) use well::Faults;

#[cfg(test)]
pub(crate) use injected::{Fault, Faults};

#[cfg(not(test))]
mod well {
    use std::io;

    use super::Op;

    #[derive(Default)]
    pub(crate) struct Faults;

    #[expect(
        clippy::unused_self,
        clippy::unnecessary_wraps,
        reason = "the same words as in tests, where they can fail"
    )]
    impl Faults {
        /// Whether `op` may be tried.
        pub(crate) const fn check(&self, _: Op) -> io::Result<()> {
            Ok(())
        }

        /// How many of `len` bytes a write may be given.
        pub(crate) const fn limit(&self, len: usize) -> io::Result<usize> {
            Ok(len)
        }
    }
}

#[cfg(test)]
mod injected {
    use std::io;
    use std::sync::Mutex;

    use nix::errno::Errno;

    use super::Op;
    use crate::locks::hold;

    /// What happens to one operation.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Fault {
        Error(Errno),
        /// A write takes this many bytes at most, and the next one fails.
        Short(usize, Errno),
    }

    #[derive(Default)]
    pub(crate) struct Faults {
        plan: Mutex<Plan>,
    }

    #[derive(Default)]
    struct Plan {
        seen: Vec<Op>,
        fault: Option<(usize, Fault)>,
        happened: bool,
    }

    impl Faults {
        /// The operation after `after` others fails, once. Forgets what was planned and seen before.
        pub(crate) fn plan(&self, after: usize, fault: Fault) {
            *hold(&self.plan) = Plan { fault: Some((after, fault)), ..Plan::default() };
        }

        /// Ends the plan; gives the operations that were tried, and whether the fault has happened.
        pub(crate) fn end(&self) -> (Vec<Op>, bool) {
            let plan = std::mem::take(&mut *hold(&self.plan));
            (plan.seen, plan.happened)
        }

        fn next(&self, op: Op) -> Option<Fault> {
            let mut plan = hold(&self.plan);
            let at = plan.seen.len();
            plan.seen.push(op);
            let (after, fault) = plan.fault.filter(|(after, _)| at >= *after)?;
            plan.fault = match fault {
                Fault::Error(_) => None,
                // A short write is followed by the reason for it.
                Fault::Short(_, errno) if op == Op::Write => Some((after, Fault::Error(errno))),
                Fault::Short(..) => return None,
            };
            plan.happened = true;
            Some(fault)
        }

        pub(crate) fn check(&self, op: Op) -> io::Result<()> {
            match self.next(op) {
                Some(Fault::Error(errno)) => Err(errno.into()),
                Some(Fault::Short(..)) | None => Ok(()),
            }
        }

        pub(crate) fn limit(&self, len: usize) -> io::Result<usize> {
            match self.next(Op::Write) {
                Some(Fault::Error(errno)) => Err(errno.into()),
                Some(Fault::Short(short, _)) => Ok(len.min(short)),
                None => Ok(len),
            }
        }
    }
}
