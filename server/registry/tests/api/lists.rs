//! Tags, catalog and referrers, and how they are paged.

use serde_json::{Value, json};
use shoal_oci::Digest;
use shoal_registry::RegistryOptions;
use shoal_store::Options;

use crate::images::{CONFIG, OCI_INDEX, OCI_MANIFEST, descriptor, document, image};
use crate::world::{Reply, World};

/// The URL in a `Link` header, which must be relative.
fn next(reply: &Reply) -> Option<String> {
    let link = reply.headers.get("link")?.to_str().unwrap();
    let url = link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap();
    assert!(url.starts_with("/v2/"), "{link}");
    Some(url.to_owned())
}

/// The entries of every page from `path` on.
async fn all(world: &World, path: &str, key: &str) -> (Vec<Value>, usize) {
    let (mut entries, mut pages, mut path) = (Vec::new(), 0, Some(path.to_owned()));
    while let Some(url) = path {
        let reply = world.get(&url).await;
        let page = reply.expect(200).json()[key].as_array().unwrap().clone();
        assert!(!page.is_empty() || pages == 0, "an empty page after a Link");
        entries.extend(page);
        pages += 1;
        assert!(pages <= 20, "the pages do not end");
        path = next(&reply);
    }
    (entries, pages)
}

async fn world_with_tags(tags: &[&str]) -> World {
    let world = World::new();
    let (bytes, _) = world.push_image("team/app", tags[0]).await;
    for tag in &tags[1..] {
        world.put_manifest(format!("/v2/team/app/manifests/{tag}"), OCI_MANIFEST, &bytes).await.expect(201);
    }
    world
}

#[tokio::test]
async fn tags_are_listed_in_order_and_in_pages() {
    let world = world_with_tags(&["v2", "v1", "Beta", "latest", "alpha"]).await;
    let sorted = json!(["Beta", "alpha", "latest", "v1", "v2"]);
    let reply = world.get("/v2/team/app/tags/list").await;
    assert_eq!(reply.expect(200).json(), json!({"name": "team/app", "tags": sorted}));
    assert_eq!(reply.header("content-type"), "application/json");
    assert_eq!(next(&reply), None);
    for n in 1..=6 {
        let (tags, pages) = all(&world, &format!("/v2/team/app/tags/list?n={n}"), "tags").await;
        assert_eq!(Value::from(tags), sorted);
        assert_eq!(pages, 5_usize.div_ceil(n));
    }
    let first = world.get("/v2/team/app/tags/list?n=2").await;
    assert_eq!(next(&first).unwrap(), "/v2/team/app/tags/list?n=2&last=alpha");
}

#[tokio::test]
async fn n_zero_and_last_without_n() {
    let world = world_with_tags(&["a", "b", "d"]).await;
    let none = world.get("/v2/team/app/tags/list?n=0").await;
    assert_eq!(none.expect(200).json()["tags"], json!([]));
    assert_eq!(next(&none), None);
    for (last, rest) in
        [("a", json!(["b", "d"])), ("c", json!(["d"])), ("d", json!([])), ("", json!(["a", "b", "d"]))]
    {
        let reply = world.get(format!("/v2/team/app/tags/list?last={last}")).await;
        assert_eq!(reply.expect(200).json()["tags"], rest, "{last}");
    }
}

#[tokio::test]
async fn an_unknown_repository_has_no_tag_list() {
    let world = World::new();
    world.get("/v2/nothing/here/tags/list").await.expect_error(404, "NAME_UNKNOWN");
}

#[tokio::test]
async fn page_numbers_that_are_none_are_refused() {
    let world = world_with_tags(&["a"]).await;
    for path in ["/v2/team/app/tags/list", "/v2/_catalog"] {
        for n in ["-1", "abc", "", "1.5", "%31%00", "100000000000000000000", "9223372036854775807"] {
            let reply = world.get(format!("{path}?n={n}")).await;
            reply.expect_error(400, "PAGINATION_NUMBER_INVALID");
        }
        world.get(format!("{path}?n=1&n=2")).await.expect_error(400, "PAGINATION_NUMBER_INVALID");
        world.get(format!("{path}?n=1000000")).await.expect(200);
    }
}

#[tokio::test]
async fn a_page_has_a_limit_of_its_own() {
    let options = RegistryOptions { page_entries_max: 2, ..RegistryOptions::default() };
    let world = World::with(Options::durable(), options);
    for repository in ["b", "a/x", "c", "a"] {
        world.push_image(repository, "v1").await;
    }
    for path in ["/v2/_catalog", "/v2/_catalog?n=1000"] {
        let (names, pages) = all(&world, path, "repositories").await;
        assert_eq!((Value::from(names), pages), (json!(["a", "a/x", "b", "c"]), 2));
    }
    assert_eq!(world.get("/v2/_catalog?n=0").await.json()["repositories"], json!([]));
    assert_eq!(world.get("/v2/_catalog?last=a%2Fx").await.json()["repositories"], json!(["b", "c"]));
}

