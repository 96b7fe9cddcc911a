//! What clients were told, and so what has to be true.
//!
//! Two kinds of facts. An *item* (a blob or a manifest in a repository) is present, absent, or open: asked for, without an answer.
//! A *tag* has a history of writes on one logical clock, because several clients move it at once: after the fault it may show any write
//! that no acknowledged later one replaced. A write is later when it began after the other's answer had come.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

/// A blob or a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A blob.
    Blob,
    /// A manifest by its digest.
    Manifest,
}

/// Something that is named by its digest in one repository.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Item {
    /// Blob or manifest.
    pub kind: Kind,
    /// The repository.
    pub repository: String,
    /// The digest as text.
    pub digest: String,
}

/// What is known of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It must be there, byte for byte.
    Present,
    /// It must not be there.
    Absent,
    /// There whole, or not at all.
    Open,
    /// There whole, or collected: acknowledged, but nothing that is there refers to it, and the collector runs.
    Loose,
}

/// A tag of a repository.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TagName {
    /// The repository.
    pub repository: String,
    /// The tag.
    pub tag: String,
}

/// One write to a tag, for [`Journal::tag_written`].
#[derive(Debug)]
pub struct Writing {
    name: TagName,
    index: usize,
}

/// A value that a tag may have: a digest, or nothing after a deletion or before the first write.
pub type Value = Option<String>;

#[derive(Clone, Debug)]
struct Write {
    value: Value,
    began: u64,
    acknowledged: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    state: State,
    /// When the clients last asked for a change, in rounds of the drill.
    round: u64,
}

/// The facts of one drill, shared by its clients.
#[derive(Debug, Default)]
pub struct Journal {
    facts: Mutex<Facts>,
}

#[derive(Debug, Default)]
struct Facts {
    items: BTreeMap<Item, Known>,
    tags: BTreeMap<TagName, Vec<Write>>,
    /// Manifest → the blobs that it names.
    parts: BTreeMap<Item, Vec<Item>>,
    /// Whether blobs that nothing refers to may go.
    collecting: bool,
    /// Manifest → the manifest that it refers to as its subject.
    subjects: BTreeMap<Item, String>,
    clock: u64,
    round: u64,
    counts: Counts,
}

/// How much happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Pushes and mounts of blobs that were acknowledged.
    pub blobs: u64,
    /// Manifests that were acknowledged.
    pub manifests: u64,
    /// Writes of tags that were acknowledged, deletions among them.
    pub tags: u64,
    /// Deletions of blobs and manifests that were acknowledged.
    pub deletions: u64,
    /// Requests that were begun and never answered.
    pub unanswered: u64,
}

impl Counts {
    /// All acknowledgements.
    pub fn acknowledged(&self) -> u64 {
        self.blobs + self.manifests + self.tags + self.deletions
    }
}

impl Journal {
    /// A journal of a server that collects; or of one that does not.
    pub fn of_server(collecting: bool) -> Self {
        Self { facts: Mutex::new(Facts { collecting, ..Facts::default() }) }
    }

    /// A manifest names blobs: while it is there, they are.
    pub fn names(&self, manifest: &Item, blobs: Vec<Item>) {
        self.facts().parts.insert(manifest.clone(), blobs);
    }

    /// From now on changes belong to this round.
    pub fn begin_round(&self, round: u64) {
        self.facts().round = round;
    }

    /// Somebody is about to push an item. What was acknowledged before stays so.
    pub fn pushing(&self, item: &Item) {
        let mut facts = self.facts();
        let round = facts.round;
        let known = facts.items.entry(item.clone()).or_insert(Known { state: State::Open, round });
        known.round = round;
        if known.state == State::Absent {
            known.state = State::Open;
        }
        facts.counts.unanswered += 1;
    }

    /// The push was acknowledged.
    pub fn pushed(&self, item: &Item) {
        let mut facts = self.facts();
        match item.kind {
            Kind::Blob => facts.counts.blobs += 1,
            Kind::Manifest => facts.counts.manifests += 1,
        }
        facts.answer(item, State::Present);
    }

    /// Somebody is about to delete an item that nobody else touches.
    pub fn deleting(&self, item: &Item) {
        let mut facts = self.facts();
        let round = facts.round;
        facts.items.insert(item.clone(), Known { state: State::Open, round });
        facts.counts.unanswered += 1;
    }

