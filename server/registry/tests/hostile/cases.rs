//! The table of hostile requests: a name, the bytes, and what may come back.

mod bodies;
mod framing;
mod headers;
mod lists;
mod manifests;
mod names;
mod uploads;

use shoal_oci::Digest;

/// Stands in every place that a client can write to. It must never come back, and never become a file.
pub(crate) const MARKER: &str = "zqzmarker";

/// One hostile request.
pub(crate) struct Case {
    pub(crate) name: String,
    /// What is sent; `{session}` stands for the path of a fresh upload session.
    pub(crate) bytes: Vec<u8>,
    /// The statuses that are right.
    pub(crate) accepted: &'static [u16],
    /// Whether the server may close without an answer: it cannot know where the request ends, or nobody reads the answer.
    pub(crate) may_close: bool,
    /// Whether the specification wants part of the request in the answer (the name in `Location`).
    pub(crate) may_echo: bool,
}

impl Case {
    pub(crate) fn new(name: impl Into<String>, bytes: impl Into<Vec<u8>>, accepted: &'static [u16]) -> Self {
        Self { name: name.into(), bytes: bytes.into(), accepted, may_close: false, may_echo: false }
    }

    pub(crate) fn or_closed(mut self) -> Self {
        self.may_close = true;
        self
    }

    pub(crate) fn or_echoed(mut self) -> Self {
        self.may_echo = true;
        self
    }
}

/// A request without a body.
pub(crate) fn bare(line: &str) -> Vec<u8> {
    format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").into_bytes()
}

/// A request with headers (each ended by CRLF) and a body.
pub(crate) fn full(line: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// The digest of nothing, which is not in the registry.
pub(crate) fn empty() -> Digest {
    Digest::sha256(b"")
}

/// Every case.
pub(crate) fn all() -> Vec<Case> {
    [
        names::cases(),
        lists::cases(),
        uploads::cases(),
        bodies::cases(),
        manifests::cases(),
        framing::cases(),
        headers::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
