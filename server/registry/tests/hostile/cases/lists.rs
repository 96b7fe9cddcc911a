//! Queries of lists, and parameters that contradict one another.

use super::{Case, MARKER, bare, empty, full};

#[expect(clippy::too_many_lines, reason = "a table")]
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for n in [
        "-1",
        "abc",
        "1.5",
        "+1",
        "0x10",
        "",
        "100000000000000000000",
        "9223372036854775807",
        "1e9",
        "%00",
        MARKER,
    ] {
        cases.push(Case::new(format!("n={n}: tags"), bare(&format!("GET /v2/a/tags/list?n={n}")), &[400]));
        cases.push(Case::new(format!("n={n}: catalog"), bare(&format!("GET /v2/_catalog?n={n}")), &[400]));
    }
    cases.push(Case::new("n twice", bare("GET /v2/a/tags/list?n=1&n=2"), &[400]));
    cases.push(Case::new(
        "last with anything in it",
        bare(&format!("GET /v2/a/tags/list?last=%00%ff{MARKER}")),
        &[200, 400],
    ));
    cases.push(Case::new(
        "last of 8000 bytes",
        bare(&format!("GET /v2/a/tags/list?last={}", MARKER.repeat(888))),
        &[200, 400],
    ));
    cases.push(Case::new(
        "last with quotes",
        bare(&format!("GET /v2/_catalog?n=1&last='%22;--{MARKER}")),
        &[200, 400],
    ));
    cases.push(
        Case::new("tags of a repository that is none", bare(&format!("GET /v2/{MARKER}/tags/list")), &[404])
            .or_echoed(),
    );
    cases.push(Case::new("query of bad escapes", bare(&format!("GET /v2/a/tags/list?{MARKER}=%zz")), &[400]));
    cases.push(Case::new(
        "query of 10000 parameters",
        bare(&format!("GET /v2/a/tags/list?{}", "a&".repeat(10_000))),
        &[414],
    ));
    cases.push(Case::new(
        "artifact type of 8000 bytes",
        bare(&format!("GET /v2/a/referrers/{}?artifactType={}", empty(), MARKER.repeat(888))),
        &[200, 400],
    ));
    cases.push(Case::new(
        "artifact type with line breaks",
        bare(&format!("GET /v2/a/referrers/{}?artifactType=x%0d%0a{MARKER}:1", empty())),
        &[200, 400],
    ));
    cases.push(Case::new("ns as a way out", bare("GET /v2/a/manifests/known?ns=169.254.169.254"), &[200]));
    cases.push(
        Case::new(
            "ns as a file",
            bare(&format!("GET /v2/a/manifests/{MARKER}?ns=file:///etc/passwd")),
            &[400, 404],
        )
        .or_echoed(),
    );
    let (one, other) = (empty(), shoal_oci::Digest::sha256(b"x"));
    cases.push(Case::new(
        "two digests, post",
        full(&format!("POST /v2/a/blobs/uploads/?digest={one}&digest={other}"), "", b""),
        &[400],
    ));
    cases.push(Case::new(
        "two digests, put",
        full(&format!("PUT {{session}}?digest={one}&digest={other}"), "", b""),
        &[400],
    ));
    cases.push(Case::new(
        "two mounts",
        full(&format!("POST /v2/a/blobs/uploads/?mount={one}&mount={other}"), "", b""),
        &[400],
    ));
    cases.push(Case::new(
        "mount of no digest",
        full(&format!("POST /v2/a/blobs/uploads/?mount={MARKER}&from=a"), "", b""),
        &[400],
    ));
    cases.push(Case::new(
        "mount from a name that climbs",
        full(&format!("POST /v2/a/blobs/uploads/?mount={one}&from=..%2f{MARKER}"), "", b""),
        &[202, 400],
    ));
    cases.push(Case::new(
        "digest algorithm that is none",
        full(&format!("POST /v2/a/blobs/uploads/?digest-algorithm={MARKER}"), "", b""),
        &[400],
    ));
    cases.push(Case::new(
        "60 tags at once",
        full(
            &format!(
                "PUT /v2/a/manifests/{one}?{}",
                (0..60).map(|tag| format!("tag=t{tag}&")).collect::<String>()
            ),
            "",
            b"{}",
        ),
        &[400, 414],
    ));
    cases.push(Case::new(
        "tag parameter that climbs",
        full(&format!("PUT /v2/a/manifests/{one}?tag=..%2f{MARKER}"), "", b"{}"),
        &[400],
    ));
    cases
}
