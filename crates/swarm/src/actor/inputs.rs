//! What happened, turned into inputs of the core.

use shoal_oci::Digest;
use shoal_store::{Error, ErrorKind};
use shoal_swarm_protocol::{AnnounceError, AnnounceReply, ConnId, Input, PieceHead, RejectCause, Source};
use shoal_swarm_types::PieceIndex;
use tracing::{debug, error, warn};

use super::Actor;
use crate::blobs::Joining;
use crate::desk::{Wish, Words};
use crate::disk::Job;
use crate::error::{OpenError, ReadError};
use crate::event::{Arrival, Command, Done, Event, Finding};
use crate::view::{Origin, Storage};

impl Actor {
    pub(super) fn on_event(&mut self, event: Event) {
        match event {
            Event::Connected(arrival) => self.on_connected(arrival),
            Event::DialFailed { addr } => self.feed(Input::DialFailed { addr }),
            Event::Arrived { conn, head, landed } => {
                let PieceHead { swarm, index, queue, len } = head;
                self.in_hand = Some(landed);
                self.feed(Input::PieceArrived { conn, swarm, index, queue, len });
                // Whatever the core did not ask for is let go.
                self.in_hand = None;
            }
            Event::Received { conn, message } => {
                let refused = self.refused(conn, &message);
                self.feed(Input::Received { conn, message });
                if let Some(swarm) = refused {
                    self.feed(Input::Ungranted { conn, swarm });
                }
            }
            Event::SendFailed { conn, digest, index, why } => {
                self.feed(Input::SendFailed { conn, digest, index });
                self.on_damage(digest, index, why);
            }
            Event::Drained { conn } => self.feed(Input::Drained { conn }),
            Event::Disconnected { conn } => self.on_disconnected(conn),
            Event::Disk(done) => self.on_done(done),
            Event::Announced(answers) => self.on_announced(answers),
            Event::Web { digest, index, data: Some(data) } => {
                self.feed(Input::WebFetched { digest, index, data });
            }
            Event::Followed { digest, word } => self.on_followed(digest, word),
            Event::Whole { digest, word } => self.on_whole(digest, word),
            Event::Web { digest, index, data: None } => self.feed(Input::WebFailed { digest, index }),
        }
    }

    pub(super) fn on_command(&mut self, command: Command) {
        match command {
            Command::Open { digest, lead, reply } => {
                if let Joining::First = self.blobs.join(digest, reply) {
                    if let Some(lead) = lead {
                        self.wholes.note(digest, lead);
                    }
                    self.disk.submit(Job::Find { digest });
                }
            }
            Command::Heal { metainfo, index, reply } => self.heal(metainfo, index, Some(reply)),
            Command::Status { reply } => {
                // The caller may have stopped waiting.
                let _ = reply.send(self.core.statuses());
            }
            // Ends the loop before it comes here.
            Command::Shutdown { reply } => drop(reply),
        }
    }

    pub(super) fn on_words(&mut self, words: Words) {
        for digest in words.seeds {
            self.feed(Input::Seed { digest });
        }
        self.on_grown(words.grown, words.dropped);
        for (reader, (digest, wish)) in words.wishes {
            self.feed(match wish {
                Wish::Pieces(pieces) => Input::Want { digest, reader, pieces, demand: false },
                Wish::Demand(pieces) => Input::Want { digest, reader, pieces, demand: true },
                Wish::Gone => Input::Unwant { digest, reader },
            });
        }
    }

    fn on_connected(&mut self, arrival: Arrival) {
        let Arrival { stream, peer, addr, outbound, zone } = arrival;
        match self.conns.add(stream) {
            Some(conn) => self.feed(Input::Connected { conn, peer, addr, outbound, zone }),
            None if outbound => self.feed(Input::DialFailed { addr }),
            None => debug!(%addr, "too many peer connections; dropped the newest"),
        }
    }

    fn on_disconnected(&mut self, conn: ConnId) {
        if self.conns.close(conn) {
            self.feed(Input::Disconnected { conn });
        }
    }

    fn on_announced(&mut self, answers: Vec<(Digest, Result<AnnounceReply, AnnounceError>)>) {
        self.announces.done();
        for (digest, answer) in answers {
            self.gauges.announced(answer.as_ref().err().copied());
            match answer {
                Ok(reply) => self.on_reply(digest, reply),
                Err(error) => {
                    self.feed(Input::AnnounceFailed { digest, error });
                    self.note_unknown(digest, error);
                }
            }
        }
    }

    fn on_done(&mut self, done: Done) {
        match done {
            Done::Found { digest, result } => self.on_found(digest, result),
            Done::Prepared { digest, result } => self.on_prepared(digest, result),
            Done::LookedUp { digest, held } => self.on_looked_up(digest, held),
            Done::Stored { digest, index, source, result } => self.on_stored(digest, index, source, result),
            Done::Supplied { digest, content, result } => self.on_supplied(digest, &content, result),
            Done::Committed { digest, result } => self.on_committed(digest, result),
            Done::Demoted { digest, result } => self.on_demoted(digest, result),
        }
    }