    /// The deletion was acknowledged.
    pub fn deleted(&self, item: &Item) {
        let mut facts = self.facts();
        facts.counts.deletions += 1;
        facts.answer(item, State::Absent);
    }

    /// A manifest refers to another as its subject.
    pub fn refers(&self, manifest: &Item, subject: &str) {
        self.facts().subjects.insert(manifest.clone(), subject.to_owned());
    }

    /// Somebody is about to write a tag, or to delete it.
    pub fn writing_tag(&self, repository: &str, tag: &str, value: Value) -> Writing {
        let mut facts = self.facts();
        facts.clock += 1;
        facts.counts.unanswered += 1;
        let name = TagName { repository: repository.to_owned(), tag: tag.to_owned() };
        let write = Write { value, began: facts.clock, acknowledged: None };
        let history = facts.tags.entry(name.clone()).or_insert_with(|| vec![Write::settled(None)]);
        history.push(write);
        let index = history.len() - 1;
        Writing { name, index }
    }

    /// The write was acknowledged.
    pub fn tag_written(&self, writing: &Writing) {
        let mut facts = self.facts();
        facts.clock += 1;
        facts.counts.tags += 1;
        facts.counts.unanswered -= 1;
        let clock = facts.clock;
        let history = facts.tags.get_mut(&writing.name);
        if let Some(write) = history.and_then(|history| history.get_mut(writing.index)) {
            write.acknowledged = Some(clock);
        }
    }

    /// What was asked for in the last `rounds` rounds, and at most `more` older items from all that there are.
    pub fn items(&self, rounds: u64, more: usize, rng: &mut fastrand::Rng) -> Vec<(Item, State)> {
        let facts = self.facts();
        let since = (facts.round + 1).saturating_sub(rounds);
        let (mut recent, mut older) = (Vec::new(), Vec::new());
        let wanted = facts.wanted();
        for (item, known) in &facts.items {
            let list = if known.round >= since { &mut recent } else { &mut older };
            let may_go = facts.collecting
                && item.kind == Kind::Blob
                && known.state == State::Present
                && !wanted.contains(item);
            list.push((item.clone(), if may_go { State::Loose } else { known.state }));
        }
        rng.shuffle(&mut older);
        recent.extend(older.into_iter().take(more));
        recent
    }

    /// What is known of one item. A blob may be gone in spite of its push when the server collects.
    pub fn state(&self, item: &Item) -> Option<State> {
        let facts = self.facts();
        let state = facts.items.get(item).map(|known| known.state);
        match state {
            Some(State::Present) if facts.collecting && item.kind == Kind::Blob => Some(State::Loose),
            _ => state,
        }
    }

    /// Every tag with the values that it may have now.
    pub fn tags(&self) -> Vec<(TagName, BTreeSet<Value>)> {
        self.facts().tags.iter().map(|(name, history)| (name.clone(), candidates(history))).collect()
    }

    /// The values that one tag may have now; nothing alone when nobody ever wrote it.
    pub fn tag_values(&self, repository: &str, tag: &str) -> BTreeSet<Value> {
        let name = TagName { repository: repository.to_owned(), tag: tag.to_owned() };
        let facts = self.facts();
        facts.tags.get(&name).map_or_else(|| BTreeSet::from([None]), |history| candidates(history))
    }

    /// Manifests with a subject in a repository: manifest and subject.
    pub fn subjects(&self, repository: &str) -> Vec<(Item, String)> {
        let facts = self.facts();
        let own = facts.subjects.iter().filter(|(item, _)| item.repository == repository);
        own.map(|(item, subject)| (item.clone(), subject.clone())).collect()
    }

    /// An open item was looked at; what was seen must stay so.
    pub fn settle(&self, item: &Item, state: State) {
        if let Some(known) = self.facts().items.get_mut(item) {
            known.state = state;
        }
    }

    /// A tag was looked at while nobody wrote it; what was seen must stay so.
    pub fn settle_tag(&self, name: &TagName, value: Value) {
        self.facts().tags.insert(name.clone(), vec![Write::settled(value)]);
    }

    /// How much happened so far.
    pub fn counts(&self) -> Counts {
        self.facts().counts
    }

