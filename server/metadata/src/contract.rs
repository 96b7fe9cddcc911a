//! What every engine must do: the suite that each one's tests run.

mod conditions;
mod outbox;
mod upkeep;

use std::future::Future;

use bytes::Bytes;
use shoal_oci::{Annotations, Descriptor, Digest, Reference, Repository, Tag};

use crate::catalog::{
    Catalog, Condition, DeleteOutcome, Page, PageAfter, PutManifest, PutOutcome, REFERRERS_BYTES_MAX,
    References,
};
use crate::error::ErrorKind;
use crate::upkeep::Upkeep;

const TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

/// Runs every case, each on an empty catalog of its own. `open` gives the catalog and whatever must live as long as it does.
pub(crate) async fn run<C, G, F, Fut>(open: F)
where
    C: Upkeep,
    F: Fn() -> Fut,
    Fut: Future<Output = (C, G)>,
{
    let (catalog, _guard) = open().await;
    an_empty_catalog_answers(&catalog).await;
    let (catalog, _guard) = open().await;
    blobs_are_linked_per_repository(&catalog).await;
    let (catalog, _guard) = open().await;
    a_manifest_is_stored_as_it_came(&catalog).await;
    let (catalog, _guard) = open().await;
    a_manifest_needs_what_it_references(&catalog).await;
    let (catalog, _guard) = open().await;
    tags_move_and_go(&catalog).await;
    let (catalog, _guard) = open().await;
    deleting_a_manifest_takes_its_tags(&catalog).await;
    let (catalog, _guard) = open().await;
    tags_are_paged_in_byte_order(&catalog).await;
    let (catalog, _guard) = open().await;
    repositories_are_listed_while_they_have_something(&catalog).await;
    let (catalog, _guard) = open().await;
    referrers_are_found_by_subject(&catalog).await;
    let (catalog, _guard) = open().await;
    pages_of_referrers_are_bounded_in_bytes(&catalog).await;
    let (catalog, _guard) = open().await;
    concurrent_changes_all_happen(&catalog).await;
    conditions::run(&open).await;
    outbox::run(&open).await;
    upkeep::run(&open).await;
}

pub(crate) fn name(text: &str) -> Repository {
    text.parse().unwrap()
}

pub(crate) fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

pub(crate) fn manifest(repository: &str, content: &str, tags: &[&str]) -> PutManifest {
    PutManifest {
        repository: name(repository),
        digest: Digest::sha256(content.as_bytes()),
        media_type: TYPE.to_owned(),
        bytes: Bytes::copy_from_slice(content.as_bytes()),
        blobs: Vec::new(),
        blobs_optional: Vec::new(),
        children: Vec::new(),
        subject: None,
        artifact_type: None,
        annotations: Annotations::new(),
        tags: tags.iter().map(|text| tag(text)).collect(),
        references: References::Required,
        condition: Condition::default(),
        immutable: Vec::new(),
        overwrite: true,
        outbox: Vec::new(),
    }
}

fn page(last: Option<&str>, limit: usize) -> PageAfter {
    PageAfter { last: last.map(str::to_owned), limit }
}

fn digest(content: &str) -> Digest {
    Digest::sha256(content.as_bytes())
}

async fn store(catalog: &impl Catalog, manifest: PutManifest) {
    let outcome = catalog.put_manifest(manifest).await;
    assert!(matches!(outcome, Ok(PutOutcome::Stored { .. })), "{outcome:?}");
}

async fn delete_manifest(catalog: &impl Catalog, repository: &Repository, digest: &Digest) -> bool {
    let deleted = catalog.delete_manifest(repository, digest, Condition::default(), Vec::new()).await;
    matches!(deleted.unwrap(), DeleteOutcome::Deleted { .. })
}

async fn delete_tag(catalog: &impl Catalog, repository: &Repository, tag: &Tag) -> bool {
    let deleted = catalog.delete_tag(repository, tag, Condition::default(), Vec::new()).await;
    matches!(deleted.unwrap(), DeleteOutcome::Deleted { .. })
}

