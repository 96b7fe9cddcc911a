//! end-12: what refers to a manifest.

use serde_json::{Value, json};
use shoal_oci::Digest;

use crate::documents::{IMAGE, INDEX, bytes, descriptor, image, index, with};
use crate::talk::{Talk, sha512};

/// An artifact of some type that refers to `subject`.
fn artifact(subject: &Value, kind: &str, note: &str) -> Value {
    let document = with(with(image(&[]), "subject", subject.clone()), "artifactType", json!(kind));
    with(document, "annotations", json!({ "org.example.note": note }))
}

async fn push(talk: &Talk, media_type: &str, document: &Value) -> (Digest, crate::talk::Reply) {
    let bytes = bytes(document);
    let digest = Digest::sha256(&bytes);
    let reply = talk.put_manifest(format!("/v2/a/manifests/{digest}"), media_type, &bytes).await;
    reply.expect(201);
    (digest, reply)
}

async fn list(talk: &Talk, path: &str) -> Vec<Value> {
    let reply = talk.get(path).await;
    let index = reply.expect(200).json();
    assert_eq!(reply.header("content-type"), INDEX);
    assert_eq!((&index["schemaVersion"], &index["mediaType"]), (&json!(2), &json!(INDEX)));
    index["manifests"].as_array().cloned().unwrap()
}

#[tokio::test]
async fn end_12a_nothing_is_an_empty_index_and_never_404() {
    let talk = Talk::start().await;
    for (repository, digest) in [("nowhere", Digest::sha256(b"x")), ("a", sha512(b"x"))] {
        assert!(list(&talk, &format!("/v2/{repository}/referrers/{digest}")).await.is_empty());
    }
    talk.get("/v2/a/referrers/sha256:bad").await.expect_error(400, "DIGEST_INVALID");
    talk.get("/v2/a/referrers/latest").await.expect_error(400, "DIGEST_INVALID");
}

#[tokio::test]
async fn end_12a_descriptors_tell_type_artifact_type_and_annotations() {
    let talk = Talk::start().await;
    talk.push("a", "{}").await;
    let subject = descriptor(IMAGE, b"not here yet");
    let path = format!("/v2/a/referrers/{}", subject["digest"].as_str().unwrap());
    let document = artifact(&subject, "application/vnd.sbom", "one");
    let (digest, reply) = push(&talk, IMAGE, &document).await;
    assert_eq!(reply.header("oci-subject"), subject["digest"].as_str().unwrap());
    let size = bytes(&document).len();
    assert_eq!(
        list(&talk, &path).await,
        [json!({"mediaType": IMAGE, "digest": digest, "size": size, "artifactType": "application/vnd.sbom",
            "annotations": {"org.example.note": "one"}})]
    );
    // Without a type of its own, an image has that of its config.
    let untyped = with(image(&[]), "subject", subject.clone());
    let (digest, _) = push(&talk, IMAGE, &untyped).await;
    let entry = list(&talk, &path).await.into_iter().find(|entry| entry["digest"] == json!(digest)).unwrap();
    assert_eq!(entry["artifactType"], crate::documents::CONFIG);
    // An index without one has none.
    let (digest, _) = push(&talk, INDEX, &with(index(&[]), "subject", subject.clone())).await;
    let entry = list(&talk, &path).await.into_iter().find(|entry| entry["digest"] == json!(digest)).unwrap();
    assert!(entry.get("artifactType").is_none() && entry["mediaType"] == INDEX);
}

#[tokio::test]
async fn end_12b_a_filter_is_applied_and_said_to_be() {
    let talk = Talk::start().await;
    talk.push("a", "{}").await;
    let subject = descriptor(IMAGE, b"subject");
    let path = format!("/v2/a/referrers/{}", subject["digest"].as_str().unwrap());
    for note in ["1", "2"] {
        push(&talk, IMAGE, &artifact(&subject, "application/a+x", note)).await;
    }
    push(&talk, IMAGE, &artifact(&subject, "application/b", "3")).await;
    assert_eq!(list(&talk, &path).await.len(), 3);
    assert!(talk.get(&path).await.header("oci-filters-applied").is_empty());
    for (kind, count) in [("application%2Fa%2Bx", 2), ("application/b", 1), ("application/none", 0)] {
        let filtered = format!("{path}?artifactType={kind}");
        assert_eq!(list(&talk, &filtered).await.len(), count, "{kind}");
        assert_eq!(talk.get(&filtered).await.header("oci-filters-applied"), "artifactType");
    }
}

