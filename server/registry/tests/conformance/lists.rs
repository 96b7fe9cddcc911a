//! end-8, the catalog and the list of extensions.

use std::collections::BTreeSet;

use serde_json::json;

use crate::documents::{IMAGE, bytes, image};
use crate::talk::Talk;

async fn push_tags(talk: &Talk, repository: &str, tags: &[&str]) {
    let (document, _) = talk.push_image(repository, tags[0]).await;
    for tag in &tags[1..] {
        talk.put_manifest(format!("/v2/{repository}/manifests/{tag}"), IMAGE, &document).await.expect(201);
    }
}

fn names(reply: &crate::talk::Reply, key: &str) -> Vec<String> {
    let list = reply.json()[key].as_array().cloned().unwrap();
    list.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn end_8a_tags_come_in_byte_order_with_the_name() {
    let talk = Talk::start().await;
    push_tags(&talk, "team/app", &["b", "a", "A", "1.0", "_x", "a-1", "a.1"]).await;
    let reply = talk.get("/v2/team/app/tags/list").await;
    assert_eq!(
        reply.expect(200).json(),
        json!({"name": "team/app", "tags": ["1.0", "A", "_x", "a", "a-1", "a.1", "b"]})
    );
    assert!(reply.header("content-type").starts_with("application/json"));
    assert_eq!(reply.next(), None);
}

#[tokio::test]
async fn end_8a_a_repository_that_is_not_there_is_404() {
    let talk = Talk::start().await;
    talk.get("/v2/nowhere/tags/list").await.expect_error(404, "NAME_UNKNOWN");
}

#[tokio::test]
async fn end_8b_pages_are_followed_to_the_end() {
    let talk = Talk::start().await;
    let tags: Vec<String> = (0..25).map(|number| format!("v{number:02}")).collect();
    push_tags(&talk, "a", &tags.iter().map(String::as_str).collect::<Vec<_>>()).await;
    for n in [1, 2, 7, 24, 25, 26, 1000] {
        let (mut seen, mut next) = (Vec::new(), Some(format!("/v2/a/tags/list?n={n}")));
        while let Some(path) = next {
            let reply = talk.get(path).await;
            let page = names(reply.expect(200), "tags");
            next = reply.next();
            assert!(page.len() == n || next.is_none(), "a short page is the last");
            seen.extend(page);
        }
        assert_eq!(seen, tags, "n={n}");
    }
}

#[tokio::test]
async fn end_8b_n_0_is_an_empty_list_without_link() {
    let talk = Talk::start().await;
    push_tags(&talk, "a", &["v1", "v2"]).await;
    let reply = talk.get("/v2/a/tags/list?n=0").await;
    assert_eq!((names(reply.expect(200), "tags").len(), reply.next()), (0, None));
}

#[tokio::test]
async fn end_8b_last_is_exclusive_need_not_exist_and_works_without_n() {
    let talk = Talk::start().await;
    push_tags(&talk, "a", &["a", "c", "e"]).await;
    for (last, expected) in
        [("a", &["c", "e"][..]), ("b", &["c", "e"]), ("e", &[]), ("zz", &[]), ("", &["a", "c", "e"])]
    {
        assert_eq!(
            names(talk.get(format!("/v2/a/tags/list?last={last}")).await.expect(200), "tags"),
            expected
        );
    }
    let reply = talk.get("/v2/a/tags/list?last=a&n=1").await;
    assert_eq!(names(reply.expect(200), "tags"), ["c"]);
    assert_eq!(names(&talk.get(reply.next().unwrap()).await, "tags"), ["e"]);
}

#[tokio::test]
async fn end_8b_pages_hold_together_while_somebody_writes() {
    let talk = Talk::start().await;
    let tags: Vec<String> = (0..40).map(|number| format!("v{number:02}")).collect();
    push_tags(&talk, "a", &tags.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let document = bytes(&image(&[b"layer of v00"]));
    let (mut seen, mut next) = (Vec::new(), Some("/v2/a/tags/list?n=3".to_owned()));
    let mut round = 0;
    while let Some(path) = next {
        // One before the page, one behind it, and one that was seen is deleted.
        for tag in [format!("a{round}"), format!("w{round}")] {
            talk.put_manifest(format!("/v2/a/manifests/{tag}"), IMAGE, &document).await.expect(201);
        }
        let reply = talk.get(path).await;
        seen.extend(names(reply.expect(200), "tags"));
        talk.delete(format!("/v2/a/manifests/{}", seen[0])).await;
        next = reply.next();
        round += 1;
        assert!(round < 100, "the list does not end");
    }
    let distinct: BTreeSet<_> = seen.iter().collect();
    assert_eq!(distinct.len(), seen.len(), "a tag came twice");
    assert!(tags.iter().all(|tag| distinct.contains(tag)), "a tag was left out: {seen:?}");
    assert!(seen.is_sorted());
}

#[tokio::test]
async fn end_8b_names_that_begin_alike_are_all_listed() {
    let talk = Talk::start().await;
    let tags = ["a", "a-", "a-1", "a.", "a0", "a_", "aa", "aaa"];
    push_tags(&talk, "a", &tags).await;
    let repositories = ["a/b", "a-b", "a.b", "aa", "a/b/c", "a0"];
    for repository in repositories {
        talk.push(repository, "x").await;
    }
    let mut seen = Vec::new();
    let mut next = Some("/v2/a/tags/list?n=1".to_owned());
    while let Some(path) = next {
        let reply = talk.get(path).await;
        seen.extend(names(&reply, "tags"));
        next = reply.next();
    }
    assert_eq!(seen.iter().collect::<BTreeSet<_>>(), tags.map(str::to_owned).iter().collect());
    let mut seen = Vec::new();
    let mut next = Some("/v2/_catalog?n=2".to_owned());
    while let Some(path) = next {
        let reply = talk.get(path).await;
        seen.extend(names(&reply, "repositories"));
        next = reply.next();
    }
    let mut expected: Vec<String> =
        repositories.map(str::to_owned).into_iter().chain(["a".to_owned()]).collect();
    expected.sort();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn end_8b_a_number_that_is_none_is_400() {
    let talk = Talk::start().await;
    push_tags(&talk, "a", &["v1"]).await;
    for n in ["-1", "abc", "1.5", "100000000000000000000", "9223372036854775807", ""] {
        for list in ["a/tags/list", "_catalog"] {
            let path = format!("/v2/{list}?n={n}");
            talk.get(path).await.expect_error(400, "PAGINATION_NUMBER_INVALID");
        }
    }
}

#[tokio::test]
async fn extensions_are_listed() {
    let talk = Talk::start().await;
    for path in ["/v2/_oci/ext/discover", "/v2/team/app/_oci/ext/discover"] {
        let reply = talk.get(path).await;
        assert_eq!(reply.expect(200).json()["extensions"][0]["name"], "_oci");
    }
}