async fn tag_page(catalog: &impl Catalog, last: Option<&str>, limit: usize) -> (Vec<String>, bool) {
    let page = catalog.tags(&name("a"), page(last, limit)).await.unwrap().unwrap();
    (page.items.iter().map(Tag::to_string).collect(), page.more)
}

async fn repository_page(catalog: &impl Catalog, last: Option<&str>, limit: usize) -> (Vec<String>, bool) {
    let page = catalog.repositories(page(last, limit)).await.unwrap();
    (page.items.iter().map(Repository::to_string).collect(), page.more)
}

async fn an_empty_catalog_answers(catalog: &impl Catalog) {
    let (repository, absent) = (name("a"), digest("absent"));
    assert_eq!(catalog.blob_in(&repository, &absent).await, Ok(None));
    assert_eq!(catalog.blob_anywhere(&absent).await, Ok(None));
    assert_eq!(catalog.unlink_blob(&repository, &absent, Vec::new()).await, Ok(false));
    assert_eq!(catalog.manifest(&repository, &Reference::Tag(tag("v1"))).await, Ok(None));
    assert_eq!(catalog.manifest(&repository, &Reference::Digest(absent)).await, Ok(None));
    assert_eq!(catalog.resolve(&repository, &tag("v1")).await, Ok(None));
    assert!(!delete_manifest(catalog, &repository, &absent).await);
    assert!(!delete_tag(catalog, &repository, &tag("v1")).await);
    assert_eq!(catalog.tags(&repository, page(None, 10)).await, Ok(None));
    let none = Page { items: Vec::new(), more: false };
    assert_eq!(catalog.repositories(page(None, 10)).await, Ok(none));
    let none = Page { items: Vec::new(), more: false };
    assert_eq!(catalog.referrers(&repository, &absent, None, page(None, 10)).await, Ok(none));
}