/// An artifact about `subject`; its digest.
async fn attach(world: &World, subject: &Value, artifact_type: Option<&str>, note: &str) -> Digest {
    let mut artifact = image(b"{}", &[]);
    artifact["subject"] = subject.clone();
    artifact["annotations"] = json!({"note": note});
    if let Some(artifact_type) = artifact_type {
        artifact["artifactType"] = artifact_type.into();
    }
    let bytes = document(&artifact);
    let digest = Digest::sha256(&bytes);
    let reply = world.put_manifest(format!("/v2/team/app/manifests/{digest}"), OCI_MANIFEST, &bytes).await;
    reply.expect(201);
    assert_eq!(reply.header("oci-subject"), subject["digest"].as_str().unwrap());
    digest
}

#[tokio::test]
async fn referrers_are_an_index_always() {
    let world = World::new();
    let path = format!("/v2/never/seen/referrers/{}", Digest::sha256(b"nothing"));
    for path in [path.clone(), format!("{path}?artifactType=a/b")] {
        let reply = world.get(&path).await;
        assert_eq!(
            reply.expect(200).json(),
            json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []})
        );
        assert_eq!(reply.header("content-type"), OCI_INDEX);
        assert_eq!(reply.header("oci-filters-applied"), if path.contains('?') { "artifactType" } else { "" });
        world.head(&path).await.expect(200);
    }
    world.get("/v2/a/referrers/sha256:bad").await.expect_error(400, "DIGEST_INVALID");
    world.get("/v2/a/referrers/latest").await.expect_error(400, "DIGEST_INVALID");
}

#[tokio::test]
async fn referrers_carry_type_and_annotations_and_can_be_filtered() {
    let world = World::new();
    let (bytes, digest) = world.push_image("team/app", "v1").await;
    world.push("team/app", "{}").await;
    let subject = descriptor(OCI_MANIFEST, &bytes);
    let signature = attach(&world, &subject, Some("application/vnd.example.signature"), "signed").await;
    let plain = attach(&world, &subject, None, "typed by its config").await;
    let path = format!("/v2/team/app/referrers/{digest}");
    let listed = world.get(&path).await.expect(200).json();
    let find = |digest: &Digest| {
        let list = listed["manifests"].as_array().unwrap();
        list.iter().find(|entry| entry["digest"] == digest.to_string()).unwrap().clone()
    };
    assert_eq!(listed["manifests"].as_array().unwrap().len(), 2);
    assert_eq!(find(&signature)["artifactType"], "application/vnd.example.signature");
    assert_eq!(find(&signature)["annotations"], json!({"note": "signed"}));
    assert_eq!(find(&signature)["mediaType"], OCI_MANIFEST);
    assert_eq!(find(&plain)["artifactType"], CONFIG);
    let filtered = world.get(format!("{path}?artifactType=application%2Fvnd.example.signature")).await;
    assert_eq!(filtered.header("oci-filters-applied"), "artifactType");
    assert_eq!(filtered.json()["manifests"], json!([find(&signature)]));
    let size = world.get(format!("/v2/team/app/manifests/{signature}")).await.body().len();
    assert_eq!(find(&signature)["size"], size);
    world.delete(format!("/v2/team/app/manifests/{signature}")).await.expect(202);
    assert_eq!(world.get(&path).await.json()["manifests"], json!([find(&plain)]));
    // Referrers belong to a repository.
    assert_eq!(world.get(format!("/v2/other/referrers/{digest}")).await.json()["manifests"], json!([]));
}

#[tokio::test]
async fn referrers_come_in_pages_and_keep_their_filter() {
    let options = RegistryOptions { page_entries_max: 2, ..RegistryOptions::default() };
    let world = World::with(Options::durable(), options);
    world.push("team/app", "{}").await;
    let subject = descriptor(OCI_MANIFEST, b"not here yet");
    for index in 0..5 {
        attach(&world, &subject, Some("a/b+c"), &format!("{index}")).await;
        attach(&world, &subject, Some("x/y"), &format!("{index}")).await;
    }
    let path =
        format!("/v2/team/app/referrers/{}?artifactType=a%2Fb%2Bc", subject["digest"].as_str().unwrap());
    let (entries, pages) = all(&world, &path, "manifests").await;
    assert_eq!((entries.len(), pages), (5, 3));
    assert!(entries.iter().all(|entry| entry["artifactType"] == "a/b+c"));
}
