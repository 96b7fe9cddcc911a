//! Who is using a digest right now, so that the collector and the registry never meet over one content.
//!
//! A push holds a *lease* on a digest from before its content is stored until its link is durable; the collector removes content
//! only under a *claim*, which nobody gets while there is a lease, and asks for links once more inside it. Apart from that, what a
//! client was told to exist is *touched*, and stays for one period of grace at least.
//!
//! Goals: cheap enough for every request; never a false "nobody uses it". Non-goals: leases that outlive the process or reach other
//! machines. Price: the memory of what was touched, up to 20 MiB for each of the two generations when a million are reached.

mod held;
mod touched;

use shoal_oci::{Digest, Repository};

use held::Held;
pub use held::{Claim, Lease};
use touched::Touched;

/// The leases, claims and touches of one process. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Leases {
    held: Held,
    touched: Touched,
}

impl Leases {
    /// Nobody holds anything. Everything counts as touched until the first [`Leases::rotate`]: what was told to clients before this
    /// process started is not known any more.
    pub fn new() -> Self {
        Self::default()
    }

    /// Shares `digest` with all others who hold it, until the lease is dropped. Waits while it is claimed.
    ///
    /// Dropping the future gives up the place in the queue.
    pub async fn hold(&self, digest: &Digest) -> Lease {
        self.held.hold(digest).await
    }

    /// Takes `digest` for its removal, until the claim is dropped; `None` while anybody holds it, waits for it, or has claimed it.
    pub fn claim(&self, digest: &Digest) -> Option<Claim> {
        self.held.claim(digest)
    }

    /// Notes that a client was just told that `digest` is in `repository`, or put it there.
    pub fn touch(&self, repository: &Repository, digest: &Digest) {
        self.touched.touch(repository, digest);
    }

    /// [`Leases::touch`], and whether the answer to the client may be looked up at once: `false` while the digest is claimed, when only
    /// [`Leases::vouch`] knows how long to wait.
    ///
    /// The collector asks for touches inside its claim. So either it sees this one and keeps the digest, or this sees the claim.
    #[must_use = "a look-up beside a claim may tell of what is about to go"]
    pub fn try_vouch(&self, repository: &Repository, digest: &Digest) -> bool {
        self.touch(repository, digest);
        !self.held.is_claimed(digest)
    }

    /// To be called before a client is told that `digest` is in `repository`: what is looked up afterwards stays for one grace at
    /// least. Waits while the digest is claimed.
    pub async fn vouch(&self, repository: &Repository, digest: &Digest) {
        if !self.try_vouch(repository, digest) {
            drop(self.hold(digest).await);
        }
    }

    /// Whether `digest` was touched in `repository` since the rotation before the last one. Answers `true` for everything while more
    /// was touched than can be remembered, and before the first rotation.
    pub fn touched(&self, repository: &Repository, digest: &Digest) -> bool {
        self.touched.contains(repository, digest)
    }

    /// Forgets what was touched before the last rotation. For the collector, once in each period of grace and never earlier.
    pub fn rotate(&self) {
        self.touched.rotate();
    }
}

#[cfg(test)]
mod tests;
