//! An event in the words of Docker's registry (distribution's package `notifications`, envelope version 2).
//!
//! What is queued is the event's own JSON, ready to be put into an envelope: however often it is delivered, its id stays the same, by
//! which a receiver knows it again.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use shoal_api::caller::Caller;
use shoal_api::events::{Event, Subject};
use shoal_oci::{Descriptor, Digest, Reference, Route};

use crate::clock;

/// Media type of an envelope.
pub(super) const ENVELOPE_TYPE: &str = "application/vnd.docker.distribution.events.v2+json";

/// What a blob's media type is when nobody has said: distribution's word for bytes.
const BLOB_TYPE: &str = "application/octet-stream";

/// The process that an event comes from.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Source {
    addr: String,
    /// Made anew at each start.
    #[serde(rename = "instanceID")]
    instance: String,
}

impl Source {
    pub(super) fn new(addr: String) -> Self {
        Self { addr, instance: random_id() }
    }
}

#[derive(Serialize)]
struct Document<'a> {
    id: String,
    timestamp: String,
    action: &'static str,
    target: Target<'a>,
    request: RequestRecord<'a>,
    actor: Actor<'a>,
    source: &'a Source,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Target<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    media_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
    /// The same as `size`, for receivers that are older than that.
    #[serde(skip_serializing_if = "Option::is_none")]
    length: Option<u64>,
    repository: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    from_repository: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    references: &'a [Descriptor],
}

#[derive(Serialize)]
struct RequestRecord<'a> {
    id: String,
    addr: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    host: &'a str,
    method: &'a str,
    useragent: &'a str,
}

#[derive(Serialize)]
struct Actor<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
}

/// The event's JSON.
pub(super) fn payload(
    event: &Event,
    caller: &Caller,
    source: &Source,
    url: Option<&str>,
    include_references: bool,
) -> Bytes {
    let document = Document {
        id: random_id(),
        timestamp: clock::now_text(),
        action: event.action.as_str(),
        target: target(event, &base(url, caller), include_references),
        request: RequestRecord {
            id: caller.request.to_string(),
            addr: caller.address.to_string(),
            host: &caller.host,
            method: &caller.method,
            useragent: &caller.user_agent,
        },
        actor: Actor { name: &caller.actor },
        source,
    };
    match serde_json::to_vec(&document) {
        Ok(bytes) => bytes.into(),
        Err(error) => {
            // Every part is text or a number.
            tracing::error!(%error, "an event could not be written as JSON");
            Bytes::from_static(b"{}")
        }
    }
}

/// The media type that an event gives.
pub(super) fn media_type(subject: &Subject) -> &str {
    match subject {
        Subject::Manifest { descriptor, .. } => &descriptor.media_type,
        Subject::Blob { .. } => BLOB_TYPE,
        Subject::Gone(_) | Subject::GoneTag(_) => "",
    }
}

fn target<'a>(event: &'a Event, base: &str, include_references: bool) -> Target<'a> {
    let repository = &event.repository;
    let mut target = Target {
        media_type: media_type(&event.subject),
        size: None,
        digest: None,
        length: None,
        repository: repository.as_str(),
        from_repository: None,
        url: None,
        tag: None,
        references: &[],
    };
    let url = |route: Route| Some(format!("{base}{}", route.to_path()));
    match &event.subject {
        Subject::Manifest { descriptor, tag, references } => {
            (target.size, target.length) = (Some(descriptor.size), Some(descriptor.size));
            target.digest = Some(descriptor.digest);
            target.tag = tag.as_ref().map(|tag| tag.as_str());
            let reference = Reference::Digest(descriptor.digest);
            target.url = url(Route::Manifest { repository: repository.clone(), reference });
            if include_references {
                target.references = references;
            }
        }
        Subject::Blob { digest, size, from } => {
            (target.size, target.length) = (Some(*size), Some(*size));
            target.digest = Some(*digest);
            target.from_repository = from.as_ref().map(|from| from.as_str());
            target.url = url(Route::Blob { repository: repository.clone(), digest: *digest });
        }
        Subject::Gone(digest) => target.digest = Some(*digest),
        Subject::GoneTag(tag) => target.tag = Some(tag.as_str()),
    }
    target
}

/// Scheme and host of URLs.
fn base(url: Option<&str>, caller: &Caller) -> String {
    match url {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None if caller.host.is_empty() => String::new(),
        None => format!("{}://{}", if caller.secure { "https" } else { "http" }, caller.host),
    }
}

