//! Uploads against their rules: chunks out of order, digests that do not match, ranges that make no sense.

use super::{Case, MARKER, bare, empty, full};

pub(crate) fn cases() -> Vec<Case> {
    let wrong = empty();
    let mut cases = vec![
        Case::new("wrong digest: post", full(&format!("POST /v2/a/blobs/uploads/?digest={wrong}"), "", b"x"), &[400]),
        Case::new("wrong digest: put", full(&format!("PUT {{session}}?digest={wrong}"), "", b"x"), &[400]),
        Case::new("bad digest: post", full(&format!("POST /v2/a/blobs/uploads/?digest=sha256:{MARKER}"), "", b"x"), &[400]),
        Case::new("bad digest: put", full(&format!("PUT {{session}}?digest={MARKER}"), "", b"x"), &[400]),
        Case::new("put without a digest", full("PUT {session}", "", b"x"), &[400]),
        Case::new("put to a session of another repository",
            full(&format!("PUT /v2/b/blobs/uploads/00000000000000000000000000000000?digest={wrong}"), "", b"x"), &[404]),
        Case::new("post with a digest and a large stated length",
            format!("POST /v2/a/blobs/uploads/?digest={wrong} HTTP/1.1\r\nHost: x\r\nContent-Length: 18446744073709551615\r\n\r\nx"),
            &[400, 408, 413, 431]).or_closed(),
        Case::new("delete of a session that is none", bare(&format!("DELETE /v2/a/blobs/uploads/{MARKER}")), &[404]),
        Case::new("patch of a session that is none", full(&format!("PATCH /v2/a/blobs/uploads/{MARKER}"), "", b"x"), &[404]),
        Case::new("post of a session", full("POST {session}", "", b"x"), &[405]),
    ];
    for (what, range, accepted) in [
        ("of words", "zqzmarker", &[400, 416][..]),
        ("with a unit", "bytes 0-0/1", &[400, 416]),
        ("that is empty", "", &[400, 416]),
        ("that is reversed", "5-2", &[400, 416]),
        ("that is negative", "-1-0", &[400, 416]),
        ("that overflows", "0-18446744073709551615", &[400, 416]),
        ("beyond 64 bits", "0-99999999999999999999999", &[400, 416]),
        ("longer than the body", "0-99", &[400, 416]),
        ("shorter than the body", "0-0", &[400, 416]),
        ("that begins later", "100-102", &[416]),
        ("of hexadecimal", "0x0-0x2", &[400, 416]),
        ("of many", "0-0,1-1,2-2", &[400, 416]),
    ] {
        let accepted: &'static [u16] = accepted;
        let headers = format!("Content-Range: {range}\r\n");
        cases.push(Case::new(
            format!("chunk {what}: patch"),
            full("PATCH {session}", &headers, b"abc"),
            accepted,
        ));
        cases.push(Case::new(
            format!("chunk {what}: put"),
            full(&format!("PUT {{session}}?digest={wrong}"), &headers, b"abc"),
            accepted,
        ));
    }
    cases.push(Case::new(
        "two content ranges",
        full("PATCH {session}", "Content-Range: 0-2\r\nContent-Range: 3-5\r\n", b"abc"),
        &[400],
    ));
    cases
}
