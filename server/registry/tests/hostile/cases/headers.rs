//! Methods, ranges, conditions and headers that want to be believed.

use super::{Case, MARKER, bare, empty, full};

fn get(name: &str, headers: &str, accepted: &'static [u16]) -> Case {
    let known = shoal_oci::Digest::sha256(b"{}");
    Case::new(format!("header: {name}"), full(&format!("GET /v2/a/blobs/{known}"), headers, b""), accepted)
}

#[expect(clippy::too_many_lines, reason = "a table")]
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = vec![
        get("6000 ranges", &format!("Range: bytes={}\r\n", "0-0,".repeat(6000)), &[200]),
        get("a range that begins at 2^64", "Range: bytes=18446744073709551616-\r\n", &[416]),
        get("a range of words", &format!("Range: bytes={MARKER}\r\n"), &[200]),
        get("a range in another unit", &format!("Range: {MARKER}=0-1\r\n"), &[200]),
        get("a range that is reversed", "Range: bytes=5-2\r\n", &[200, 416]),
        get("a range of a negative start", "Range: bytes=--1\r\n", &[200, 416]),
        get("two ranges that differ", "Range: bytes=0-0\r\nRange: bytes=1-1\r\n", &[200, 400]),
        get("entity tags that are none", &format!("If-None-Match: {MARKER}\r\n"), &[200]),
        get("10000 entity tags", &format!("If-None-Match: {}\r\n", "\"a\",".repeat(7000)), &[200, 431]),
        get("a condition that is not ASCII", "If-None-Match: \"ü\"\r\n", &[200, 400]),
        get("a match that is none", &format!("If-Match: {MARKER}\r\n"), &[412]),
        get("40 KiB in one header", &format!("X-A: {}\r\n", MARKER.repeat(4500)), &[431]).or_closed(),
        get("2 MiB in one header", &format!("X-A: {}\r\n", MARKER.repeat(233_000)), &[431]).or_closed(),
        get("20000 headers", &"X-A: b\r\n".repeat(20_000), &[400, 431]).or_closed(),
        get("a range of the world", "Range: bytes=0-0\r\nIf-Range: \"zqzmarker\"\r\n", &[200]),
        Case::new(
            "header: a request line of 1.5 MiB",
            bare(&format!("GET /v2/{}", MARKER.repeat(175_000))),
            &[400, 414, 431],
        )
        .or_closed(),
        Case::new(
            "header: a guard that cannot be read",
            full("PUT /v2/a/manifests/known", &format!("If-Match: {MARKER}\r\n"), b"{}"),
            &[400],
        ),
        Case::new(
            "header: a guard on a delete that cannot be read",
            full("DELETE /v2/a/manifests/known", &format!("If-Match: {MARKER}\r\n"), b""),
            &[400],
        ),
        Case::new(
            "header: a content type of 8000 bytes",
            full(
                &format!("PUT /v2/a/manifests/{MARKER}"),
                &format!("Content-Type: {}\r\n", MARKER.repeat(888)),
                b"{}",
            ),
            &[400],
        ),
        Case::new(
            "header: two content types",
            full(
                &format!("PUT /v2/a/manifests/{MARKER}"),
                "Content-Type: a/b\r\nContent-Type: c/d\r\n",
                b"{}",
            ),
            &[400],
        ),
        Case::new(
            "header: forwarded from elsewhere",
            full(
                "POST /v2/a/blobs/uploads/",
                &format!(
                    "X-Forwarded-Host: {MARKER}.example\r\nX-Forwarded-Proto: https\r\nForwarded: host={MARKER}.example\r\nX-Original-URL: /{MARKER}\r\n"
                ),
                b"",
            ),
            &[202],
        ),
        Case::new(
            "header: a host from elsewhere",
            format!(
                "POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: {MARKER}.example\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            ),
            &[202, 400],
        ),
        Case::new(
            "header: another method inside",
            full("GET /v2/a/manifests/known", "X-HTTP-Method-Override: DELETE\r\n", b""),
            &[200],
        ),
        Case::new(
            "header: an upgrade",
            full("GET /v2/", "Upgrade: h2c, websocket\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n", b""),
            &[200, 400],
        ),
        Case::new(
            "header: an authorization of 20 KiB",
            full("GET /v2/", &format!("Authorization: Bearer {}\r\n", MARKER.repeat(2300)), b""),
            &[200, 401],
        ),
    ];
    for method in ["TRACE", "CONNECT", "OPTIONS", "PROPFIND", "BREW", "get", "PUT", "POST", "DELETE", "PATCH"]
    {
        let bytes = full(&format!("{method} /v2/"), &format!("X-A: {MARKER}\r\n"), b"");
        cases.push(Case::new(format!("method: {method} of the base"), bytes, &[400, 405]));
    }
    let blob = format!("/v2/a/blobs/{}", empty());
    for method in ["TRACE", "PUT", "POST", "PATCH", "OPTIONS"] {
        let bytes = full(&format!("{method} {blob}"), &format!("X-A: {MARKER}\r\n"), b"");
        cases.push(Case::new(format!("method: {method} of a blob"), bytes, &[405]));
    }
    cases.push(Case::new(
        "method: CONNECT to elsewhere",
        format!("CONNECT {MARKER}.example:443 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
        &[400, 404, 405],
    ));
    cases.push(Case::new(
        "method: OPTIONS of everything",
        "OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        &[400, 404, 405],
    ));
    cases
}
