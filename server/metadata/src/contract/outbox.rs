//! Messages: there if and only if their change is, in order, and never lost before they are delivered.

use super::*;
use crate::clock;
use crate::outbox::{Message, Outbox};

pub(super) async fn run<C, G, F, Fut>(open: &F)
where
    C: Catalog + Outbox,
    F: Fn() -> Fut,
    Fut: Future<Output = (C, G)>,
{
    let (catalog, _guard) = open().await;
    a_message_is_queued_with_its_change_only(&catalog).await;
    let (catalog, _guard) = open().await;
    messages_stay_until_they_are_done(&catalog).await;
    let (catalog, _guard) = open().await;
    a_message_put_back_waits_for_its_time(&catalog).await;
    let (catalog, _guard) = open().await;
    no_clock_holds_a_message_up(&catalog).await;
    let (catalog, _guard) = open().await;
    pages_are_bounded(&catalog).await;
}

fn message(text: &str) -> Vec<Bytes> {
    vec![Bytes::copy_from_slice(text.as_bytes())]
}

fn texts(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| std::str::from_utf8(&message.payload).unwrap()).collect()
}

async fn peek(outbox: &impl Outbox) -> Vec<Message> {
    outbox.outbox_peek(100, clock::now()).await.unwrap()
}

async fn a_message_is_queued_with_its_change_only<C: Catalog + Outbox>(catalog: &C) {
    let (a, blob, one) = (name("a"), digest("blob"), digest("one"));
    let refused = Condition { if_match: Some(crate::Match::Any), if_none_match: None };
    let put = |text, condition| PutManifest {
        outbox: message(text),
        condition,
        blobs: vec![blob],
        ..manifest("a", "one", &["v1"])
    };
    let _ = catalog.put_manifest(put("no: missing", Condition::default())).await.unwrap();
    catalog.link_blob(&a, &blob, 1, message("linked")).await.unwrap();
    catalog.link_blob(&a, &blob, 2, message("no: conflict")).await.unwrap_err();
    catalog.link_blob(&a, &blob, 1, message("linked again")).await.unwrap();
    let _ = catalog.put_manifest(put("no: condition", refused.clone())).await.unwrap();
    let _ = catalog.put_manifest(put("pushed", Condition::default())).await.unwrap();
    let taken =
        PutManifest { overwrite: false, outbox: message("no: exists"), ..manifest("a", "x", &["v1"]) };
    let _ = catalog.put_manifest(taken).await.unwrap();
    let none = Condition::default;
    let _ = catalog.delete_tag(&a, &tag("v2"), none(), message("no: absent")).await.unwrap();
    let _ = catalog.delete_tag(&a, &tag("v1"), none(), message("untagged")).await.unwrap();
    let _ = catalog.delete_tag(&a, &tag("v1"), none(), message("no: gone")).await.unwrap();
    let _ = catalog.delete_manifest(&a, &digest("x"), none(), message("no: absent")).await.unwrap();
    let _ = catalog.delete_manifest(&a, &one, none(), message("deleted")).await.unwrap();
    assert!(!catalog.unlink_blob(&a, &one, message("no: absent")).await.unwrap());
    assert!(catalog.unlink_blob(&a, &blob, message("unlinked")).await.unwrap());
    catalog.outbox_append(message("on its own")).await.unwrap();
    let expected = ["linked", "linked again", "pushed", "untagged", "deleted", "unlinked", "on its own"];
    assert_eq!(texts(&peek(catalog).await), expected);
    assert_eq!((catalog.outbox_len().waiting, catalog.outbox_len().dropped), (7, 0));
}

