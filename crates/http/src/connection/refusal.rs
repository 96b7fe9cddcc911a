//! Bodies for the refusals that hyper writes by itself.
//!
//! A request that is not HTTP never reaches a handler: hyper answers 400, 414 or 431 without a body. Clients of a registry expect
//! the errors of the OCI distribution specification ("Error Codes") in every 4xx answer. Nothing of the request is repeated: it may
//! be hostile, and the answer may be shown in a browser.

use bytes::Bytes;

/// The longest head that hyper writes by itself: a status line, three headers and a date.
const HEAD_LEN_MAX: usize = 256;

/// The full answer for a head that hyper wrote; `None` when it is not a refusal that we know.
pub(super) fn of(head: &[u8]) -> Option<Bytes> {
    if head.len() > HEAD_LEN_MAX || !head.starts_with(b"HTTP/1.") || !head.ends_with(b"\r\n\r\n") {
        return None;
    }
    let (reason, code, message) = match head.get(9..12)? {
        b"400" => ("400 Bad Request", "UNSUPPORTED", "the request is not valid HTTP"),
        b"414" => ("414 URI Too Long", "UNSUPPORTED", "the request's target is too long"),
        b"431" => ("431 Request Header Fields Too Large", "UNSUPPORTED", "the request's header is too long"),
        _ => return None,
    };
    let body = format!(r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#);
    let answer = format!(
        "HTTP/1.1 {reason}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    Some(answer.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bare_refusals_are_replaced() {
        let bare = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        let answer = String::from_utf8(of(bare).unwrap().to_vec()).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{head}");
        serde_json::from_str::<serde_json::Value>(body).unwrap();
        assert!(of(b"HTTP/1.1 200 OK\r\n\r\n").is_none());
        assert!(of(b"HTTP/1.1 400 Bad Request\r\n\r\nbody").is_none());
        assert!(of(b"").is_none());
    }
}
