//! What a notification asks for.
//!
//! Harbor's driver writes Go's field names as they stand (`Events`, `Id`, `Target`, `Repository`), a registry's webhook writes them
//! small; Kraken reads both, because Go's decoder does not look at case. So keys are looked up without case here as well.

use serde_json::Value;
use shoal_oci::{Digest, Reference, Repository};

/// Most images in one notification.
const IMAGES_MAX: usize = 100;

/// An image that is to be made ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) repository: Repository,
    pub(super) reference: Reference,
}

/// The images that a notification names. Only pushes ask for preheating; other events are passed over.
pub(super) fn wanted(document: &Value) -> Result<Vec<Wanted>, String> {
    let events = field(document, "events").and_then(Value::as_array);
    let events = events.ok_or("a notification has a list `events`; see Docker's notification format")?;
    let mut wanted = Vec::new();
    for event in events {
        let action = text(event, "action").unwrap_or_default();
        if !action.eq_ignore_ascii_case("push") {
            continue;
        }
        let target = field(event, "target").ok_or("an event has no target")?;
        let one = image(target)?;
        if !wanted.contains(&one) {
            wanted.push(one);
        }
        if wanted.len() > IMAGES_MAX {
            return Err(format!("a notification names at most {IMAGES_MAX} images"));
        }
    }
    Ok(wanted)
}

fn image(target: &Value) -> Result<Wanted, String> {
    let repository = text(target, "repository").ok_or("a target has no repository")?;
    let repository: Repository = repository.parse().map_err(|error| format!("the repository: {error}"))?;
    // The digest says more than the tag, which may have moved since.
    let reference = match (text(target, "digest"), text(target, "tag")) {
        (Some(digest), _) => {
            let digest: Digest = digest.parse().map_err(|error| format!("the digest: {error}"))?;
            Reference::Digest(digest)
        }
        (None, Some(tag)) => Reference::Tag(tag.parse().map_err(|error| format!("the tag: {error}"))?),
        (None, None) => return Err("a target has neither digest nor tag".to_owned()),
    };
    Ok(Wanted { repository, reference })
}

fn field<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let fields = value.as_object()?;
    fields
        .get(name)
        .or_else(|| fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value))
}

fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    field(value, name)?.as_str().filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn digest() -> String {
        Digest::sha256(b"m").to_string()
    }

    #[test]
    fn harbors_spelling_and_dockers_are_read() {
        let harbor = json!({"Events": [{
            "Id": "x", "TimeStamp": "2026-01-01T00:00:00Z", "Action": "push",
            "Target": {
                "MediaType": "application/vnd.docker.distribution.manifest.v2+json", "Digest": digest(),
                "Repository": "library/busybox", "Url": "https://harbor/v2/library/busybox/manifests/latest", "Tag": "latest",
            },
            "Request": null, "Actor": null,
        }]});
        let docker = json!({"events": [
            {"action": "push", "target": {"digest": digest(), "repository": "library/busybox"}},
            {"action": "push", "target": {"digest": digest(), "repository": "library/busybox", "tag": "again"}},
            {"action": "pull", "target": {}},
        ]});
        let expected =
            Wanted { repository: "library/busybox".parse().unwrap(), reference: digest().parse().unwrap() };
        assert_eq!(wanted(&harbor), Ok(vec![expected.clone()]));
        assert_eq!(wanted(&docker), Ok(vec![expected]));
        let by_tag =
            json!({"events": [{"action": "push", "target": {"repository": "a", "tag": "v1", "digest": ""}}]});
        assert_eq!(wanted(&by_tag).unwrap()[0].reference, "v1".parse().unwrap());
        assert_eq!(wanted(&json!({"events": []})), Ok(vec![]));
    }

    #[test]
    fn what_is_no_notification_is_refused() {
        let event = |target: Value| json!({"events": [{"action": "push", "target": target}]});
        for bad in [
            json!(null),
            json!([]),
            json!({"events": {}}),
            json!({"events": [{"action": "push"}]}),
            event(json!({"tag": "v1"})),
            event(json!({"repository": "a"})),
            event(json!({"repository": "../A", "tag": "v1"})),
            event(json!({"repository": "a", "digest": "sha256:12"})),
            event(json!({"repository": "a", "tag": "no tag"})),
        ] {
            assert!(wanted(&bad).is_err(), "{bad}");
        }
        let many: Vec<_> = (0..=IMAGES_MAX)
            .map(|number| json!({"action": "push", "target": {"repository": "a", "tag": format!("v{number}")}}))
            .collect();
        assert!(wanted(&json!({ "events": many })).is_err());
    }
}