#[tokio::test]
async fn end_12b_pages_are_followed_to_the_end_with_the_filter() {
    let options = shoal_registry::RegistryOptions { page_entries_max: 3, ..Default::default() };
    let talk = Talk::with(options).await;
    talk.push("a", "{}").await;
    let subject = descriptor(IMAGE, b"subject");
    let mut expected = std::collections::BTreeSet::new();
    for note in 0..8 {
        push(&talk, IMAGE, &artifact(&subject, "application/other", &note.to_string())).await;
        let (digest, _) = push(&talk, IMAGE, &artifact(&subject, "application/a", &note.to_string())).await;
        expected.insert(digest.to_string());
    }
    let mut next =
        Some(format!("/v2/a/referrers/{}?artifactType=application%2Fa", subject["digest"].as_str().unwrap()));
    let mut seen = Vec::new();
    while let Some(path) = next {
        let reply = talk.get(path).await;
        assert_eq!(reply.header("oci-filters-applied"), "artifactType");
        seen.extend(
            reply.json()["manifests"]
                .as_array()
                .unwrap()
                .iter()
                .map(|entry| entry["digest"].as_str().unwrap().to_owned()),
        );
        next = reply.next();
    }
    assert_eq!(seen.len(), 8);
    assert_eq!(seen.into_iter().collect::<std::collections::BTreeSet<_>>(), expected);
}

#[tokio::test]
async fn end_12a_a_deleted_referrer_is_gone_at_once() {
    let talk = Talk::start().await;
    talk.push("a", "{}").await;
    let subject = descriptor(IMAGE, b"subject");
    let path = format!("/v2/a/referrers/{}", subject["digest"].as_str().unwrap());
    let (digest, _) = push(&talk, IMAGE, &artifact(&subject, "a/b", "1")).await;
    assert_eq!(list(&talk, &path).await.len(), 1);
    talk.delete(format!("/v2/a/manifests/{digest}")).await.expect(202);
    assert!(list(&talk, &path).await.is_empty());
}

#[tokio::test]
async fn end_12a_referrers_of_another_repository_are_not_shown() {
    let talk = Talk::start().await;
    talk.push("a", "{}").await;
    let subject = descriptor(IMAGE, b"subject");
    push(&talk, IMAGE, &artifact(&subject, "a/b", "1")).await;
    assert!(
        list(&talk, &format!("/v2/b/referrers/{}", subject["digest"].as_str().unwrap())).await.is_empty()
    );
}

/// "Registries MUST include preexisting image manifests that are listed in an image index tagged with the referrers tag schema and
/// have a valid subject field": a copy from a registry without the API brings such an index along.
#[tokio::test]
async fn end_12a_what_a_fallback_tag_lists_is_shown_through_the_api() {
    let talk = Talk::start().await;
    let (document, subject) = talk.push_image("a", "v1").await;
    let named = json!({"mediaType": IMAGE, "digest": subject, "size": document.len()});
    let (digest, _) = push(&talk, IMAGE, &artifact(&named, "application/vnd.signature", "1")).await;
    let size = bytes(&artifact(&named, "application/vnd.signature", "1")).len();
    let fallback = index(&[
        json!({"mediaType": IMAGE, "digest": digest, "size": size, "artifactType": "application/vnd.signature"}),
    ]);
    let tag = subject.to_string().replace(':', "-");
    talk.put_manifest(format!("/v2/a/manifests/{tag}"), INDEX, &bytes(&fallback)).await.expect(201);
    let listed = list(&talk, &format!("/v2/a/referrers/{subject}")).await;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["digest"], json!(digest));
    // The tag is an ordinary tag besides.
    assert_eq!(talk.get(format!("/v2/a/manifests/{tag}")).await.expect(200).json(), fallback);
}
