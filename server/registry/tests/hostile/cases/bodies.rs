//! Bodies that end early, never end, or are not what was stated. The server cannot always tell a client that is gone.

use super::{Case, empty};

pub(crate) fn cases() -> Vec<Case> {
    let digest = empty();
    let lines = [
        ("patch", "PATCH {session}".to_owned()),
        ("put", format!("PUT {{session}}?digest={digest}")),
        ("post", format!("POST /v2/a/blobs/uploads/?digest={digest}")),
        ("manifest", "PUT /v2/a/manifests/zqzmarker".to_owned()),
    ];
    let bodies: [(&str, &str, &[u8]); 9] = [
        ("stalls", "Content-Length: 100", b"abc"),
        ("never begins", "Content-Length: 100", b""),
        ("stalls, chunked", "Transfer-Encoding: chunked", b"5\r\nabcde\r\n"),
        ("stalls within a chunk", "Transfer-Encoding: chunked", b"50\r\nabcde"),
        ("has a chunk of 2^64", "Transfer-Encoding: chunked", b"ffffffffffffffffff\r\nx"),
        ("has a chunk that is not hexadecimal", "Transfer-Encoding: chunked", b"zqzmarker\r\nx\r\n0\r\n\r\n"),
        ("has a negative chunk", "Transfer-Encoding: chunked", b"-5\r\nabcde\r\n0\r\n\r\n"),
        ("has chunk extensions without end", "Transfer-Encoding: chunked", &[b'5'; 1]),
        ("lacks the line end of a chunk", "Transfer-Encoding: chunked", b"5\r\nabcdefghij\r\n0\r\n\r\n"),
    ];
    let mut cases = Vec::new();
    for (verb, line) in &lines {
        for (what, framing, body) in bodies {
            let head = format!("{line} HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n");
            let bytes = [head.as_bytes(), body].concat();
            // Chunks are kept; what is not whole is no blob and no manifest.
            cases.push(Case::new(format!("{verb}: the body {what}"), bytes, &[400, 408]).or_closed());
        }
    }
    let extensions = format!(
        "PATCH {{session}} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5;{}",
        "zqzmarker=1;".repeat(5000)
    );
    cases.push(Case::new("patch: chunk extensions of 60 KiB", extensions, &[400, 408]).or_closed());
    cases.push(
        Case::new(
            "patch: waits for a 100 that it then ignores",
            "PATCH {session} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n",
            &[400, 408, 417],
        )
        .or_closed(),
    );
    cases.push(
        Case::new(
            "get: a body that nobody asked for",
            "GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1000000\r\n\r\nabc",
            &[200, 400, 408],
        )
        .or_closed(),
    );
    cases.push(Case::new(
        "manifest: 5 GiB are stated",
        "PUT /v2/a/manifests/zqzmarker HTTP/1.1\r\nHost: x\r\nContent-Length: 5368709120\r\n\r\n{",
        &[413],
    ));
    cases
}
