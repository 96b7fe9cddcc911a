//! Changes under a condition: who may move a tag, and who wins when many want to.

use super::*;
use crate::catalog::Match;

pub(super) async fn run<C, G, F, Fut>(open: &F)
where
    C: Catalog,
    F: Fn() -> Fut,
    Fut: Future<Output = (C, G)>,
{
    let (catalog, _guard) = open().await;
    a_put_says_what_it_changed(&catalog).await;
    a_tag_needs_all_that_it_leads_to(&catalog).await;
    let (catalog, _guard) = open().await;
    a_condition_is_about_what_the_tag_names(&catalog).await;
    let (catalog, _guard) = open().await;
    every_tag_of_a_put_must_fulfil_the_condition(&catalog).await;
    let (catalog, _guard) = open().await;
    a_put_without_tags_has_its_condition_about_itself(&catalog).await;
    let (catalog, _guard) = open().await;
    a_tag_that_may_not_move_stays(&catalog).await;
    let (catalog, _guard) = open().await;
    deletes_have_conditions(&catalog).await;
    let (catalog, _guard) = open().await;
    of_many_that_replace_one_state_one_wins(&catalog).await;
    let (catalog, _guard) = open().await;
    of_many_that_create_a_tag_one_wins(&catalog).await;
    let (catalog, _guard) = open().await;
    of_many_that_may_only_create_the_first_wins_for_ever(&catalog).await;
}

pub(crate) fn if_match(contents: &[&str]) -> Condition {
    let digests = contents.iter().map(|content| digest(content)).collect();
    Condition { if_match: Some(Match::Digests(digests)), if_none_match: None }
}

pub(crate) fn if_none_match(contents: &[&str]) -> Condition {
    let digests = contents.iter().map(|content| digest(content)).collect();
    Condition { if_match: None, if_none_match: Some(Match::Digests(digests)) }
}

pub(crate) fn if_any() -> Condition {
    Condition { if_match: Some(Match::Any), if_none_match: None }
}

pub(crate) fn if_none() -> Condition {
    Condition { if_match: None, if_none_match: Some(Match::Any) }
}

fn under(condition: Condition, content: &str, tags: &[&str]) -> PutManifest {
    PutManifest { condition, ..manifest("a", content, tags) }
}

fn stored(moved: &[(&str, Option<&str>)], created: bool) -> PutOutcome {
    let moved = moved.iter().map(|(name, before)| (tag(name), before.map(digest))).collect();
    PutOutcome::Stored { moved, created }
}

fn failed(current: Option<&str>) -> PutOutcome {
    PutOutcome::PreconditionFailed { current: current.map(digest) }
}

async fn named(catalog: &impl Catalog, name_of_tag: &str) -> Option<Digest> {
    catalog.resolve(&name("a"), &tag(name_of_tag)).await.unwrap()
}

async fn a_put_says_what_it_changed(catalog: &impl Catalog) {
    let put = |content, tags: &[&str]| catalog.put_manifest(manifest("a", content, tags));
    assert_eq!(
        put("one", &["v1", "latest", "v1"]).await,
        Ok(stored(&[("v1", None), ("latest", None)], true))
    );
    assert_eq!(put("one", &["v1", "latest"]).await, Ok(stored(&[], false)));
    assert_eq!(put("two", &["latest"]).await, Ok(stored(&[("latest", Some("one"))], true)));
    assert_eq!(put("one", &["latest", "v1"]).await, Ok(stored(&[("latest", Some("two"))], false)));
    assert_eq!(put("one", &[]).await, Ok(stored(&[], false)));
    assert_eq!(catalog.tags_needing(&name("a"), &digest("one")).await, Ok(vec![tag("latest"), tag("v1")]));
    assert_eq!(catalog.tags_needing(&name("a"), &digest("two")).await, Ok(Vec::new()));
    assert_eq!(catalog.tags_needing(&name("b"), &digest("one")).await, Ok(Vec::new()));
}

async fn a_tag_needs_all_that_it_leads_to(catalog: &impl Catalog) {
    let (blob, home) = (digest("layer"), name("nested"));
    catalog.link_blob(&home, &blob, 5, Vec::new()).await.unwrap();
    let image = PutManifest { blobs: vec![blob], ..manifest("nested", "image", &["image"]) };
    let index = PutManifest { children: vec![image.digest], ..manifest("nested", "index", &[]) };
    let outer = PutManifest { children: vec![index.digest], ..manifest("nested", "outer", &["v1"]) };
    let (image_digest, outer_digest) = (image.digest, outer.digest);
    for put in [image, index, outer] {
        store(catalog, put).await;
    }
    let needing = async |digest| catalog.tags_needing(&home, digest).await.unwrap();
    assert_eq!(needing(&blob).await, [tag("image"), tag("v1")]);
    assert_eq!(needing(&image_digest).await, [tag("image"), tag("v1")]);
    assert_eq!(needing(&outer_digest).await, [tag("v1")]);
    assert_eq!(catalog.tags_needing(&name("a"), &blob).await, Ok(Vec::new()));
}

