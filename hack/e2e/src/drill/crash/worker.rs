//! One client of the crash drill: does what its seed says until the server is gone, and notes every answer.
//!
//! Blobs, tags and manifests that it deletes are its own; shared ones are only pushed and moved, so that the journal can say
//! what has to be true without knowing in which order two clients were served.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Ground, REPOSITORIES, item};
use crate::drill::content::{Content, small_size};
use crate::drill::journal::{Item, Kind, State};
use crate::drill::session::{Manner, Session};

/// Contents that several clients push at once.
const SHARED: u64 = 48;
/// Own tags in each repository: few, so that they move.
const OWN_TAGS: u64 = 4;
/// Tags that all clients move.
const SHARED_TAGS: u64 = 3;
/// Sizes of blobs that span pieces and writes: 256 KiB to 6 MiB.
const LARGE: std::ops::Range<usize> = 256 * 1024..6 * 1024 * 1024;

/// A client and what belongs to it.
pub(super) struct Worker {
    number: u64,
    rng: fastrand::Rng,
    ground: Arc<Ground>,
    /// Own blobs that no manifest refers to.
    loose: Vec<Item>,
    /// Own manifests.
    manifests: Vec<Item>,
    /// Own tags with their repositories.
    tags: BTreeSet<(&'static str, String)>,
    surprises: Vec<String>,
    /// Whether the present step began when the disk had no power.
    begun_without_power: bool,
}

impl Worker {
    pub(super) fn new(number: u64, seed: u64, ground: Arc<Ground>) -> Self {
        Self {
            number,
            rng: fastrand::Rng::with_seed(seed),
            ground,
            loose: Vec::new(),
            manifests: Vec::new(),
            tags: BTreeSet::new(),
            surprises: Vec::new(),
            begun_without_power: false,
        }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Works until no answer comes. The second value: answers that should not have been.
    pub(super) async fn work(mut self, address: SocketAddr) -> (Self, Vec<String>) {
        if let Ok(mut session) = Session::connect(address).await {
            while let Ok(()) = self.step(&mut session).await {}
        }
        let surprises = std::mem::take(&mut self.surprises);
        (self, surprises)
    }

    async fn step(&mut self, session: &mut Session) -> io::Result<()> {
        self.begun_without_power = self.ground.power.is_off();
        let repository = REPOSITORIES[self.rng.usize(..REPOSITORIES.len())];
        match self.rng.u8(..100) {
            0..34 => {
                let size = small_size(&mut self.rng);
                self.push_own(session, repository, size).await
            }
            34..42 => {
                let size = self.rng.usize(LARGE);
                self.push_own(session, repository, size).await
            }
            42..50 => self.push_shared(session, repository).await,
            50..56 => self.mount_shared(session, repository).await,
            56..70 => self.move_own_tag(session, repository).await,
            70..78 => self.move_shared_tag(session, repository).await,
            78..84 => self.refer(session, repository).await,
            84..90 => self.delete_blob(session).await,
            90..95 => self.delete_tag(session).await,
            _ => self.delete_manifest(session).await,
        }
    }

    async fn push_own(&mut self, session: &mut Session, repository: &str, size: usize) -> io::Result<()> {
        let mut content = Content::random(self.rng.u64(..), size);
        if self.rng.u8(..) < 32 {
            content = content.by_sha512();
        }
        // Contents of no or one byte are not its own: everybody makes the same ones.
        if size > 8 {
            self.loose.push(item(Kind::Blob, repository, &content));
        }
        self.push(session, repository, &content).await
    }

    async fn push_shared(&mut self, session: &mut Session, repository: &str) -> io::Result<()> {
        let number = self.rng.u64(..SHARED);
        self.push(session, repository, &shared(number)).await
    }

    async fn push(&mut self, session: &mut Session, repository: &str, content: &Content) -> io::Result<()> {
        let manner = Manner::ALL[self.rng.usize(..Manner::ALL.len())];
        let item = item(Kind::Blob, repository, content);
        self.pushing(&item);
        let status = session.push(repository, content, manner).await?;
        if self.expect(status, status == 201, || format!("{manner:?} of {} answered {status}", item.digest)) {
            self.ground.journal.pushed(&item);
        }
        Ok(())
    }

    fn pushing(&mut self, item: &Item) {
        // What may be there already needs no disk to be there again.
        let state = self.ground.journal.state(item);
        self.begun_without_power &= matches!(state, None | Some(State::Absent));
        self.ground.journal.pushing(item);
    }

    async fn mount_shared(&mut self, session: &mut Session, repository: &str) -> io::Result<()> {
        let content = shared(self.rng.u64(..SHARED));
        let [one, other] = REPOSITORIES;
        let from = if repository == one { other } else { one };
        let source = self.ground.journal.state(&item(Kind::Blob, from, &content));
        let target = item(Kind::Blob, repository, &content);
        self.pushing(&target);
        let status = session.mount(repository, &content.digest, from).await?;
        // Allowed by the specification, but not needed when the source is there and the disk tells. An open upload promises nothing.
        if status == 202 && (source != Some(State::Present) || !self.ground.power.is_on()) {
            return Ok(());
        }
        let is_promise = self.expect(status, status == 201, || {
            format!("mount of {} from {from} ({source:?}) answered {status}", content.digest)
        });
        if is_promise {
            self.ground.journal.pushed(&target);
        }
        Ok(())
    }

    /// A manifest of its own under a tag of its own.
    async fn move_own_tag(&mut self, session: &mut Session, repository: &'static str) -> io::Result<()> {
        let tag = format!("own-{}-{}", self.number, self.rng.u64(..OWN_TAGS));
        // With a blob that nothing else wants, and that a collector must leave alone from the moment of its push.
        let layer = Content::random(self.rng.u64(..), self.rng.usize(9..100_000));
        self.push(session, repository, &layer).await?;
        let manifest = self.make_manifest(Some(&layer), false);
        let blobs = vec![item(Kind::Blob, repository, &layer)];
        self.ground.journal.names(&item(Kind::Manifest, repository, &manifest), blobs);
        self.manifests.push(item(Kind::Manifest, repository, &manifest));
        self.tags.insert((repository, tag.clone()));
        self.put(session, repository, Some(&tag), &manifest).await
    }

    async fn move_shared_tag(&mut self, session: &mut Session, repository: &str) -> io::Result<()> {
        let tag = format!("shared-{}", self.rng.u64(..SHARED_TAGS));
        let manifest = self.make_manifest(None, false);
        self.put(session, repository, Some(&tag), &manifest).await
    }

    /// A manifest with a subject, by its digest.
    async fn refer(&mut self, session: &mut Session, repository: &str) -> io::Result<()> {
        let manifest = self.make_manifest(None, true);
        let item = item(Kind::Manifest, repository, &manifest);
        self.ground.journal.refers(&item, &self.ground.subject.digest.to_string());
        self.manifests.push(item);
        self.put(session, repository, None, &manifest).await
    }

    async fn put(
        &mut self,
        session: &mut Session,
        repository: &str,
        tag: Option<&str>,
        manifest: &Content,
    ) -> io::Result<()> {
        let digest = manifest.digest.to_string();
        let item = item(Kind::Manifest, repository, manifest);
        self.ground.journal.pushing(&item);
        let writing = tag.map(|tag| self.ground.journal.writing_tag(repository, tag, Some(digest.clone())));
        let (status, words) = session.put_manifest(repository, tag.unwrap_or(&digest), manifest).await?;
        if self
            .expect(status, status == 201, || format!("PUT of manifest {digest} answered {status}: {words}"))
        {
            self.ground.journal.pushed(&item);
            if let Some(writing) = writing {
                self.ground.journal.tag_written(&writing);
            }
        }
        Ok(())
    }

    async fn delete_blob(&mut self, session: &mut Session) -> io::Result<()> {
        let Some(item) = take(&mut self.rng, &mut self.loose) else { return Ok(()) };
        let before = self.ground.journal.state(&item);
        self.ground.journal.deleting(&item);
        let status = session.delete_blob(&item.repository, &item.digest).await?;
        self.deleted(&item, before, status);
        Ok(())
    }

    async fn delete_tag(&mut self, session: &mut Session) -> io::Result<()> {
        let Some((repository, tag)) = self.rng.choice(self.tags.iter().cloned()) else { return Ok(()) };
        let before = self.ground.journal.tag_values(repository, &tag);
        let writing = self.ground.journal.writing_tag(repository, &tag, None);
        let status = session.delete_manifest(repository, &tag).await?;
        let fits = status == 202 || (status == 404 && before.contains(&None));
        if self
            .expect(status, fits, || format!("DELETE of {repository}:{tag} ({before:?}) answered {status}"))
        {
            self.ground.journal.tag_written(&writing);
        }
        Ok(())
    }

    /// Deletes one of its manifests, and with it all tags that point there.
    async fn delete_manifest(&mut self, session: &mut Session) -> io::Result<()> {
        let Some(item) = take(&mut self.rng, &mut self.manifests) else { return Ok(()) };
        let ground = Arc::clone(&self.ground);
        let journal = &ground.journal;
        let before = journal.state(&item);
        journal.deleting(&item);
        let own = self.tags.iter().filter(|(repository, _)| *repository == item.repository);
        let writings: Vec<_> = own
            .filter(|(repository, tag)| {
                journal.tag_values(repository, tag).contains(&Some(item.digest.clone()))
            })
            .map(|(repository, tag)| journal.writing_tag(repository, tag, None))
            .collect();
        let status = session.delete_manifest(&item.repository, &item.digest).await?;
        if self.deleted(&item, before, status) {
            writings.iter().for_each(|writing| journal.tag_written(writing));
        }
        Ok(())
    }

    fn deleted(&mut self, item: &Item, before: Option<State>, status: u16) -> bool {
        let fits = status == 202 || (status == 404 && before != Some(State::Present));
        let is_deleted =
            self.expect(status, fits, || format!("DELETE of {item:?} ({before:?}) answered {status}"));
        if is_deleted {
            self.ground.journal.deleted(item);
        }
        is_deleted
    }

    fn make_manifest(&self, own: Option<&Content>, refers: bool) -> Content {
        let Ground { config, layer, subject, number, .. } = self.ground.as_ref();
        let number = number.fetch_add(1, Ordering::Relaxed);
        let subject = refers.then_some((&subject.digest, subject.bytes.len()));
        Content::manifest(number, config, own.unwrap_or(layer), subject)
    }

    /// Whether the answer is a promise.
    fn expect(&mut self, status: u16, fits: bool, surprise: impl Fn() -> String) -> bool {
        let is_on = self.ground.power.is_on();
        // Without its disk the server may refuse what it would else have done.
        if !fits && (is_on || status < 400) {
            self.surprises.push(surprise());
        }
        if fits && status < 300 && self.begun_without_power {
            self.surprises.push(format!("without a disk: {}", surprise()));
        }
        fits && is_on
    }
}

fn shared(number: u64) -> Content {
    // Two in three are small.
    let size = if number.is_multiple_of(3) { 700_000 } else { 9000 };
    Content::random(1_000_000 + number, size)
}

fn take<T>(rng: &mut fastrand::Rng, list: &mut Vec<T>) -> Option<T> {
    (!list.is_empty()).then(|| list.swap_remove(rng.usize(..list.len())))
}
