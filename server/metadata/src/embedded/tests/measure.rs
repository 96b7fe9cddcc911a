//! Rates and waits, to be read by hand: `cargo test -p shoal-metadata --release -- --ignored --nocapture --test-threads=1 measure`.

use std::time::{Duration, Instant};

use super::*;
use crate::clock;

const WRITERS: usize = 32;

/// On a disk, where /tmp may be memory.
fn on_disk() -> (Embedded, TempDir) {
    let directory = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    (Embedded::open(directory.path()).unwrap(), directory)
}

/// Runs `work` for each writer and each of its numbers; prints how many per second and how long they took.
async fn run<F, Fut>(what: &str, each: usize, work: F)
where
    F: Fn(usize, usize) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send,
{
    let start = Instant::now();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let work = work.clone();
            tokio::spawn(async move {
                let mut waits = Vec::with_capacity(each);
                for index in 0..each {
                    let start = Instant::now();
                    work(writer, index).await;
                    waits.push(start.elapsed());
                }
                waits
            })
        })
        .collect();
    let mut waits = Vec::new();
    for writer in writers {
        waits.extend(writer.await.unwrap());
    }
    let rate = waits.len() as f64 / start.elapsed().as_secs_f64();
    waits.sort();
    let at = |part: f64| waits[((waits.len() - 1) as f64 * part) as usize];
    println!(
        "{what}: {rate:.0}/s by {WRITERS}; p50 {:?} p99 {:?} p99.9 {:?} max {:?}",
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn measure_link_blob() {
    let (catalog, directory) = on_disk();
    let shared = catalog.clone();
    run("link_blob", 4000, move |writer, index| {
        let catalog = shared.clone();
        async move {
            let digest = Digest::sha256(format!("{writer}/{index}").as_bytes());
            catalog.link_blob(&name(&format!("w{}", writer % 8)), &digest, 4096, Vec::new()).await.unwrap();
        }
    })
    .await;
    let log = std::fs::metadata(directory.path().join("metadata.db-wal")).unwrap().len();
    println!("the log has {} MiB", log >> 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn measure_put_manifest_and_reads() {
    let (catalog, _directory) = on_disk();
    let bytes = Bytes::from(vec![b'x'; 2000]);
    let shared = catalog.clone();
    run("put_manifest", 500, move |writer, index| {
        let (catalog, bytes) = (shared.clone(), bytes.clone());
        async move {
            let content = format!("{writer}/{index}");
            let put = PutManifest { bytes, ..manifest(&format!("w{writer}"), &content, &["latest"]) };
            assert!(matches!(catalog.put_manifest(put).await, Ok(PutOutcome::Stored { .. })));
        }
    })
    .await;
    let shared = catalog.clone();
    run("manifest by tag", 2000, move |writer, _| {
        let catalog = shared.clone();
        async move {
            catalog
                .manifest(&name(&format!("w{writer}")), &Reference::Tag(tag("latest")))
                .await
                .unwrap()
                .unwrap();
        }
    })
    .await;
    let (repository, latest) = (name("w0"), Reference::Tag(tag("latest")));
    let start = Instant::now();
    for _ in 0..1_000_000 {
        std::hint::black_box(catalog.manifest_cached(&repository, &latest)).unwrap();
    }
    println!("manifest_cached by tag: {:?} each", start.elapsed() / 1_000_000);
    let shared = catalog.clone();
    run("blob_in, absent", 2000, move |writer, index| {
        let catalog = shared.clone();
        async move {
            let digest = Digest::sha256(format!("{writer}/{index}").as_bytes());
            assert_eq!(catalog.blob_in(&name("w0"), &digest).await, Ok(None));
        }
    })
    .await;
}

/// A million links, of which one in a thousand is free, walked while somebody writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn measure_the_walk_of_a_million_links() {
    const LINKS: usize = 1_000_000;
    let (catalog, directory) = on_disk();
    put(&catalog, 0).await;
    fill(&catalog, LINKS).await;
    let file = std::fs::metadata(directory.path().join(DATABASE)).unwrap().len();
    println!("{LINKS} links take {} MiB", file >> 20);
    let (mut steps, mut found, mut longest, mut after) = (0, 0, Duration::ZERO, None);
    let start = Instant::now();
    loop {
        let step = Instant::now();
        let walk = catalog.unreferenced_links(after, clock::now() + 1000, 1000).await.unwrap();
        longest = longest.max(step.elapsed());
        steps += 1;
        found += walk.items.len();
        after = walk.next;
        if after.is_none() {
            break;
        }
    }
    println!("{steps} steps in {:?}, the longest {longest:?}; {found} are free", start.elapsed());
    let start = Instant::now();
    drop(catalog);
    let catalog = Embedded::open(directory.path()).unwrap();
    println!("closed and opened in {:?}", start.elapsed());
    let start = Instant::now();
    catalog.backup(&directory.path().join("copy.db")).await.unwrap();
    println!("backed up in {:?}", start.elapsed());
}

async fn fill(catalog: &Embedded, links: usize) {
    for first in (0..links).step_by(10_000) {
        let work = move |transaction: &Transaction<'_>| {
            for index in first..first + 10_000 {
                let digest = Digest::sha256(&index.to_le_bytes());
                links::link(transaction, &name(&format!("r{}", index % 100)), &digest, 1, &[])?;
                if index % 1000 != 0 {
                    transaction.execute(
                        "INSERT INTO refs (manifest, digest, kind, repository)
                         VALUES (1, ?1, 0, (SELECT id FROM repositories WHERE name = ?2))",
                        rusqlite::params![rows::DigestColumn(&digest), format!("r{}", index % 100)],
                    )?;
                }
            }
            Ok(())
        };
        catalog.write(0, work).await.unwrap();
    }
}
