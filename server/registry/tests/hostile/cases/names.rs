//! Names, tags, digests and session identifiers outside their grammar: traversal, encodings, lengths.

use super::{Case, MARKER, bare, empty};

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (what, name) in bad_names() {
        cases.push(Case::new(
            format!("name {what}: pull"),
            bare(&format!("GET /v2/{name}/manifests/v1")),
            &[400, 404],
        ));
        cases.push(Case::new(
            format!("name {what}: push"),
            bare(&format!("POST /v2/{name}/blobs/uploads/")),
            &[400, 404],
        ));
    }
    for (what, tag) in bad_tags() {
        cases.push(Case::new(
            format!("tag {what}"),
            bare(&format!("GET /v2/a/manifests/{tag}")),
            &[400, 404],
        ));
    }
    for (what, digest) in bad_digests() {
        cases.push(Case::new(
            format!("digest {what}: blob"),
            bare(&format!("GET /v2/a/blobs/{digest}")),
            &[400, 404],
        ));
        cases.push(Case::new(
            format!("digest {what}: referrers"),
            bare(&format!("GET /v2/a/referrers/{digest}")),
            &[400, 404],
        ));
    }
    for (what, id) in bad_sessions() {
        cases.push(Case::new(
            format!("session {what}"),
            bare(&format!("GET /v2/a/blobs/uploads/{id}")),
            &[400, 404],
        ));
    }
    cases.push(
        Case::new("path of 40 KiB", bare(&format!("GET /v2/{}", MARKER.repeat(4500))), &[404, 414, 431])
            .or_closed(),
    );
    cases.push(Case::new("path that names nothing", bare(&format!("GET /{MARKER}/x")), &[404]));
    cases.push(Case::new("encoded v2", bare("GET /%76%32/"), &[404]));
    cases.push(Case::new(
        "blob of a repository that has none",
        bare(&format!("GET /v2/{MARKER}/blobs/{}", empty())),
        &[404],
    ));
    cases
}

fn bad_names() -> Vec<(&'static str, String)> {
    vec![
        ("in upper case", "ZQZMARKER".to_owned()),
        ("that climbs", format!("a/../../{MARKER}")),
        ("that climbs encoded", format!("a%2f..%2f..%2f{MARKER}")),
        ("that climbs encoded twice", format!("a%252f..%252f{MARKER}")),
        ("with dots encoded", format!("%2e%2e/{MARKER}")),
        ("with a backslash", format!("a\\..\\{MARKER}")),
        ("with NUL encoded", format!("{MARKER}%00")),
        ("with an empty segment", format!("a//{MARKER}")),
        ("that begins with a slash", format!("/{MARKER}")),
        ("that is empty", String::new()),
        ("of a dot", ".".to_owned()),
        ("with three underscores", format!("{MARKER}___a")),
        ("of 256 bytes", format!("{MARKER}{}", "a".repeat(247))),
        ("of 3000 bytes", format!("{MARKER}{}", "a".repeat(2991))),
        ("of 500 segments", format!("{MARKER}{}", "/a".repeat(500))),
        ("with an extension's word", format!("_{MARKER}/x")),
        ("with an overlong encoding", format!("%c0%ae%c0%ae/{MARKER}")),
    ]
}

fn bad_tags() -> Vec<(&'static str, String)> {
    vec![
        ("that begins with a dot", format!(".{MARKER}")),
        ("that begins with a dash", format!("-{MARKER}")),
        ("of 129 bytes", format!("{MARKER}{}", "a".repeat(120))),
        ("that climbs", "..".to_owned()),
        ("that climbs encoded", format!("..%2f{MARKER}")),
        ("with NUL encoded", format!("{MARKER}%00")),
        ("with a line break encoded", format!("{MARKER}%0d%0aSet-Cookie:%20x")),
        ("of markup", format!("%3Cscript%3E{MARKER}")),
        ("that is empty", String::new()),
    ]
}

fn bad_digests() -> Vec<(&'static str, String)> {
    let hex = "0".repeat(64);
    vec![
        ("that is none", format!("sha256:{MARKER}")),
        ("of an unknown algorithm", format!("{MARKER}:{hex}")),
        ("in upper case", format!("sha256:{}", "A".repeat(64))),
        ("that climbs", format!("sha256:../../{MARKER}")),
        ("that climbs encoded", format!("sha256:..%2f..%2f{MARKER}")),
        ("without a hash", "sha256:".to_owned()),
        ("without an algorithm", format!(":{hex}")),
        ("with a sign", format!("sha256:+{}", "0".repeat(63))),
        ("of sha512 with the length of sha256", format!("sha512:{hex}")),
        ("of 8000 bytes", format!("sha256:{MARKER}{}", "0".repeat(8000))),
    ]
}

fn bad_sessions() -> Vec<(&'static str, String)> {
    vec![
        ("that climbs", format!("../../{MARKER}")),
        ("that climbs encoded", format!("..%2f..%2f{MARKER}")),
        ("of dots", "..".to_owned()),
        ("with NUL encoded", format!("{MARKER}%00")),
        ("that was never given", MARKER.to_owned()),
        ("of 1000 bytes", MARKER.repeat(111)),
        ("of another repository's form", "00000000-0000-0000-0000-000000000000".to_owned()),
    ]
}