async fn messages_stay_until_they_are_done<C: Catalog + Outbox>(catalog: &C) {
    assert_eq!(catalog.outbox_oldest().await, Ok(None));
    let before = clock::now();
    catalog
        .outbox_append(["one", "two", "three"].map(|text| Bytes::from(text.to_owned())).to_vec())
        .await
        .unwrap();
    let first = peek(catalog).await;
    assert_eq!(texts(&first), ["one", "two", "three"]);
    assert!(first.iter().all(|message| message.attempts == 0 && message.queued_at >= before));
    assert!(first.is_sorted_by_key(|message| message.id));
    assert_eq!(peek(catalog).await, first, "looking takes nothing away");
    assert_eq!(catalog.outbox_oldest().await, Ok(Some(first[0].queued_at)));
    assert_eq!(catalog.outbox_last().await, Ok(first[2].id));
    assert_eq!(texts(&catalog.outbox_after(first[0].id, 1).await.unwrap()), ["two"]);
    assert_eq!(texts(&catalog.outbox_after(0, 10).await.unwrap()), ["one", "two", "three"]);
    let ids = vec![first[0].id, first[2].id, 999_999, u64::MAX];
    catalog.outbox_done(ids.clone()).await.unwrap();
    catalog.outbox_done(ids).await.unwrap();
    assert_eq!((texts(&peek(catalog).await), catalog.outbox_len().waiting), (vec!["two"], 1));
    catalog.outbox_done(vec![first[1].id]).await.unwrap();
    assert_eq!((peek(catalog).await, catalog.outbox_len().waiting), (Vec::new(), 0));
    catalog.outbox_append(message("four")).await.unwrap();
    assert!(peek(catalog).await[0].id > first[2].id, "numbers are not used again");
}

async fn a_message_put_back_waits_for_its_time<C: Catalog + Outbox>(catalog: &C) {
    for text in ["one", "two"] {
        catalog.outbox_append(message(text)).await.unwrap();
    }
    let (now, id) = (clock::now(), peek(catalog).await[0].id);
    catalog.outbox_retry(id, now + 1000, 3).await.unwrap();
    catalog.outbox_retry(u64::MAX, now, 1).await.unwrap();
    let at = async |now| texts(&catalog.outbox_peek(10, now).await.unwrap()).join(" ");
    assert_eq!(at(now).await, "two");
    assert_eq!(at(now + 999).await, "two");
    assert_eq!(at(now + 1000).await, "two one", "what was never tried goes first");
    assert_eq!(catalog.outbox_peek(10, now + 1000).await.unwrap()[1].attempts, 3);
    assert_eq!(texts(&catalog.outbox_after(0, 10).await.unwrap()), ["one", "two"]);
}

async fn no_clock_holds_a_message_up<C: Catalog + Outbox>(catalog: &C) {
    const DAY_MS: u64 = 24 * 60 * 60 * 1000;
    for text in ["new", "tried"] {
        catalog.outbox_append(message(text)).await.unwrap();
    }
    let (now, messages) = (clock::now(), peek(catalog).await);
    catalog.outbox_retry(messages[1].id, now + 60_000, 1).await.unwrap();
    // The clock is set back by two days.
    let shown = catalog.outbox_peek(10, now - 2 * DAY_MS).await.unwrap();
    assert_eq!(texts(&shown), ["new", "tried"]);
    assert_eq!(texts(&catalog.outbox_peek(10, 0).await.unwrap()), ["new", "tried"]);
}

async fn pages_are_bounded<C: Catalog + Outbox>(catalog: &C) {
    let large = Bytes::from(vec![b'x'; 600_000]);
    catalog
        .outbox_append(vec![large.clone(), large.clone(), Bytes::from(vec![b'y'; 2_000_000])])
        .await
        .unwrap();
    let page = peek(catalog).await;
    assert_eq!(page.len(), 1);
    assert_eq!(catalog.outbox_after(page[0].id, 10).await.unwrap().len(), 1);
    assert_eq!(catalog.outbox_after(page[0].id + 1, 10).await.unwrap()[0].payload.len(), 2_000_000);
    assert_eq!(catalog.outbox_peek(0, clock::now()).await, Ok(Vec::new()));
    assert_eq!(catalog.outbox_peek(usize::MAX, clock::now()).await.unwrap().len(), 1);
}