async fn a_condition_is_about_what_the_tag_names(catalog: &impl Catalog) {
    let put = |condition, content| catalog.put_manifest(under(condition, content, &["v1"]));
    assert_eq!(put(if_match(&["one"]), "one").await, Ok(failed(None)));
    assert_eq!(put(if_any(), "one").await, Ok(failed(None)));
    assert_eq!(catalog.tags(&name("a"), page(None, 1)).await, Ok(None), "a refused put leaves nothing");
    assert_eq!(put(if_none(), "one").await, Ok(stored(&[("v1", None)], true)));
    assert_eq!(put(if_none(), "two").await, Ok(failed(Some("one"))));
    assert_eq!(put(if_none(), "one").await, Ok(failed(Some("one"))), "created once, also for the same");
    assert_eq!(put(if_none_match(&["one", "x"]), "two").await, Ok(failed(Some("one"))));
    assert_eq!(put(if_match(&["x", "y"]), "two").await, Ok(failed(Some("one"))));
    assert_eq!(catalog.manifest(&name("a"), &Reference::Digest(digest("two"))).await, Ok(None));
    assert_eq!(put(if_match(&["x", "one"]), "two").await, Ok(stored(&[("v1", Some("one"))], true)));
    // The same request once more, because its answer was lost on the way.
    assert_eq!(put(if_match(&["x", "one"]), "two").await, Ok(stored(&[], false)));
    assert_eq!(put(if_any(), "three").await, Ok(stored(&[("v1", Some("two"))], true)));
    assert_eq!(put(if_none_match(&["one"]), "four").await, Ok(stored(&[("v1", Some("three"))], true)));
    let both = Condition { if_none_match: Some(Match::Any), ..if_any() };
    assert_eq!(put(both, "five").await, Ok(failed(Some("four"))));
    let nothing = Condition { if_match: Some(Match::Digests(Vec::new())), if_none_match: None };
    assert_eq!(put(nothing, "five").await, Ok(failed(Some("four"))));
}

async fn every_tag_of_a_put_must_fulfil_the_condition(catalog: &impl Catalog) {
    store(catalog, manifest("a", "one", &["v1", "v2"])).await;
    store(catalog, manifest("a", "two", &["v2"])).await;
    let put = |condition| catalog.put_manifest(under(condition, "three", &["v1", "v2"]));
    assert_eq!(put(if_match(&["one"])).await, Ok(failed(Some("two"))));
    assert_eq!(named(catalog, "v1").await, Some(digest("one")));
    let moved = [("v1", Some("one")), ("v2", Some("two"))];
    assert_eq!(put(if_match(&["one", "two"])).await, Ok(stored(&moved, true)));
}

async fn a_put_without_tags_has_its_condition_about_itself(catalog: &impl Catalog) {
    let put = |condition| catalog.put_manifest(under(condition, "one", &[]));
    assert_eq!(put(if_any()).await, Ok(failed(None)));
    assert_eq!(put(if_none()).await, Ok(stored(&[], true)));
    assert_eq!(put(if_none()).await, Ok(failed(Some("one"))));
    assert_eq!(put(if_match(&["one"])).await, Ok(stored(&[], false)));
    assert_eq!(put(if_match(&["two"])).await, Ok(failed(Some("one"))));
}

async fn a_tag_that_may_not_move_stays(catalog: &impl Catalog) {
    let create = |content, tags: &[&str]| {
        catalog.put_manifest(PutManifest { overwrite: false, ..manifest("a", content, tags) })
    };
    assert_eq!(create("one", &["v1"]).await, Ok(stored(&[("v1", None)], true)));
    assert_eq!(create("one", &["v1"]).await, Ok(stored(&[], false)), "no move, so no right is needed");
    let exists = PutOutcome::TagExists { tag: tag("v1"), current: digest("one") };
    assert_eq!(create("two", &["v2", "v1"]).await, Ok(exists.clone()));
    assert_eq!(named(catalog, "v2").await, None, "all or nothing");
    assert_eq!(catalog.manifest(&name("a"), &Reference::Digest(digest("two"))).await, Ok(None));
    let immutable = |content, tags: &[&str]| {
        let immutable = vec![tag("v1")];
        catalog.put_manifest(PutManifest { immutable, ..manifest("a", content, tags) })
    };
    assert_eq!(immutable("two", &["v1"]).await, Ok(exists.clone()));
    assert_eq!(immutable("two", &["latest"]).await, Ok(stored(&[("latest", None)], true)));
    assert_eq!(immutable("one", &["v1", "latest"]).await, Ok(stored(&[("latest", Some("two"))], false)));
    // What was deleted may be made anew.
    assert!(delete_tag(catalog, &name("a"), &tag("v1")).await);
    assert_eq!(immutable("two", &["v1"]).await, Ok(stored(&[("v1", None)], false)));
}

