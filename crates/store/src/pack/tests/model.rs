//! Any sequence of words, restarts, compactions and cuts, beside a model that is a set.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const CONTENTS: u32 = 10;

#[derive(Clone, Debug)]
enum Turn {
    Put(u32),
    Remove(u32),
    Compact,
    Restart,
    /// Cuts the last segment to this part of what was written since the model last knew that it has to be kept.
    Cut(prop::sample::Index),
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let turn = prop_oneof![
        6 => (0..CONTENTS).prop_map(Turn::Put),
        4 => (0..CONTENTS).prop_map(Turn::Remove),
        1 => Just(Turn::Compact),
        1 => Just(Turn::Restart),
        2 => any::<prop::sample::Index>().prop_map(Turn::Cut),
    ];
    proptest::collection::vec(turn, 0..60)
}

fn bytes_of(number: u32) -> Vec<u8> {
    content(number, number as usize * 173)
}

/// What is there, and what was there at each earlier length of the last segment.
#[derive(Default)]
struct Model {
    there: BTreeSet<u32>,
    /// Length of the last segment after each turn since it was made, and what had to be there then.
    past: Vec<(PathBuf, u64, BTreeSet<u32>)>,
}

impl Model {
    fn note(&mut self, root: &Path) {
        let Some(path) = segments(root).pop() else { return };
        let len = fs::metadata(&path).unwrap().len();
        // Before this segment was made nothing of it can be missing.
        self.past.retain(|(past, ..)| *past == path);
        self.past.push((path, len, self.there.clone()));
    }

    /// A compaction has unlinked segments because of what is in the last one by now: no less of that is found by any crash.
    fn settle(&mut self, root: &Path) {
        self.past.clear();
        self.note(root);
    }

    /// Cuts the last segment as a crash would that came while its end was being written.
    fn cut(&mut self, at: prop::sample::Index) {
        let Some((path, ..)) = self.past.last().cloned() else { return };
        let (low, high) = (self.past[0].1, fs::metadata(&path).unwrap().len());
        let len = low + at.index((high - low + 1) as usize) as u64;
        fs::File::options().write(true).open(&path).unwrap().set_len(len).unwrap();
        while self.past.last().is_some_and(|(_, past, _)| *past > len) {
            self.past.pop();
        }
        self.there = self.past.last().map(|(.., there)| there.clone()).unwrap_or_default();
    }
}

fn assert_same(store: &Store, model: &Model) {
    for number in 0..CONTENTS {
        assert_eq!(is_whole(store, &bytes_of(number)), model.there.contains(&number), "{number}");
    }
    assert_books(store);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_pack_is_a_set(turns in turns()) {
        let (dir, mut store) = temporary();
        let mut model = Model::default();
        for turn in turns {
            match turn {
                Turn::Put(number) => {
                    put(&store, &bytes_of(number));
                    model.there.insert(number);
                    model.note(dir.path());
                }
                Turn::Remove(number) => {
                    let was_there = store.remove(&Digest::sha256(&bytes_of(number))).unwrap();
                    prop_assert_eq!(was_there, model.there.remove(&number));
                    model.note(dir.path());
                }
                Turn::Compact => {
                    compact(&store);
                    model.settle(dir.path());
                }
                Turn::Restart => {
                    drop(store);
                    store = open(dir.path()).0;
                }
                Turn::Cut(at) => {
                    drop(store);
                    model.cut(at);
                    store = open(dir.path()).0;
                    assert_same(&store, &model);
                }
            }
        }
        assert_same(&store, &model);
        drop(store);
        let (store, recovery) = open(dir.path());
        prop_assert_eq!((recovery.damaged, recovery.blobs), (0, model.there.len()));
        assert_same(&store, &model);
    }
}
