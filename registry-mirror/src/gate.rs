//! Who may have pieces from this agent: whoever shows a grant that the cluster's tracker gave it.
//!
//! The keys by which grants are judged come with every answer of a tracker and are kept beside the cache, so that an agent that starts
//! while no tracker answers still knows whom to refuse. A cluster without rights has no keys, and then every member gets everything.
//! While no tracker can be reached, from which new grants would come, those that expired hold for a day more: downloads under way end,
//! and peers that found one another go on.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use shoal_api::Reach;
use shoal_grant::{PublicKey, Verifier};
use shoal_oci::Digest;
use shoal_swarm::GrantCheck;
use shoal_swarm_types::PeerId;

use crate::drain::Drain;

/// After this long the same is asked again: so a drained agent gives nothing any more to those who had joined before.
const RECHECK: Duration = Duration::from_secs(30);

/// The door to this agent's pieces. Clones share it.
#[derive(Clone)]
pub(crate) struct Gate(Arc<Inner>);

struct Inner {
    verifier: Verifier,
    /// Where the keys are kept, a line for each.
    file: PathBuf,
    /// No tracker can be reached.
    lost: AtomicBool,
    drain: Drain,
}

impl Gate {
    /// The gate of an agent of the cluster whose key has the hash `cluster`, with the keys that were kept in `directory`. Blocks.
    pub(crate) fn open(directory: &Path, cluster: [u8; 32], drain: Drain) -> Self {
        let file = directory.join("grant-keys");
        // One that is not there or not readable is one that the next answer of a tracker makes good.
        let kept = std::fs::read_to_string(&file).unwrap_or_default();
        let keys = kept.lines().filter_map(|line| line.parse::<PublicKey>().ok());
        let verifier = Verifier::new(cluster, keys);
        Self(Arc::new(Inner { verifier, file, lost: AtomicBool::new(false), drain }))
    }

    /// What the trackers told, and whether they can be reached.
    pub(crate) fn note(&self, keys: Option<BTreeSet<String>>, reach: &Reach) {
        self.0.lost.store(matches!(reach, Reach::Lost(_)), Ordering::Relaxed);
        let Some(keys) = keys else { return };
        let parsed = keys.iter().filter_map(|key| key.parse::<PublicKey>().ok());
        if !self.0.verifier.learn(parsed) {
            return;
        }
        tracing::info!(keys = keys.len(), "the keys by which peers are let in have changed");
        let inner = Arc::clone(&self.0);
        // Nobody waits for it: what was learnt holds already.
        tokio::task::spawn_blocking(move || inner.keep());
    }
}

impl Inner {
    fn keep(&self) {
        let text: String = self.verifier.keys().iter().map(|key| format!("{key}\n")).collect();
        if let Err(error) = crate::references::write_aside(&self.file, text.as_bytes()) {
            tracing::warn!(%error, file = %self.file.display(), "the keys of grants could not be kept");
        }
    }
}

impl GrantCheck for Gate {
    fn may_have(&self, digest: &Digest, peer: &PeerId, grant: &[u8]) -> Option<Duration> {
        if self.0.drain.is_on() {
            return None;
        }
        let (now, lost) = (SystemTime::now(), self.0.lost.load(Ordering::Relaxed));
        match self.0.verifier.check(digest, peer, grant, false, now) {
            Ok(None) => Some(RECHECK),
            Ok(Some(until)) => until.duration_since(now).ok().map(|left| left.min(RECHECK)),
            // Not for long, because a tracker may be back any moment.
            Err(_) if lost && self.0.verifier.check(digest, peer, grant, true, now).is_ok() => Some(RECHECK),
            Err(why) => {
                tracing::debug!(%peer, %digest, %why, "a grant does not hold");
                None
            }
        }
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gate({:?})", self.0.verifier.keys())
    }
}

#[cfg(test)]
mod tests {
    use shoal_grant::{GRACE, Issuer, LIFETIME, SKEW};

    use super::*;

    const CLUSTER: [u8; 32] = [7; 32];

    fn opened(directory: &Path) -> Gate {
        Gate::open(directory, CLUSTER, Drain::new(shoal_telemetry::Health::new()))
    }

    #[test]
    fn a_drained_agent_lets_nobody_in() {
        let (directory, health) = (tempfile::tempdir().unwrap(), shoal_telemetry::Health::new());
        let drain = Drain::new(health.clone());
        let gate = Gate::open(directory.path(), CLUSTER, drain.clone());
        let (digest, peer) = (Digest::sha256(b"x"), PeerId([1; 20]));
        assert!(drain.set(true) && !drain.set(true) && !health.is_ready());
        assert_eq!(gate.may_have(&digest, &peer, b""), None);
        assert!(drain.set(false) && health.is_ready());
        assert!(gate.may_have(&digest, &peer, b"").is_some());
    }

    fn issuer(directory: &Path) -> (Issuer, BTreeSet<String>) {
        let issuer =
            Issuer::open(&directory.join("grant.pem"), CLUSTER, LIFETIME, SystemTime::now()).unwrap();
        let keys = issuer.keys().iter().map(ToString::to_string).collect();
        (issuer, keys)
    }

    #[tokio::test]
    async fn keys_outlive_the_process_and_without_them_everybody_is_let_in() {
        let directory = tempfile::tempdir().unwrap();
        let (issuer, keys) = issuer(directory.path());
        let (digest, peer) = (Digest::sha256(b"x"), PeerId([1; 20]));
        let gate = opened(directory.path());
        assert_eq!(gate.may_have(&digest, &peer, b""), Some(RECHECK));
        gate.note(None, &Reach::Unknown);
        assert!(gate.may_have(&digest, &peer, b"").is_some(), "nobody has said anything");
        gate.note(Some(keys), &Reach::Reached);
        gate.0.keep();
        for gate in [gate, opened(directory.path())] {
            assert_eq!(gate.may_have(&digest, &peer, b""), None);
            let grant = issuer.grant(&digest, &peer, SystemTime::now());
            assert!(gate.may_have(&digest, &peer, &grant).is_some_and(|time| time <= LIFETIME + SKEW));
            assert_eq!(gate.may_have(&digest, &PeerId([2; 20]), &grant), None);
        }
        let gate = opened(directory.path());
        gate.note(Some(BTreeSet::new()), &Reach::Reached);
        assert!(gate.may_have(&digest, &peer, b"").is_some(), "the cluster keeps no rights any more");
    }

    #[tokio::test]
    async fn without_a_tracker_expired_grants_hold_for_a_day_and_strangers_get_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let (issuer, keys) = issuer(directory.path());
        let (digest, peer) = (Digest::sha256(b"x"), PeerId([1; 20]));
        let gate = opened(directory.path());
        gate.note(Some(keys.clone()), &Reach::Reached);
        let ago = |past: Duration| issuer.grant(&digest, &peer, SystemTime::now() - past);
        let (expired, ancient) = (ago(LIFETIME + SKEW * 2), ago(LIFETIME + SKEW * 2 + GRACE));
        assert_eq!(gate.may_have(&digest, &peer, &expired), None);
        gate.note(Some(keys.clone()), &Reach::Lost("it is gone".to_owned()));
        assert!(gate.may_have(&digest, &peer, &expired).is_some());
        assert_eq!(gate.may_have(&digest, &peer, &ancient), None);
        assert_eq!(gate.may_have(&digest, &peer, b""), None);
        assert_eq!(gate.may_have(&Digest::sha256(b"y"), &peer, &expired), None);
        gate.note(Some(keys), &Reach::Reached);
        assert_eq!(gate.may_have(&digest, &peer, &expired), None, "it could have a new one");
    }
}