async fn deletes_have_conditions(catalog: &impl Catalog) {
    store(catalog, manifest("a", "one", &["v1", "v2"])).await;
    let (a, one, two) = (name("a"), digest("one"), digest("two"));
    let untag = |name, condition| catalog.delete_tag(&a, name, condition, Vec::new());
    let delete = |digest, condition| catalog.delete_manifest(&a, digest, condition, Vec::new());
    let refused = |current| Ok(DeleteOutcome::PreconditionFailed { current });
    let (v1, absent) = (tag("v1"), tag("absent"));
    assert_eq!(untag(&v1, if_match(&["two"])).await, refused(Some(one)));
    assert_eq!(untag(&v1, if_none()).await, refused(Some(one)));
    assert_eq!(untag(&absent, if_any()).await, refused(None));
    assert_eq!(untag(&absent, Condition::default()).await, Ok(DeleteOutcome::NotFound));
    let deleted = DeleteOutcome::Deleted { digest: one, tags: vec![tag("v1")] };
    assert_eq!(untag(&v1, if_match(&["one"])).await, Ok(deleted));
    assert_eq!(delete(&one, if_match(&["two"])).await, refused(Some(one)));
    assert_eq!(delete(&two, if_any()).await, refused(None));
    assert_eq!(delete(&two, Condition::default()).await, Ok(DeleteOutcome::NotFound));
    let deleted = DeleteOutcome::Deleted { digest: one, tags: vec![tag("v2")] };
    assert_eq!(delete(&one, if_any()).await, Ok(deleted));
}

/// Puts all at once and gives who was stored.
async fn winners(catalog: &impl Catalog, puts: Vec<PutManifest>) -> Vec<Digest> {
    let won = std::sync::Mutex::new(Vec::new());
    join_all(puts.into_iter().map(|put| async {
        let digest = put.digest;
        if let PutOutcome::Stored { .. } = catalog.put_manifest(put).await.unwrap() {
            won.lock().unwrap().push(digest);
        }
    }))
    .await;
    won.into_inner().unwrap()
}

async fn of_many_that_replace_one_state_one_wins(catalog: &impl Catalog) {
    store(catalog, manifest("a", "start", &["v1"])).await;
    let mut current = digest("start");
    for round in 0..20 {
        let expected = Condition { if_match: Some(Match::Digests(vec![current])), if_none_match: None };
        let puts = (0..10).map(|index| under(expected.clone(), &format!("{round} by {index}"), &["v1"]));
        let won = winners(catalog, puts.collect()).await;
        assert_eq!(won.len(), 1, "round {round}");
        assert_eq!(named(catalog, "v1").await, Some(won[0]));
        current = won[0];
    }
}

async fn of_many_that_create_a_tag_one_wins(catalog: &impl Catalog) {
    for round in 0..20 {
        let name = format!("v{round}");
        let puts = (0..10).map(|index| under(if_none(), &format!("{round} by {index}"), &[&name]));
        let won = winners(catalog, puts.collect()).await;
        assert_eq!(won.len(), 1, "round {round}");
        assert_eq!(named(catalog, &name).await, Some(won[0]));
    }
    let same = (0..10).map(|_| under(if_none(), "same", &["once"])).collect();
    assert_eq!(winners(catalog, same).await.len(), 1);
}

async fn of_many_that_may_only_create_the_first_wins_for_ever(catalog: &impl Catalog) {
    let put = |index: usize| {
        let put = manifest("a", &format!("by {index}"), &["v1"]);
        if index.is_multiple_of(2) {
            PutManifest { overwrite: false, ..put }
        } else {
            PutManifest { immutable: vec![tag("v1")], ..put }
        }
    };
    let won = winners(catalog, (0..50).map(put).collect()).await;
    assert_eq!(won.len(), 1);
    assert_eq!(winners(catalog, (0..50).map(put).collect()).await, won, "the winner may repeat itself");
    assert_eq!(named(catalog, "v1").await, Some(won[0]));
}
