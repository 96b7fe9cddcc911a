//! The contract suite over SQLite, and what survives a lock, a copy and a kill.

mod damage;
mod linear;
mod measure;
mod migration;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::*;
use crate::contract::{self, manifest, name, tag};
use crate::{Message, Outbox as _, OutboxLen, Upkeep as _};

/// Tells the test program to be the process that gets killed, and where to write.
const VICTIM: &str = "SHOAL_METADATA_VICTIM";

fn open() -> (Embedded, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    (Embedded::open(directory.path()).unwrap(), directory)
}

async fn put(catalog: &Embedded, index: usize) {
    let put = manifest("a", &format!("manifest {index}"), &["latest", &format!("v{index}")]);
    let outcome = catalog.put_manifest(put).await;
    assert!(matches!(outcome, Ok(PutOutcome::Stored { .. })), "{outcome:?}");
}

async fn assert_has(catalog: &Embedded, index: usize) {
    let expected = Digest::sha256(format!("manifest {index}").as_bytes());
    let reference = Reference::Tag(tag(&format!("v{index}")));
    let found = catalog.manifest(&name("a"), &reference).await.unwrap();
    assert_eq!(found.map(|found| found.digest), Some(expected), "v{index}");
}

#[tokio::test]
async fn fulfils_the_contract() {
    contract::run(|| async { open() }).await;
}

#[tokio::test]
async fn a_second_process_is_refused_until_the_first_has_closed() {
    let (catalog, directory) = open();
    let error = Embedded::open(directory.path()).err().unwrap();
    assert!(matches!(error, Error::Locked { .. }), "{error}");
    let clone = catalog.clone();
    drop(catalog);
    put(&clone, 1).await;
    drop(clone);
    let catalog = Embedded::open(directory.path()).unwrap();
    assert_has(&catalog, 1).await;
}

#[tokio::test]
async fn files_copied_while_open_hold_every_acknowledged_change() {
    let (catalog, directory) = open();
    for index in 0..50 {
        put(&catalog, index).await;
    }
    let condition = Condition::default();
    assert!(catalog.delete_tag(&name("a"), &tag("v0"), condition, Vec::new()).await.is_ok());
    let copy = tempfile::tempdir().unwrap();
    for file in ["metadata.db", "metadata.db-wal"] {
        std::fs::copy(directory.path().join(file), copy.path().join(file)).unwrap();
    }
    // The log may end in the middle of a change that was never acknowledged.
    let log = copy.path().join("metadata.db-wal");
    File::options().append(true).open(log).unwrap().write_all(&[0x5a; 5000]).unwrap();
    let reopened = Embedded::open(copy.path()).unwrap();
    for index in 1..50 {
        assert_has(&reopened, index).await;
    }
    assert_eq!(reopened.resolve(&name("a"), &tag("v0")).await, Ok(None));
}

/// The process that [`a_killed_process_loses_nothing_acknowledged`] kills: says each number after its change was acknowledged.
#[tokio::test]
#[ignore = "started by another test"]
async fn victim() {
    let Some(directory) = std::env::var_os(VICTIM) else { return };
    let catalog = Embedded::open(&PathBuf::from(directory)).unwrap();
    for index in 0.. {
        put(&catalog, index).await;
        println!("acknowledged {index}");
    }
}

#[tokio::test]
async fn a_killed_process_loses_nothing_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    for round in 1..=3 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "embedded::tests::victim", "--ignored", "--nocapture"])
            .env(VICTIM, directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(std::result::Result::ok);
        let mut numbers =
            lines.filter_map(|line| line.split_once("acknowledged ")?.1.parse::<usize>().ok()).fuse();
        let enough = numbers.by_ref().find(|index| *index >= 40 * round).unwrap();
        child.kill().unwrap();
        let last = numbers.last().unwrap_or(enough);
        child.wait().unwrap();
        let catalog = Embedded::open(directory.path()).unwrap();
        for index in 0..=last {
            assert_has(&catalog, index).await;
        }
    }
}

