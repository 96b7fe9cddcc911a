//! However an upload is cut into requests and writes, the same blob comes out.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Turn {
    Write(usize),
    Suspend,
    Restart,
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let turn = prop_oneof![
        4 => (0_usize..3 * PIECE).prop_map(Turn::Write),
        1 => Just(Turn::Suspend),
        1 => Just(Turn::Restart),
    ];
    proptest::collection::vec(turn, 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn how_an_upload_is_cut_does_not_matter(turns in turns(), seed in any::<u64>()) {
        let (dir, mut store) = temporary(CACHE);
        let mut id = store.create_upload("a").unwrap();
        let mut upload = store.open_upload(&id).unwrap();
        let mut sent = Vec::new();
        for turn in turns {
            match turn {
                Turn::Write(len) => {
                    let part = content(seed ^ sent.len() as u64, len);
                    upload.write(&part).unwrap();
                    sent.extend(part);
                }
                Turn::Suspend => {
                    upload.suspend();
                    upload = store.open_upload(&id).unwrap();
                }
                Turn::Restart => {
                    drop((upload, store));
                    store = open(dir.path(), CACHE);
                    // Before its first byte an upload is in memory only.
                    if sent.is_empty() {
                        id = store.create_upload("a").unwrap();
                    }
                    upload = store.open_upload(&id).unwrap();
                }
            }
            prop_assert_eq!(upload.size(), sent.len() as u64);
        }
        let made = upload.commit(&Digest::sha256(&sent)).unwrap();
        prop_assert_eq!(&made, &metainfo(&sent));
        prop_assert_eq!(read(&store.blob(made.digest()).unwrap()), sent);
    }
}
