//! The contract suite over SQLite, and what survives a lock, a copy and a kill.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use tempfile::TempDir;

use super::*;
use crate::contract::{self, manifest, name, tag};

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn measure_put_manifest_per_second_with_32_writers() {
    const WRITERS: usize = 32;
    const EACH: usize = 300;
    let directory = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap(); // a disk, where /tmp may be memory
    let catalog = Embedded::open(directory.path()).unwrap();
    let bytes = Bytes::from(vec![b'x'; 2000]);
    let start = Instant::now();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (catalog, bytes) = (catalog.clone(), bytes.clone());
            tokio::spawn(async move {
                for index in 0..EACH {
                    let content = format!("{writer}/{index}");
                    let put = PutManifest {
                        bytes: bytes.clone(),
                        ..manifest(&format!("w{writer}"), &content, &["latest"])
                    };
                    let outcome = catalog.put_manifest(put).await;
                    assert!(matches!(outcome, Ok(PutOutcome::Stored { .. })), "{outcome:?}");
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let rate = |count: usize, start: Instant| count as f64 / start.elapsed().as_secs_f64();
    println!("put_manifest: {:.0}/s with {WRITERS} writers, each durable", rate(WRITERS * EACH, start));
    let start = Instant::now();
    for _ in 0..20_000 {
        catalog.manifest(&name("w0"), &Reference::Tag(tag("latest"))).await.unwrap().unwrap();
    }
    println!("manifest by tag: {:.0}/s with one reader", rate(20_000, start));
}
