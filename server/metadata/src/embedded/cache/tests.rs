//! What is remembered, for how long, and who cannot put back what is outdated.

use bytes::Bytes;

use super::*;
use crate::contract::{name, tag};

fn digest(text: &str) -> Digest {
    Digest::sha256(text.as_bytes())
}

fn keep(cache: &Cache, repository: &str, text: &str, size: u64) {
    let (repository, digest) = (name(repository), digest(text));
    let ticket = cache.ticket(cache.keys().blob(&repository, &digest));
    cache.keep_blob(ticket, &repository, &digest, size);
}

#[test]
fn an_answer_belongs_to_its_repository_and_its_kind() {
    let cache = Cache::new(1 << 20);
    let manifest = Arc::new(Manifest {
        digest: digest("x"),
        media_type: "a/b".to_owned(),
        bytes: Bytes::from_static(b"x"),
    });
    keep(&cache, "a", "x", 1);
    let ticket = cache.ticket(cache.keys().tag(&name("a"), &tag("v1")));
    cache.keep_tag(ticket, &name("a"), &tag("v1"), digest("x"));
    assert_eq!(cache.manifest(&name("a"), &digest("x")), None);
    let ticket = cache.ticket(cache.keys().manifest(&name("a"), &digest("x")));
    cache.keep_manifest(ticket, &name("a"), Arc::clone(&manifest));
    assert_eq!(cache.blob(&name("a"), &digest("x")), Some(1));
    assert_eq!(cache.tag(&name("a"), &tag("v1")), Some(digest("x")));
    assert_eq!(cache.manifest(&name("a"), &digest("x")), Some(manifest));
    assert_eq!(cache.blob(&name("b"), &digest("x")), None);
    assert_eq!(cache.tag(&name("b"), &tag("v1")), None);
    assert_eq!(cache.manifest(&name("b"), &digest("x")), None);
}

#[test]
fn two_questions_with_one_key_do_not_get_each_others_answer() {
    let cache = Cache::new(1 << 20);
    // As if both hashed to the same.
    let ticket = cache.ticket(cache.keys().blob(&name("private"), &digest("x")));
    cache.keep_blob(ticket, &name("public"), &digest("x"), 1);
    assert_eq!(cache.blob(&name("private"), &digest("x")), None);
}

#[test]
fn an_answer_older_than_a_change_is_not_put_back() {
    let cache = Cache::new(1 << 20);
    let (repository, digest) = (name("a"), digest("x"));
    let key = cache.keys().blob(&repository, &digest);
    let before = cache.ticket(key);
    let change = cache.change(&[key, key]);
    let during = cache.ticket(key);
    cache.keep_blob(before, &repository, &digest, 1);
    cache.keep_blob(during, &repository, &digest, 2);
    assert_eq!(cache.blob(&repository, &digest), None);
    drop(change);
    cache.keep_blob(before, &repository, &digest, 1);
    cache.keep_blob(during, &repository, &digest, 2);
    assert_eq!(cache.blob(&repository, &digest), None);
    cache.keep_blob(cache.ticket(key), &repository, &digest, 3);
    assert_eq!(cache.blob(&repository, &digest), Some(3));
    drop(cache.change(&[key]));
    assert_eq!(cache.blob(&repository, &digest), None);
}

#[test]
fn the_bytes_are_bounded_and_what_is_used_stays() {
    const LEN_MAX: usize = 1 << 20;
    let cache = Cache::new(LEN_MAX);
    keep(&cache, "a", "hot", 7);
    for index in 0..20_000 {
        keep(&cache, "a", &index.to_string(), index);
        if index % 100 == 0 {
            assert_eq!(cache.blob(&name("a"), &digest("hot")), Some(7), "{index}");
            assert!(cache.len() <= LEN_MAX, "{}", cache.len());
        }
    }
    assert!(cache.len() > LEN_MAX / 3, "{}", cache.len());
    assert_eq!(cache.blob(&name("a"), &digest("0")), None);
}

#[test]
fn what_is_too_large_and_a_cache_of_nothing_are_no_trouble() {
    let none = Cache::new(0);
    keep(&none, "a", "x", 1);
    assert_eq!((none.blob(&name("a"), &digest("x")), none.len()), (None, 0));
    let cache = Cache::new(1 << 20);
    let bytes = Bytes::from(vec![0; 1 << 20]);
    let manifest = Manifest { digest: digest("x"), media_type: String::new(), bytes };
    let ticket = cache.ticket(cache.keys().manifest(&name("a"), &manifest.digest));
    cache.keep_manifest(ticket, &name("a"), Arc::new(manifest));
    assert_eq!(cache.len(), 0);
}

#[test]
fn readers_never_see_an_old_answer_after_a_new_one() {
    const ROUNDS: u64 = 20_000;
    let cache = Cache::new(1 << 20);
    let database = AtomicU64::new(0);
    let (repository, digest) = (name("a"), digest("x"));
    let key = cache.keys().blob(&repository, &digest);
    let ask = || {
        cache.blob(&repository, &digest).unwrap_or_else(|| {
            let ticket = cache.ticket(key);
            let found = database.load(Ordering::Acquire);
            std::thread::yield_now();
            cache.keep_blob(ticket, &repository, &digest, found);
            found
        })
    };
    let watch = || {
        let mut seen = 0;
        while seen < ROUNDS {
            let found = ask();
            assert!(found >= seen, "{found} after {seen}");
            seen = found;
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(watch);
        }
        for round in 1..=ROUNDS {
            let change = cache.change(&[key]);
            database.store(round, Ordering::Release); // the commit
            drop(change);
        }
    });
}