    /// The store has been asked about a blob that somebody opens.
    fn on_found(&mut self, digest: Digest, result: shoal_store::Result<Finding>) {
        if !matches!(result, Ok(Finding::Nothing)) {
            self.wholes.forget_lead(&digest);
        }
        match result {
            Ok(Finding::Held(storage @ Storage::Blob(_))) => self.blobs.completed(&digest, storage),
            Ok(Finding::Held(storage)) => {
                self.followers.release(&digest);
                // Readable first, so that the announce does not ask for a metainfo that we have.
                self.blobs.readable(digest, storage.clone());
                self.feed(Input::Open { digest });
                self.ready(digest, storage);
            }
            Ok(Finding::Nothing) => {
                // The core may still seed a copy that has been evicted.
                self.disown(digest);
                self.feed(Input::Open { digest });
                self.wholes.follow_lead(digest);
            }
            Err(error) => self.on_broken(digest, &error),
        }
    }

    fn on_prepared(&mut self, digest: Digest, result: shoal_store::Result<Storage>) {
        match result {
            Ok(storage) => self.ready(digest, storage),
            Err(error) => {
                // Before the core gives up as well, with less to say about the reason.
                self.on_broken(digest, &error);
                self.feed(Input::Absent { digest });
            }
        }
    }

    /// Pieces can be read from, and written to, `storage`.
    pub(super) fn ready(&mut self, digest: Digest, storage: Storage) {
        self.ready_from(digest, storage, Origin::Disk);
    }

    /// The same, of bytes that came from `found`.
    pub(super) fn ready_from(&mut self, digest: Digest, storage: Storage, found: Origin) {
        let (metainfo, have) = (storage.metainfo().clone(), storage.have());
        self.blobs.readable_from(digest, storage, found);
        if !metainfo.is_whole() {
            self.followers.follow(&metainfo);
        }
        self.feed(Input::Prepared { digest, metainfo, have });
    }

    fn on_looked_up(&mut self, digest: Digest, held: Option<Storage>) {
        self.feed(match held {
            Some(storage) => {
                let (metainfo, have) = (storage.metainfo().clone(), storage.have());
                Input::Prepared { digest, metainfo, have }
            }
            None => Input::Absent { digest },
        });
    }

    fn on_stored(
        &mut self,
        digest: Digest,
        index: PieceIndex,
        source: Source,
        result: shoal_store::Result<()>,
    ) {
        let error = match result {
            Ok(()) => {
                // Readers first: the core's answer may be to commit the blob.
                let origin = match source {
                    Source::Web => Origin::Web,
                    Source::Conn(conn) if self.core.is_owner(&digest, conn) => Origin::Owner,
                    Source::Conn(_) => Origin::Peer,
                };
                self.blobs.arrived(&digest, index, origin);
                return self.feed(Input::PieceStored { digest, index });
            }
            Err(error) => error,
        };
        let why = match error.kind() {
            ErrorKind::Corrupt | ErrorKind::Invalid => RejectCause::Corrupt,
            _ => RejectCause::Disk,
        };
        self.feed(Input::PieceRejected { digest, index, source, why });
        // A download that has ended meanwhile (not found) is no fault of the disk.
        if matches!(error.kind(), ErrorKind::NoSpace | ErrorKind::Io) && self.blobs.contains(&digest) {
            // Fetching the same bytes again and again will not mend the disk.
            self.on_broken(digest, &error);
            self.disown(digest);
        }
    }

    fn on_committed(&mut self, digest: Digest, result: shoal_store::Result<Storage>) {
        let error = match result {
            Ok(storage) => {
                self.followers.end(&digest);
                return self.blobs.completed(&digest, storage);
            }
            Err(error) => error,
        };
        let storage = self.disk.handles().get(&digest);
        let missing: Vec<_> =
            storage.iter().flat_map(|storage| storage.have().iter_missing().collect::<Vec<_>>()).collect();
        warn!(%digest, %error, missing = missing.len(), "cannot commit a download");
        if missing.is_empty() {
            self.on_broken(digest, &error);
            return self.disown(digest);
        }
        for index in missing {
            self.lose(digest, index);
        }
    }

    /// The store cannot hold or give this blob.
    pub(super) fn on_broken(&mut self, digest: Digest, error: &Error) {
        error!(%digest, %error, "the store failed");
        let opening = match error.kind() {
            ErrorKind::NoSpace => OpenError::NoSpace,
            _ => OpenError::Internal(error.to_string()),
        };
        let reading = match error.kind() {
            ErrorKind::Corrupt | ErrorKind::DigestMismatch => ReadError::Corrupt,
            _ => ReadError::Io(error.to_string()),
        };
        self.give_up(&digest, &opening, &reading);
    }
}
