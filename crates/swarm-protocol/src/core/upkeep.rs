//! What time alone brings about: lost patience, keep-alives, stalls, failure, release of memory.

use shoal_oci::Digest;

use super::Core;
use crate::blob::{Blob, Phase};
use crate::io::{CloseReason, ConnId, FailReason, Output, Time};
use crate::limits::{KEEP_ALIVE_MS, SILENCE_MS};
use crate::message::Message;
use crate::timers::Timer;

/// How often a download is looked at when nothing happens: finer than any wait that depends on it.
const LOOK_MS: u64 = 100;

/// How often in the endgame, where a late piece delays the whole.
const LOOK_LAST_MS: u64 = 20;

/// Idle seeds with peers that still lack pieces stay this many times longer: such a peer may come back when its other sources fail.
const RELEASE_FACTOR: u64 = 10;

impl Core {
    /// Looks at a blob: whether it stalls, fails, or can be released.
    pub(super) fn look_at_blob(&mut self, digest: Digest) {
        let Some(blob) = self.blobs.get(&digest) else { return };
        if blob.is_downloading() {
            self.look_at_download(digest);
        } else if blob.phase == Phase::Ready {
            self.look_at_seed(digest);
        }
    }

    fn look_at_download(&mut self, digest: Digest) {
        let Some(blob) = self.blobs.get_mut(&digest) else { return };
        let at_work = matches!(blob.phase, Phase::Lookup | Phase::Preparing);
        if !at_work && self.now.micros_since(blob.progress) >= self.limits.fail_ms * 1_000 {
            let reason = fail_reason(blob);
            self.fail(digest, reason);
            return;
        }
        for member in blob.members.values_mut() {
            member.holds.retain(|_, until| self.now < *until);
        }
        let declined = blob.declined.len();
        blob.declined.retain(|_, until| self.now < *until);
        self.may_dial |= blob.declined.len() < declined;
        let last = blob.download.as_ref().is_some_and(|download| download.missing().count() == 0);
        self.timers.set(Timer::Blob(digest), self.now.plus_millis(if last { LOOK_LAST_MS } else { LOOK_MS }));
        self.dirty.insert(digest);
        self.may_dial |= self.lacks_neighbours(digest);
        self.dials.prune(self.now);
        self.ask_web(digest);
    }

    fn look_at_seed(&mut self, digest: Digest) {
        let Some(blob) = self.blobs.get(&digest) else { return };
        let needed = blob.members.values().any(|member| !member.pieces.is_full());
        let factor = if needed { RELEASE_FACTOR } else { 1 };
        let release = blob.used.plus_millis(self.limits.release_ms.saturating_mul(factor));
        if release <= self.now {
            self.forget(digest, false);
        } else {
            self.timers.set(Timer::Blob(digest), release.min(self.now.plus_millis(self.limits.release_ms)));
        }
    }

    /// Looks at a connection: whether its peer is slow, silent, or no longer needed.
    pub(super) fn look_at_conn(&mut self, conn: ConnId) {
        let Some(peer) = self.peers.get(&conn) else { return };
        let silent = peer.heard.plus_millis(SILENCE_MS);
        if silent <= self.now {
            self.close_conn(conn, CloseReason::Silent);
            return;
        }
        let idle_ends = if self.is_idle(conn) { self.idle_ends(peer) } else { Time::NEVER };
        if idle_ends <= self.now {
            self.close_conn(conn, CloseReason::Idle);
            return;
        }
        let usual = self.intake.usual_micros();
        if peer.patience_ends(usual) <= self.now {
            self.lose_patience(conn);
        }
        if self.peers.get(&conn).is_some_and(|peer| peer.exchange <= self.now) {
            self.exchange(conn);
        }
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        if peer.keep_alive <= self.now {
            peer.keep_alive = self.now.plus_millis(KEEP_ALIVE_MS);
            self.outputs.push_back(Output::Send { conn, message: Message::KeepAlive });
        }
        let next =
            peer.keep_alive.min(peer.exchange).min(silent).min(idle_ends).min(peer.patience_ends(usual));
        self.timers.set(Timer::Conn(conn), next);
    }
}

fn fail_reason(blob: &Blob) -> FailReason {
    if blob.not_found && blob.members.is_empty() {
        FailReason::NotFound
    } else if blob.members.is_empty() && (blob.download.is_none() || blob.web.is_empty()) {
        FailReason::Unavailable
    } else {
        FailReason::Stalled
    }
}
