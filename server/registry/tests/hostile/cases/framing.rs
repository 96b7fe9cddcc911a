//! Messages whose end two programs would see in different places, and bytes that are no HTTP at all.

use super::{Case, MARKER};

/// A request hidden in what may be a body.
const HIDDEN: &str = "GET /v2/zqzmarker/tags/list HTTP/1.1\r\nHost: x\r\n\r\n";

fn raw(name: &str, head: &str, body: &str, accepted: &'static [u16]) -> Case {
    let head = head.replace('\n', "\r\n");
    Case::new(format!("framing: {name}"), format!("{head}\r\n\r\n{body}"), accepted).or_closed()
}

#[expect(clippy::too_many_lines, reason = "a table")]
pub(crate) fn cases() -> Vec<Case> {
    let patch = "PATCH {session} HTTP/1.1\nHost: x\n";
    // RFC 9112 §6.1: a server may go by the chunks alone, and then closes; the harness sees to it that what is hidden gets no answer.
    const CHUNKS_OR_NOTHING: &[u16] = &[202, 400];
    vec![
        raw(
            "both length and chunks",
            &format!("{patch}Content-Length: 6\nTransfer-Encoding: chunked"),
            &format!("0\r\n\r\n{HIDDEN}"),
            CHUNKS_OR_NOTHING,
        ),
        raw(
            "chunks and length",
            &format!("{patch}Transfer-Encoding: chunked\nContent-Length: 6"),
            &format!("0\r\n\r\n{HIDDEN}"),
            CHUNKS_OR_NOTHING,
        ),
        raw("two lengths", &format!("{patch}Content-Length: 3\nContent-Length: 4"), "abcd", &[400]),
        raw("two lengths on one line", &format!("{patch}Content-Length: 3, 4"), "abcd", &[400]),
        raw("a length with a sign", &format!("{patch}Content-Length: +5"), "abcde", &[400]),
        raw("a negative length", &format!("{patch}Content-Length: -1"), "abc", &[400]),
        raw("a length in hexadecimal", &format!("{patch}Content-Length: 0x5"), "abcde", &[400]),
        raw("a length of words", &format!("{patch}Content-Length: {MARKER}"), "abcde", &[400]),
        raw(
            "a length beyond 64 bits",
            &format!("{patch}Content-Length: 99999999999999999999"),
            "abcde",
            &[400],
        ),
        raw(
            "an unknown coding",
            &format!("{patch}Transfer-Encoding: xchunked"),
            "5\r\nabcde\r\n0\r\n\r\n",
            &[400, 501],
        ),
        raw(
            "chunks that are not last",
            &format!("{patch}Transfer-Encoding: chunked, gzip"),
            "5\r\nabcde\r\n0\r\n\r\n",
            &[400],
        ),
        raw("chunked and identity", &format!("{patch}Transfer-Encoding: identity"), "abcde", &[400]),
        raw("a blank before the colon", &format!("{patch}Transfer-Encoding : chunked"), "0\r\n\r\n", &[400]),
        raw(
            "a vertical tab in a coding",
            &format!("{patch}Transfer-Encoding: \u{b}chunked"),
            "0\r\n\r\n",
            &[400],
        ),
        raw("a folded header", &format!("{patch}Transfer-Encoding:\n chunked"), "0\r\n\r\n", &[400]),
        raw("a header without a colon", &format!("GET /v2/ HTTP/1.1\nHost: x\n{MARKER}"), "", &[400]),
        raw("a header without a name", &format!("GET /v2/ HTTP/1.1\nHost: x\n: {MARKER}"), "", &[400]),
        raw("a NUL in a header", &format!("GET /v2/ HTTP/1.1\nHost: x\nX-A: {MARKER}\0b"), "", &[400]),
        raw("a version that is none", "GET /v2/ HTTP/9.9\nHost: x", "", &[400, 505]),
        raw("no version", "GET /v2/", "", &[400]),
        raw("a method of signs", &format!("G@T({MARKER}) /v2/ HTTP/1.1\nHost: x"), "", &[400]),
        raw(
            "a method of 10000 letters",
            &format!("{} /v2/ HTTP/1.1\nHost: x\nConnection: close", "A".repeat(10_000)),
            "",
            &[400, 405, 414, 431],
        ),
        raw("a path with a space", &format!("GET /v2/a b/{MARKER} HTTP/1.1\nHost: x"), "", &[400]),
        raw("a path with NUL", &format!("GET /v2/\0{MARKER} HTTP/1.1\nHost: x"), "", &[400]),
        raw(
            "a path that is not ASCII",
            &format!("GET /v2/ü{MARKER}/tags/list HTTP/1.1\nHost: x\nConnection: close"),
            "",
            &[400, 404],
        ),
        raw("a path without a slash", "GET v2/ HTTP/1.1\nHost: x\nConnection: close", "", &[400, 404]),
        raw(
            "lines of LF only and a hidden header",
            "GET /v2/ HTTP/1.1\nHost: x\nConnection: close\nX: a",
            "",
            &[200, 400],
        ),
        Case::new(
            "framing: an absolute path to elsewhere",
            format!(
                "GET http://{MARKER}.example/v2/ HTTP/1.1\r\nHost: {MARKER}.example\r\nConnection: close\r\n\r\n"
            ),
            &[200, 400, 404],
        ),
        Case::new("framing: a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), &[400])
            .or_closed(),
        Case::new("framing: 64 KiB of garbage", vec![0xa5; 64 * 1024], &[400, 431]).or_closed(),
        Case::new("framing: 64 KiB of letters", MARKER.repeat(7282), &[400, 414, 431]).or_closed(),
        Case::new("framing: an SSH banner", "SSH-2.0-OpenSSH_9.9\r\n", &[400]).or_closed(),
        Case::new("framing: HTTP/2 from a distance", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", &[400, 405, 505])
            .or_closed(),
        Case::new("framing: nothing at all", "", &[400, 408]).or_closed(),
        Case::new("framing: half a request line", "GET /v2/zqz", &[400, 408]).or_closed(),
        Case::new("framing: a header that never ends", "GET /v2/ HTTP/1.1\r\nHost: x\r\nX-A: ", &[400, 408])
            .or_closed(),
        Case::new("framing: empty lines", "\r\n".repeat(20_000), &[400, 408, 431]).or_closed(),
    ]
}