/// A random UUID (RFC 9562, version 4).
fn random_id() -> String {
    let bits = fastrand::u128(..);
    let (version, variant) = (0x4_u128 << 76, 0x2_u128 << 62);
    let bits = bits & !(0xf_u128 << 76) & !(0x3_u128 << 62) | version | variant;
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// The part of a queued event by which an endpoint decides whether it wants it.
#[derive(Deserialize)]
pub(super) struct Label {
    #[serde(default)]
    pub(super) action: String,
    pub(super) target: TargetLabel,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TargetLabel {
    #[serde(default)]
    pub(super) media_type: String,
    #[serde(default)]
    pub(super) repository: String,
}

/// The body of a post: the events as they were queued, byte for byte. `None` when one of them is not JSON, so that nobody could read
/// the post.
pub(super) fn envelope(payloads: &[Bytes]) -> Option<Bytes> {
    let mut body = b"{\"events\":[".to_vec();
    for (index, payload) in payloads.iter().enumerate() {
        serde_json::from_slice::<serde::de::IgnoredAny>(payload).ok()?;
        if index > 0 {
            body.push(b',');
        }
        body.extend_from_slice(payload);
    }
    body.extend_from_slice(b"]}");
    Some(body.into())
}

#[cfg(test)]
mod tests {
    use shoal_api::caller::RequestId;
    use shoal_api::events::Action;

    use super::*;

    fn caller() -> Caller {
        Caller {
            request: RequestId(7),
            address: ([10, 0, 0, 9], 4711).into(),
            host: "registry.example.com:5000".into(),
            method: "PUT".into(),
            user_agent: "docker/27 \"x\"".into(),
            actor: "ci".into(),
            secure: true,
        }
    }

    fn written(event: &Event, url: Option<&str>, include_references: bool) -> serde_json::Value {
        let source = Source::new("server-1:15000".into());
        let bytes = payload(event, &caller(), &source, url, include_references);
        serde_json::from_slice(&bytes).unwrap()
    }

    #[test]
    fn a_manifest_is_told_as_distribution_tells_it() {
        let digest = Digest::sha256(b"m");
        let event = Event {
            action: Action::Push,
            repository: "team/app".parse().unwrap(),
            subject: Subject::Manifest {
                descriptor: Descriptor::new("application/vnd.oci.image.manifest.v1+json", digest, 11),
                tag: Some("v1".parse().unwrap()),
                references: vec![Descriptor::new("x/y", Digest::sha256(b"l"), 3)],
            },
        };
        let json = written(&event, None, false);
        let url = format!("https://registry.example.com:5000/v2/team/app/manifests/{digest}");
        let target = serde_json::json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 11, "length": 11, "digest": digest,
            "repository": "team/app", "url": url, "tag": "v1",
        });
        assert_eq!(json["target"], target);
        let request = serde_json::json!({
            "id": "0000000000000007", "addr": "10.0.0.9:4711", "host": "registry.example.com:5000", "method": "PUT",
            "useragent": "docker/27 \"x\"",
        });
        assert_eq!(json["request"], request);
        assert_eq!((&json["actor"]["name"], &json["action"]), (&"ci".into(), &"push".into()));
        assert_eq!(json["source"]["addr"], "server-1:15000");
        assert_eq!(json["id"].as_str().unwrap().len(), 36);
        assert!(json["timestamp"].as_str().unwrap().ends_with('Z'));
        let with = written(&event, Some("https://public.example.com/"), true);
        assert_eq!(with["target"]["references"][0]["size"], 3);
        assert!(with["target"]["url"].as_str().unwrap().starts_with("https://public.example.com/v2/"));
    }

    #[test]
    fn what_is_gone_has_an_address_and_no_more() {
        let digest = Digest::sha256(b"b");
        let event = |subject| Event { action: Action::Delete, repository: "a".parse().unwrap(), subject };
        let gone = written(&event(Subject::Gone(digest)), None, false);
        assert_eq!(gone["target"], serde_json::json!({"digest": digest, "repository": "a"}));
        let tag = written(&event(Subject::GoneTag("v1".parse().unwrap())), None, false);
        assert_eq!(tag["target"], serde_json::json!({"tag": "v1", "repository": "a"}));
    }

    #[test]
    fn a_mount_names_where_the_blob_came_from() {
        let subject =
            Subject::Blob { digest: Digest::sha256(b"b"), size: 1, from: Some("base/os".parse().unwrap()) };
        let event = Event { action: Action::Mount, repository: "a".parse().unwrap(), subject };
        let json = written(&event, None, false);
        assert_eq!(json["target"]["fromRepository"], "base/os");
        assert_eq!(json["target"]["mediaType"], "application/octet-stream");
    }

    #[test]
    fn an_envelope_holds_events_as_they_were_queued() {
        let one = Bytes::from_static(br#"{"id":"1","n":1.50}"#);
        let body = envelope(&[one.clone(), one]).unwrap();
        assert_eq!(body, r#"{"events":[{"id":"1","n":1.50},{"id":"1","n":1.50}]}"#);
        assert!(envelope(&[Bytes::from_static(b"{")]).is_none());
    }

    #[test]
    fn identifiers_are_random_uuids() {
        let (one, other) = (random_id(), random_id());
        assert_ne!(one, other);
        assert_eq!((one.len(), &one[14..15]), (36, "4"));
        assert!(matches!(&one[19..20], "8" | "9" | "a" | "b"));
    }
}
