//! kill -9 of a real process, again and again: what it acknowledged is there afterwards, and everything that is there is whole.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use super::*;

const ROOT: &str = "SHOAL_STORE_KILL_ROOT";
const SEED: &str = "SHOAL_STORE_KILL_SEED";
const ROUNDS: u64 = 6;
/// Lines that the parent reads before it kills, at least.
const LINES_MIN: u64 = 5;

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // The prefix tells our lines from the test harness's own.
    writeln!(out, "\n@{line}").and_then(|()| out.flush()).unwrap();
}

/// Not a test: the process that gets killed. It works and says what it has been promised.
#[test]
#[ignore = "started by killed_processes_keep_their_promises"]
fn child() {
    let Some(root) = std::env::var_os(ROOT) else { return };
    let seed: u64 = std::env::var(SEED).unwrap().parse().unwrap();
    let store = open(Path::new(&root), Options::durable());
    for turn in 0_u64.. {
        let bytes = content(seed * 1_000_003 + turn, (turn as usize * 7_919) % (5 * PIECE));
        let digest = Digest::sha256(&bytes);
        match turn % 3 {
            0 => drop(store.put(&digest, &bytes).unwrap()),
            1 => upload(&store, &digest, &bytes),
            _ => download(&store, &bytes),
        }
        say(&format!("blob {digest}"));
    }
}

/// Not a test: as [`child`], for small content, of which many wait at once and some is removed again.
#[test]
#[ignore = "started by killed_processes_keep_their_promises_of_small_content"]
fn small_child() {
    let Some(root) = std::env::var_os(ROOT) else { return };
    let seed: u64 = std::env::var(SEED).unwrap().parse().unwrap();
    let store = open(Path::new(&root), Options::durable());
    let (sender, receiver) = std::sync::mpsc::channel();
    for turn in 0_u64.. {
        let digests = (0..8).map(|number| {
            let bytes = content((seed * 1_000_003 + turn) * 8 + number, (number as usize * 977) % 5000);
            let (digest, sender) = (Digest::sha256(&bytes), sender.clone());
            store.submit(digest, bytes.into(), move |result| sender.send(result.is_ok()).unwrap());
            digest
        });
        let digests: Vec<_> = digests.collect();
        assert!((0..8).all(|_| receiver.recv().unwrap()));
        // The first one is the same empty blob in every turn.
        digests[1..].iter().for_each(|digest| say(&format!("blob {digest}")));
        for digest in &digests[1..4] {
            say(&format!("removing {digest}"));
            assert!(store.remove(digest).unwrap());
            say(&format!("removed {digest}"));
        }
    }
}

fn upload(store: &Store, digest: &Digest, bytes: &[u8]) {
    let id = store.create_upload("team/app").unwrap();
    // Small portions go through the page cache and large ones past it.
    let portion = if bytes.len().is_multiple_of(2) { 30_000 } else { 270_000 };
    for part in bytes.chunks(portion) {
        let mut upload = store.open_upload(&id).unwrap();
        upload.write(part).unwrap();
        say(&format!("upload {id} {digest} {}", upload.size()));
    }
    store.open_upload(&id).unwrap().commit(digest).unwrap();
}

fn download(store: &Store, bytes: &[u8]) {
    let partial = store.partial(&metainfo(bytes)).unwrap();
    for index in partial.have().iter_missing() {
        partial.write_piece(index, &piece(partial.metainfo(), bytes, index.0)).unwrap();
        say(&format!("piece {} {}", partial.digest(), index.0));
    }
    partial.commit().unwrap();
}

/// Starts the child, lets it say some lines, kills it, and gives all it said.
fn run_and_kill(root: &Path, child: &str, seed: u64) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([child, "--exact", "--ignored", "--nocapture"])
        .env(ROOT, root)
        .env(SEED, seed.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut said: Vec<String> = Vec::new();
    let wanted = (LINES_MIN + seed * 17 % 40) as usize;
    let mut next = || lines.by_ref().find_map(|line| line.strip_prefix('@').map(str::to_owned));
    while said.len() < wanted {
        said.push(next().expect("the child ended by itself"));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    said.extend(std::iter::from_fn(next));
    // The last line may have been cut off in the pipe. An announced removal counts even so: it may have happened.
    let last = said.pop().unwrap_or_default();
    let announced = last.strip_prefix("removing ").is_some_and(|digest| digest.parse::<Digest>().is_ok());
    said.extend(announced.then_some(last));
    said
}

fn check(store: &Store, said: &[String]) {
    for line in said {
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            ["blob", digest] => assert!(store.stat(&digest.parse().unwrap()).unwrap().is_some(), "{line}"),
            ["upload", id, digest, size] => {
                let is_committed = store.stat(&digest.parse().unwrap()).unwrap().is_some();
                let status = store.upload_status(&id.parse().unwrap());
                assert!(is_committed || status.unwrap().size >= size.parse().unwrap(), "{line}");
            }
            ["piece", digest, index] => {
                let (digest, index) = (digest.parse().unwrap(), PieceIndex(index.parse().unwrap()));
                let is_committed = store.stat(&digest).unwrap().is_some();
                assert!(is_committed || store.resume(&digest).unwrap().read_piece(index).is_ok(), "{line}");
            }
            _ => panic!("{line}"),
        }
    }
}

#[test]
fn killed_processes_keep_their_promises() {
    let dir = tempfile::tempdir().unwrap();
    let mut said = Vec::new();
    for seed in 0..ROUNDS {
        said.extend(run_and_kill(dir.path(), "kill::child", seed));
        let store = open(dir.path(), Options::durable());
        check(&store, &said);
        for digest in store.digests() {
            assert_eq!(Digest::sha256(&read(&store.blob(&digest).unwrap())), digest);
        }
    }
}

#[test]
fn killed_processes_keep_their_promises_of_small_content() {
    let dir = tempfile::tempdir().unwrap();
    let mut said = Vec::new();
    for seed in 0..ROUNDS {
        said.extend(run_and_kill(dir.path(), "kill::small_child", seed));
        let store = open(dir.path(), Options::durable());
        let mut wanted = std::collections::HashMap::new();
        for line in &said {
            let (word, digest) = line.split_once(' ').unwrap();
            let digest: Digest = digest.parse().unwrap();
            match word {
                "blob" => wanted.insert(digest, Some(true)),
                "removing" => wanted.insert(digest, None),
                _ => wanted.insert(digest, Some(false)),
            };
        }
        for (digest, wanted) in wanted {
            let is_there = store.stat(&digest).unwrap().is_some();
            assert!(wanted.is_none_or(|wanted| wanted == is_there), "{digest} {wanted:?}");
        }
        for digest in store.digests() {
            assert_eq!(Digest::sha256(&read(&store.blob(&digest).unwrap())), digest);
        }
    }
}
