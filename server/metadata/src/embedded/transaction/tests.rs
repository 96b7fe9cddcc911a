//! What the writing thread remembers is true of its transaction, whatever of it is undone.

use super::*;
use crate::contract::name;

fn connection() -> (Connection, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    (super::super::schema::open(&directory.path().join("metadata.db")).unwrap(), directory)
}

fn memory() -> Memory {
    Memory::new(Arc::new(Shared::new(1 << 20, 0)), 10)
}

#[test]
fn a_number_that_was_undone_is_not_remembered() {
    let ((connection, _directory), memory) = (connection(), memory());
    let transaction = Transaction::begin(&connection, &memory).unwrap();
    let kept = transaction.repository_or_new(&name("kept")).unwrap();
    transaction.end_change(true).unwrap();
    transaction.repository_or_new(&name("undone")).unwrap();
    transaction.end_change(false).unwrap();
    assert_eq!(transaction.repository(&name("undone")), Ok(None));
    assert_eq!(transaction.repository(&name("kept")), Ok(Some(kept)));
    transaction.commit().unwrap();
    let transaction = Transaction::begin(&connection, &memory).unwrap();
    transaction.repository_or_new(&name("lost")).unwrap();
    transaction.roll_back().unwrap();
    let transaction = Transaction::begin(&connection, &memory).unwrap();
    assert_eq!(transaction.repository(&name("lost")), Ok(None));
    assert_eq!(transaction.repository(&name("kept")), Ok(Some(kept)));
    transaction.drop_if_empty(&name("kept"), kept).unwrap();
    assert_eq!(transaction.repository(&name("kept")), Ok(None));
    transaction.roll_back().unwrap();
    let transaction = Transaction::begin(&connection, &memory).unwrap();
    assert_eq!(transaction.repository(&name("kept")), Ok(Some(kept)));
}

#[test]
fn the_length_of_the_outbox_is_counted_again_when_something_is_undone() {
    let ((connection, _directory), memory) = (connection(), memory());
    let append = |transaction: &Transaction<'_>, keep| {
        transaction.guard().unwrap();
        outbox::append(transaction, &[bytes::Bytes::from_static(b"x")]).unwrap();
        transaction.end_change(keep).unwrap();
    };
    let transaction = Transaction::begin(&connection, &memory).unwrap();
    append(&transaction, true);
    append(&transaction, false);
    assert_eq!(transaction.outbox_len(), Ok(1));
    append(&transaction, true);
    assert_eq!(memory.shared.outbox_waiting.load(Ordering::Relaxed), 0, "not before it is committed");
    transaction.commit().unwrap();
    assert_eq!(memory.shared.outbox_waiting.load(Ordering::Relaxed), 2);
    let transaction = Transaction::begin(&connection, &memory).unwrap();
    append(&transaction, true);
    transaction.roll_back().unwrap();
    assert_eq!(memory.shared.outbox_waiting.load(Ordering::Relaxed), 2);
    let transaction = Transaction::begin(&connection, &memory).unwrap();
    assert_eq!(transaction.outbox_len(), Ok(2));
}

#[test]
fn memory_forgets_only_what_was_outdated_and_takes_new_answers_after_the_commit() {
    let ((connection, _directory), memory) = (connection(), memory());
    let (cache, a) = (&memory.shared.cache, name("a"));
    let [one, two] = ["one", "two"].map(|text| shoal_oci::Digest::sha256(text.as_bytes()));
    for digest in [&one, &two] {
        cache.keep_blob(cache.ticket(cache.keys().blob(&a, digest)), &a, digest, 3);
    }
    let transaction = Transaction::begin(&connection, &memory).unwrap();
    transaction.outdates(cache.keys().blob(&a, &one));
    assert_eq!(cache.blob(&a, &one), Some(3), "still what everybody else reads");
    transaction.commit().unwrap();
    assert_eq!((cache.blob(&a, &one), cache.blob(&a, &two)), (None, Some(3)));
    cache.keep_blob(cache.ticket(cache.keys().blob(&a, &one)), &a, &one, 5);
    assert_eq!(cache.blob(&a, &one), Some(5));
}