async fn blobs_are_linked_per_repository(catalog: &impl Catalog) {
    let (a, b, blob) = (name("a"), name("team/b"), digest("blob"));
    let long = Digest::of(shoal_oci::Algorithm::Sha512, b"blob");
    catalog.link_blob(&a, &blob, 7, Vec::new()).await.unwrap();
    catalog.link_blob(&a, &blob, 7, Vec::new()).await.unwrap();
    catalog.link_blob(&a, &long, 0, Vec::new()).await.unwrap();
    assert_eq!(catalog.link_blob(&a, &blob, 8, Vec::new()).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(catalog.blob_in(&a, &blob).await, Ok(Some(7)));
    assert_eq!(catalog.blob_in(&a, &long).await, Ok(Some(0)));
    assert_eq!(catalog.blob_in(&b, &blob).await, Ok(None));
    assert_eq!(catalog.blob_anywhere(&blob).await, Ok(Some((a.clone(), 7))));
    catalog.link_blob(&b, &blob, 7, Vec::new()).await.unwrap();
    assert_eq!(catalog.unlink_blob(&a, &blob, Vec::new()).await, Ok(true));
    assert_eq!(catalog.unlink_blob(&a, &blob, Vec::new()).await, Ok(false));
    assert_eq!(catalog.blob_in(&a, &blob).await, Ok(None));
    assert_eq!(catalog.blob_anywhere(&blob).await, Ok(Some((b, 7))));
    assert!(catalog.link_blob(&a, &digest("vast"), u64::MAX, Vec::new()).await.is_err());
}

async fn a_manifest_is_stored_as_it_came(catalog: &impl Catalog) {
    let bytes = Bytes::from_static(b"{ \"\xff\0 any bytes\" }\n");
    let put = PutManifest {
        digest: Digest::sha256(&bytes),
        bytes: bytes.clone(),
        ..manifest("a", "", &["v1", "v2"])
    };
    let address = put.digest;
    store(catalog, put).await;
    for reference in [Reference::Tag(tag("v1")), Reference::Tag(tag("v2")), Reference::Digest(address)] {
        let found = catalog.manifest(&name("a"), &reference).await.unwrap().unwrap();
        assert_eq!((found.digest, found.media_type.as_str(), &found.bytes), (address, TYPE, &bytes));
    }
    assert_eq!(catalog.resolve(&name("a"), &tag("v2")).await, Ok(Some(address)));
    assert_eq!(catalog.manifest(&name("b"), &Reference::Digest(address)).await, Ok(None));
    assert_eq!(catalog.manifest(&name("a"), &Reference::Tag(tag("v3"))).await, Ok(None));
    let large = vec![b'x'; 8 << 20];
    let put = PutManifest { digest: Digest::sha256(&large), bytes: large.into(), ..manifest("a", "", &[]) };
    let address = put.digest;
    store(catalog, put.clone()).await;
    let found = catalog.manifest(&name("a"), &Reference::Digest(address)).await.unwrap().unwrap();
    assert_eq!(found.bytes, put.bytes);
}

async fn a_manifest_needs_what_it_references(catalog: &impl Catalog) {
    let mut put = manifest("a", "index", &["v1"]);
    put.blobs = vec![digest("here"), digest("not here"), digest("elsewhere")];
    put.blobs_optional = vec![digest("foreign")];
    put.children = vec![digest("child"), digest("other child")];
    put.subject = Some(digest("no subject"));
    catalog.link_blob(&name("a"), &digest("here"), 1, Vec::new()).await.unwrap();
    catalog.link_blob(&name("b"), &digest("elsewhere"), 1, Vec::new()).await.unwrap();
    store(catalog, manifest("a", "child", &[])).await;
    store(catalog, manifest("b", "other child", &[])).await;
    let missing = PutOutcome::Missing {
        blobs: vec![digest("not here"), digest("elsewhere")],
        children: vec![digest("other child")],
    };
    assert_eq!(catalog.put_manifest(put.clone()).await, Ok(missing));
    assert_eq!(catalog.resolve(&name("a"), &tag("v1")).await, Ok(None));
    assert_eq!(catalog.manifest(&name("a"), &Reference::Digest(put.digest)).await, Ok(None));
    let nowhere = PutManifest { repository: name("new"), ..put.clone() };
    assert!(matches!(catalog.put_manifest(nowhere).await, Ok(PutOutcome::Missing { .. })));
    assert_eq!(catalog.tags(&name("new"), page(None, 1)).await, Ok(None));
    let sparse = PutManifest { references: References::Sparse, ..put.clone() };
    store(catalog, sparse).await;
    assert_eq!(catalog.resolve(&name("a"), &tag("v1")).await, Ok(Some(put.digest)));
    // A manifest that is there already still needs its blobs when it is pushed again.
    assert!(matches!(catalog.put_manifest(put).await, Ok(PutOutcome::Missing { .. })));
}

async fn tags_move_and_go(catalog: &impl Catalog) {
    store(catalog, manifest("a", "one", &["latest", "v1"])).await;
    store(catalog, manifest("a", "two", &["latest"])).await;
    assert_eq!(catalog.resolve(&name("a"), &tag("latest")).await, Ok(Some(digest("two"))));
    assert_eq!(catalog.resolve(&name("a"), &tag("v1")).await, Ok(Some(digest("one"))));
    // Pushing again moves the tag back; another media type for the same bytes takes effect.
    let again = PutManifest { media_type: "application/x".to_owned(), ..manifest("a", "one", &["latest"]) };
    store(catalog, again).await;
    let found = catalog.manifest(&name("a"), &Reference::Tag(tag("latest"))).await.unwrap().unwrap();
    assert_eq!((found.digest, found.media_type.as_str()), (digest("one"), "application/x"));
    assert!(delete_tag(catalog, &name("a"), &tag("latest")).await);
    assert!(!delete_tag(catalog, &name("a"), &tag("latest")).await);
    assert_eq!(catalog.resolve(&name("a"), &tag("latest")).await, Ok(None));
    assert!(catalog.manifest(&name("a"), &Reference::Digest(digest("one"))).await.unwrap().is_some());
}

async fn deleting_a_manifest_takes_its_tags(catalog: &impl Catalog) {
    let mut put = manifest("a", "one", &["v1", "v2"]);
    put.blobs = vec![digest("blob")];
    catalog.link_blob(&name("a"), &digest("blob"), 1, Vec::new()).await.unwrap();
    store(catalog, put.clone()).await;
    store(catalog, manifest("a", "two", &["v3"])).await;
    store(catalog, manifest("b", "one", &["v1"])).await;
    assert!(delete_manifest(catalog, &name("a"), &digest("one")).await);
    assert!(!delete_manifest(catalog, &name("a"), &digest("one")).await);
    assert_eq!(catalog.manifest(&name("a"), &Reference::Digest(digest("one"))).await, Ok(None));
    assert_eq!(tag_page(catalog, None, 10).await, (vec!["v3".to_owned()], false));
    assert_eq!(catalog.resolve(&name("b"), &tag("v1")).await, Ok(Some(digest("one"))));
    store(catalog, put).await;
    assert_eq!(tag_page(catalog, None, 10).await.0, ["v1", "v2", "v3"]);
}

async fn tags_are_paged_in_byte_order(catalog: &impl Catalog) {
    store(catalog, manifest("a", "one", &["b", "B", "a", "_", "10", "9", "a-1", "a.1"])).await;
    store(catalog, manifest("ab", "one", &["other"])).await;
    let all = ["10", "9", "B", "_", "a", "a-1", "a.1", "b"].map(str::to_owned);
    assert_eq!(tag_page(catalog, None, 100).await, (all.to_vec(), false));
    assert_eq!(tag_page(catalog, None, usize::MAX).await.0, all);
    assert_eq!(tag_page(catalog, None, 8).await, (all.to_vec(), false));
    assert_eq!(tag_page(catalog, None, 3).await, (all[..3].to_vec(), true));
    assert_eq!(tag_page(catalog, Some("B"), 3).await, (all[3..6].to_vec(), true));
    assert_eq!(tag_page(catalog, Some("a-0"), 10).await, (all[5..].to_vec(), false));
    assert_eq!(tag_page(catalog, Some("b"), 10).await, (Vec::new(), false));
    assert_eq!(tag_page(catalog, Some("\u{10ffff}"), 10).await, (Vec::new(), false));
    assert_eq!(tag_page(catalog, None, 0).await, (Vec::new(), false));
}

async fn repositories_are_listed_while_they_have_something(catalog: &impl Catalog) {
    catalog.link_blob(&name("linked"), &digest("blob"), 1, Vec::new()).await.unwrap();
    for repository in ["z", "a/b", "a", "a-b"] {
        store(catalog, manifest(repository, "one", &["v1"])).await;
    }
    let all = ["a", "a-b", "a/b", "linked", "z"].map(str::to_owned);
    assert_eq!(repository_page(catalog, None, 10).await, (all.to_vec(), false));
    assert_eq!(repository_page(catalog, Some("a-b"), 2).await, (all[2..4].to_vec(), true));
    assert_eq!(repository_page(catalog, Some("aa"), 2).await, (all[3..].to_vec(), false));
    catalog.unlink_blob(&name("linked"), &digest("blob"), Vec::new()).await.unwrap();
    assert!(delete_manifest(catalog, &name("a"), &digest("one")).await);
    assert!(delete_tag(catalog, &name("z"), &tag("v1")).await);
    assert_eq!(repository_page(catalog, None, 10).await.0, ["a-b", "a/b", "z"]);
    assert_eq!(catalog.tags(&name("a"), page(None, 10)).await, Ok(None));
    let empty = Page { items: Vec::new(), more: false };
    assert_eq!(catalog.tags(&name("z"), page(None, 10)).await, Ok(Some(empty)));
}

fn referrer(content: &str, artifact_type: Option<&str>, note: &str) -> PutManifest {
    let mut put = manifest("a", content, &[]);
    put.subject = Some(digest("subject"));
    put.artifact_type = artifact_type.map(str::to_owned);
    put.annotations = [("note".to_owned(), note.to_owned())].into();
    put
}

async fn referrer_page(
    catalog: &impl Catalog,
    kind: Option<&str>,
    last: Option<&str>,
    limit: usize,
) -> Page<Descriptor> {
    catalog.referrers(&name("a"), &digest("subject"), kind, page(last, limit)).await.unwrap()
}

async fn referrers_are_found_by_subject(catalog: &impl Catalog) {
    for (content, kind) in
        [("one", Some("sbom")), ("two", Some("signature")), ("three", None), ("four", Some("sbom"))]
    {
        store(catalog, referrer(content, kind, "\"quoted\"")).await;
    }
    store(catalog, PutManifest { repository: name("b"), ..referrer("five", None, "") }).await;
    store(catalog, PutManifest { subject: Some(digest("other")), ..referrer("six", None, "") }).await;
    let mut expected: Vec<_> = ["one", "two", "three", "four"].map(digest).to_vec();
    expected.sort();
    let all = referrer_page(catalog, None, None, 10).await;
    assert_eq!(all.items.iter().map(|item| item.digest).collect::<Vec<_>>(), expected);
    assert!(!all.more);
    let mut one = Descriptor::new(TYPE, digest("one"), 3);
    one.artifact_type = Some("sbom".to_owned());
    one.annotations = [("note".to_owned(), "\"quoted\"".to_owned())].into();
    assert!(all.items.contains(&one), "{all:?}");
    let sboms = referrer_page(catalog, Some("sbom"), None, 10).await;
    assert!(
        sboms.items.len() == 2
            && sboms.items.iter().all(|item| item.artifact_type.as_deref() == Some("sbom"))
    );
    assert!(referrer_page(catalog, Some("none"), None, 10).await.items.is_empty());
    let first = referrer_page(catalog, None, None, 3).await;
    let last = first.items[2].digest.to_string();
    assert!(first.more && first.items == all.items[..3]);
    assert_eq!(referrer_page(catalog, None, Some(&last), 3).await.items, all.items[3..]);
    assert_eq!(referrer_page(catalog, None, Some("no digest"), 3).await, first);
    assert!(delete_manifest(catalog, &name("a"), &digest("one")).await);
    assert_eq!(referrer_page(catalog, Some("sbom"), None, 10).await.items.len(), 1);
}

async fn pages_of_referrers_are_bounded_in_bytes(catalog: &impl Catalog) {
    let note = "x".repeat(REFERRERS_BYTES_MAX / 2);
    for content in ["one", "two", "three"] {
        store(catalog, referrer(content, None, &note)).await;
    }
    let mut seen = Vec::new();
    let mut last = None;
    loop {
        let page = referrer_page(catalog, None, last.as_deref(), 10).await;
        assert_eq!(page.items.len(), 1);
        seen.push(page.items[0].digest);
        last = Some(page.items[0].digest.to_string());
        if !page.more {
            break;
        }
    }
    assert_eq!(seen.len(), 3);
}

async fn concurrent_changes_all_happen(catalog: &impl Catalog) {
    const COUNT: usize = 200;
    let puts = (0..COUNT).map(|index| async move {
        let blob = digest(&format!("blob {index}"));
        catalog.link_blob(&name("a"), &blob, index as u64, Vec::new()).await.unwrap();
        let mut put = manifest("a", &format!("manifest {index}"), &["latest", &format!("v{index}")]);
        put.blobs = vec![blob];
        store(catalog, put).await;
        // Seen at once by whoever was answered.
        let address = digest(&format!("manifest {index}"));
        assert_eq!(catalog.resolve(&name("a"), &tag(&format!("v{index}"))).await, Ok(Some(address)));
    });
    join_all(puts).await;
    assert_eq!(tag_page(catalog, None, 1000).await.0.len(), COUNT + 1);
}

/// Polls all of `futures` in turn until they are done, which keeps them all waiting at once.
async fn join_all<F: Future<Output = ()>>(futures: impl Iterator<Item = F>) {
    let mut pending: Vec<_> = futures.map(Box::pin).collect();
    std::future::poll_fn(|context| {
        pending.retain_mut(|future| future.as_mut().poll(context).is_pending());
        if pending.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}