#[tokio::test]
async fn a_backup_holds_what_was_acknowledged_and_does_not_disturb() {
    let (catalog, directory) = open();
    for index in 0..50 {
        put(&catalog, index).await;
    }
    let copy = tempfile::tempdir().unwrap();
    let target = copy.path().join(DATABASE);
    let (backed_up, ()) = tokio::join!(catalog.backup(&target), async {
        for index in 50..80 {
            put(&catalog, index).await;
        }
    });
    backed_up.unwrap();
    let again = catalog.backup(&target).await.unwrap_err();
    assert!(matches!(again, Error::Io { .. }), "what is there is not overwritten: {again}");
    let nowhere = directory.path().join("absent/metadata.db");
    assert!(catalog.backup(&nowhere).await.is_err());
    assert_eq!(std::fs::read_dir(copy.path()).unwrap().count(), 1, "nothing is left beside it");
    let restored = Embedded::open(copy.path()).unwrap();
    for index in 0..50 {
        assert_has(&restored, index).await;
    }
    put(&restored, 100).await;
    for index in 50..80 {
        assert_has(&catalog, index).await;
    }
}

#[tokio::test]
async fn a_backup_that_was_cut_short_is_no_obstacle() {
    let (catalog, _directory) = open();
    put(&catalog, 1).await;
    let copy = tempfile::tempdir().unwrap();
    let target = copy.path().join(DATABASE);
    std::fs::write(copy.path().join("metadata.db.partial"), "half of it").unwrap();
    catalog.backup(&target).await.unwrap();
    assert_has(&Embedded::open(copy.path()).unwrap(), 1).await;
}

#[tokio::test]
async fn pulls_are_written_down_when_the_store_closes() {
    let (catalog, directory) = open();
    put(&catalog, 1).await;
    catalog.pulled(&name("a"), &Reference::Tag(tag("v1")));
    let tags = catalog.walk_tags(&name("a"), None, 10).await.unwrap().items;
    assert!(tags.iter().all(|record| record.pulled_at.is_none()));
    drop(catalog);
    let catalog = Embedded::open(directory.path()).unwrap();
    let tags = catalog.walk_tags(&name("a"), None, 10).await.unwrap().items;
    assert!(tags.iter().any(|record| record.tag == tag("v1") && record.pulled_at.is_some()));
}

#[tokio::test]
async fn a_full_outbox_drops_the_oldest_and_holds_up_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { outbox_len_max: 3, ..Options::default() };
    let catalog = Embedded::open_with(directory.path(), options).unwrap();
    let message = |text: &'static str| vec![Bytes::from_static(text.as_bytes())];
    for text in ["one", "two"] {
        catalog.outbox_append(message(text)).await.unwrap();
    }
    let blob = Digest::sha256(b"blob");
    catalog.link_blob(&name("a"), &blob, 1, [message("three"), message("four")].concat()).await.unwrap();
    assert_eq!(catalog.outbox_len(), OutboxLen { waiting: 3, dropped: 1 });
    // A change that is undone changes neither number.
    catalog.link_blob(&name("a"), &blob, 2, message("no")).await.unwrap_err();
    catalog.outbox_append(message("five")).await.unwrap();
    assert_eq!(catalog.outbox_len(), OutboxLen { waiting: 3, dropped: 2 });
    let texts =
        |messages: Vec<Message>| messages.into_iter().map(|message| message.payload).collect::<Vec<_>>();
    let waiting = texts(catalog.outbox_peek(10, clock::now()).await.unwrap());
    assert_eq!(waiting, ["three", "four", "five"]);
    drop(catalog);
    let catalog = Embedded::open_with(directory.path(), options).unwrap();
    assert_eq!(catalog.outbox_len(), OutboxLen { waiting: 3, dropped: 0 });
    catalog.outbox_append(["1", "2", "3", "4", "5"].map(Bytes::from).to_vec()).await.unwrap();
    assert_eq!(texts(catalog.outbox_peek(10, clock::now()).await.unwrap()), ["3", "4", "5"]);
    assert_eq!(catalog.outbox_len(), OutboxLen { waiting: 3, dropped: 5 });
}
