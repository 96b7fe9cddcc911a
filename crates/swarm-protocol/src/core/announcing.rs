//! Talking to the tracker.

use shoal_oci::Digest;

use super::Core;
use crate::announce::Announcer;
use crate::blob::{Blob, Phase};
use crate::io::{AnnounceError, AnnounceEvent, AnnounceReply, FailReason, Output, Role};
use crate::limits::{LONELY_NEIGHBOURS, PEERS_WANTED};
use crate::timers::Timer;

impl Core {
    /// Announces a blob if that is due, and sets the time of the next look.
    pub(super) fn announce(&mut self, digest: Digest) {
        let alone = self.blobs.get(&digest).is_some_and(|blob| blob.is_downloading() && is_lonely(blob));
        let Some(announcer) = self.announcers.get_mut(&digest) else { return };
        let event = announcer.take(alone, self.now);
        let (all, due) = (alone || announcer.wants_all(), announcer.due());
        self.timers.set(Timer::Announce(digest), due);
        if let Some(event) = event {
            self.send_announce(digest, event, all);
        }
    }

    /// The time of a blob has come: announces it, and every other one whose time is near.
    pub(super) fn announce_due(&mut self, digest: Digest) {
        let before = self.outputs.len();
        self.announce(digest);
        if self.outputs.len() == before {
            return;
        }
        let now = self.now;
        let along = |(digest, announcer): (&Digest, &mut Announcer)| {
            announcer.take_along(now).map(|event| (*digest, event, announcer.wants_all()))
        };
        let along: Vec<_> = self.announcers.iter_mut().filter_map(along).collect();
        for (digest, event, all) in along {
            self.timers.clear(Timer::Announce(digest));
            self.send_announce(digest, event, all);
        }
    }

    fn send_announce(&mut self, digest: Digest, event: AnnounceEvent, all: bool) {
        let blob = self.blobs.get(&digest);
        self.outputs.push_back(Output::Announce {
            digest,
            event,
            complete: blob.is_none_or(Blob::is_complete),
            need_metainfo: blob.is_some_and(|blob| blob.wanted && blob.metainfo.is_none()),
            known: if all { 0 } else { blob.map_or(0, |blob| blob.version) },
            peers_wanted: blob.map_or(0, |blob| self.peers_wanted(blob)),
        });
    }

    /// How many further peers a blob has use for: none when it is complete, because those who lack pieces find it, and none when there
    /// are neighbours enough.
    fn peers_wanted(&self, blob: &Blob) -> u8 {
        let content = self.giving(blob) >= self.neighbours_wanted(blob);
        if blob.is_downloading() && !content { PEERS_WANTED } else { 0 }
    }

    /// Ends the announces of a blob; tells the tracker so.
    pub(super) fn stop_announcing(&mut self, digest: Digest, tell: bool) {
        self.timers.clear(Timer::Announce(digest));
        if self.announcers.remove(&digest).is_some() && tell {
            let event = AnnounceEvent::Stopped;
            self.outputs.push_back(Output::Announce {
                digest,
                event,
                complete: false,
                need_metainfo: false,
                known: 0,
                peers_wanted: 0,
            });
        }
    }

    /// The tracker answered.
    pub(super) fn announced(&mut self, digest: Digest, reply: AnnounceReply) {
        let lacks = self.blobs.get(&digest).is_some_and(|blob| blob.wanted && blob.metainfo.is_none());
        let told = reply.metainfo.as_ref().is_some_and(|metainfo| *metainfo.digest() == digest);
        if let Some(announcer) = self.announcers.get_mut(&digest) {
            if lacks && !told {
                // Without that the rest of the answer is of no use yet.
                announcer.answered_badly(self.now, &mut self.rng);
            } else {
                announcer.answered(reply.interval_ms, self.now, &mut self.rng);
            }
            self.end_announces_of_owner(digest);
            self.announce(digest);
        }
        let Some(blob) = self.blobs.get_mut(&digest).filter(|blob| blob.is_downloading()) else { return };
        blob.not_found = false;
        blob.version = reply.version;
        let is_new = !reply.grant.is_empty() && reply.grant != blob.grant;
        if is_new {
            blob.grant = reply.grant;
        }
        blob.web.update(reply.web_seeds);
        blob.add_candidates(reply.peers, &mut self.rng);
        if blob.metainfo.is_none() {
            blob.metainfo = reply.metainfo.filter(|metainfo| *metainfo.digest() == digest);
        }
        self.prepare(digest);
        if is_new {
            self.show_grant(digest);
        }
        self.may_dial = true;
    }

    /// An announce brought nothing.
    pub(super) fn announce_failed(&mut self, digest: Digest, error: AnnounceError) {
        let Some(announcer) = self.announcers.get_mut(&digest) else { return };
        let blob = self.blobs.get_mut(&digest).filter(|blob| blob.is_downloading());
        match (error, blob) {
            // What only we have is still worth announcing, at the usual pace.
            (AnnounceError::NotFound, None) => announcer.answered(0, self.now, &mut self.rng),
            (AnnounceError::NotFound, Some(blob)) => {
                blob.not_found = true;
                announcer.failed(self.now, &mut self.rng);
                if blob.phase == Phase::Starting {
                    self.fail(digest, FailReason::NotFound);
                    return;
                }
            }
            (AnnounceError::Unavailable, _) => announcer.failed(self.now, &mut self.rng),
        }
        self.end_announces_of_owner(digest);
        self.announce(digest);
    }

    /// An owner announces only while it downloads: as a holder the tracker knows it from the ring.
    fn end_announces_of_owner(&mut self, digest: Digest) {
        if self.role == Role::Owner && !self.blobs.get(&digest).is_some_and(Blob::is_downloading) {
            self.stop_announcing(digest, false);
        }
    }
}

/// Whether a download has too few neighbours that have anything.
fn is_lonely(blob: &Blob) -> bool {
    blob.members.values().filter(|member| member.pieces.count() > 0).count() < LONELY_NEIGHBOURS
}