    fn facts(&self) -> std::sync::MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Facts {
    /// Blobs of manifests that are surely there.
    fn wanted(&self) -> BTreeSet<&Item> {
        let is_present =
            |item: &Item| self.items.get(item).is_some_and(|known| known.state == State::Present);
        self.parts.iter().filter(|(manifest, _)| is_present(manifest)).flat_map(|(_, blobs)| blobs).collect()
    }

    fn answer(&mut self, item: &Item, state: State) {
        self.counts.unanswered -= 1;
        let round = self.round;
        self.items.insert(item.clone(), Known { state, round });
    }
}

impl Write {
    /// A value from before everything else.
    fn settled(value: Value) -> Self {
        Self { value, began: 0, acknowledged: Some(0) }
    }
}

/// Values of writes that no acknowledged write surely replaced.
fn candidates(history: &[Write]) -> BTreeSet<Value> {
    let last_began = |of: &Write| {
        let end = of.acknowledged?;
        let later = history.iter().filter(|write| write.acknowledged.is_some() && write.began > end);
        later.map(|write| write.began).max()
    };
    history.iter().filter(|write| last_began(write).is_none()).map(|write| write.value.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(journal: &Journal) -> Vec<Value> {
        journal.tags().remove(0).1.into_iter().collect()
    }

    fn value(text: &str) -> Value {
        Some(text.to_owned())
    }

    #[test]
    fn a_tag_shows_its_last_acknowledged_write_or_an_unanswered_one() {
        let journal = Journal::default();
        let first = journal.writing_tag("r", "t", value("a"));
        assert_eq!(values(&journal), [None, value("a")]);
        journal.tag_written(&first);
        assert_eq!(values(&journal), [value("a")]);
        journal.writing_tag("r", "t", value("b"));
        assert_eq!(values(&journal), [value("a"), value("b")]);
        // The unanswered write may take effect even after one that was acknowledged later.
        let third = journal.writing_tag("r", "t", None);
        journal.tag_written(&third);
        assert_eq!(values(&journal), [None, value("b")]);
    }

    #[test]
    fn of_two_writes_at_once_either_may_be_last() {
        let journal = Journal::default();
        let (one, other) =
            (journal.writing_tag("r", "t", value("a")), journal.writing_tag("r", "t", value("b")));
        journal.tag_written(&one);
        journal.tag_written(&other);
        assert_eq!(values(&journal), [value("a"), value("b")]);
        let name = journal.tags().remove(0).0;
        journal.settle_tag(&name, value("a"));
        assert_eq!(values(&journal), [value("a")]);
    }

    #[test]
    fn an_acknowledged_item_stays_so_while_it_is_pushed_again() {
        let journal = Journal::default();
        let item = Item { kind: Kind::Blob, repository: "r".into(), digest: "d".into() };
        journal.pushing(&item);
        assert_eq!(journal.state(&item), Some(State::Open));
        journal.pushed(&item);
        journal.pushing(&item);
        assert_eq!(journal.state(&item), Some(State::Present));
        journal.deleting(&item);
        assert_eq!(journal.state(&item), Some(State::Open));
        journal.deleted(&item);
        journal.pushing(&item);
        assert_eq!(journal.state(&item), Some(State::Open));
        assert_eq!(journal.counts().unanswered, 2);
    }

    #[test]
    fn a_collector_may_take_what_no_manifest_names() {
        let journal = Journal::of_server(true);
        let item = |kind, digest: &str| Item { kind, repository: "r".into(), digest: digest.into() };
        let (blob, manifest) = (item(Kind::Blob, "b"), item(Kind::Manifest, "m"));
        let state = || journal.items(1, 9, &mut fastrand::Rng::with_seed(1))[0].1;
        for part in [&blob, &manifest] {
            journal.pushing(part);
            journal.pushed(part);
        }
        assert_eq!(state(), State::Loose);
        journal.names(&manifest, vec![blob]);
        assert_eq!(state(), State::Present);
        journal.deleting(&manifest);
        assert_eq!(state(), State::Loose);
    }

    #[test]
    fn recent_items_come_first_and_older_ones_are_drawn() {
        let journal = Journal::default();
        for round in 0..10 {
            journal.begin_round(round);
            journal.pushing(&Item { kind: Kind::Blob, repository: "r".into(), digest: round.to_string() });
        }
        let items = journal.items(1, 3, &mut fastrand::Rng::with_seed(1));
        assert_eq!((items.len(), items[0].0.digest.as_str()), (4, "9"));
        assert_eq!(journal.items(100, 0, &mut fastrand::Rng::with_seed(1)).len(), 10);
    }
}
