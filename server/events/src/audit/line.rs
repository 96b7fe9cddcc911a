//! A record as one line: JSON in ASCII, so that nothing that a client sent can end the line, move a cursor or turn text around.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;
use shoal_api::audit::AuditRecord;
use shoal_api::caller::RequestId;

use crate::clock;

/// Longest text of a client in a line, in characters. Longer text is cut; nothing that identifies content is as long.
const TEXT_LEN_MAX: usize = 512;

/// Stands for a request whose number is not known where the record was made.
const UNKNOWN: RequestId = RequestId(0);

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<String>,
    actor: String,
    address: String,
    secure: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    method: &'a str,
    #[serde(skip_serializing_if = "String::is_empty")]
    host: String,
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    repository: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<&'a str>,
    bytes: u64,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    denied: Option<&'a str>,
    duration_ms: f64,
    #[serde(skip_serializing_if = "String::is_empty")]
    user_agent: String,
}

#[derive(Serialize)]
struct Gap {
    time: String,
    action: &'static str,
    lost: u64,
}

/// The line of a record, with its line end.
pub(super) fn of(record: &AuditRecord) -> String {
    let caller = &record.caller;
    ascii(&Line {
        time: clock::now_text(),
        request: (caller.request != UNKNOWN).then(|| caller.request.to_string()),
        actor: cut(&caller.actor),
        address: caller.address.to_string(),
        secure: caller.secure,
        method: &caller.method,
        host: cut(&caller.host),
        action: record.action.as_str(),
        repository: record.repository.as_deref().map(cut),
        reference: record.reference.as_deref().map(cut),
        digest: record.digest.as_deref(),
        bytes: record.bytes,
        status: record.status,
        denied: record.denied.as_deref(),
        duration_ms: millis(record.duration),
        user_agent: cut(&caller.user_agent),
    })
}

/// The line that stands for records that could not be written.
pub(super) fn gap(lost: u64) -> String {
    ascii(&Gap { time: clock::now_text(), action: "gap", lost })
}

fn cut(text: &str) -> String {
    text.chars().take(TEXT_LEN_MAX).collect()
}

/// Milliseconds with three digits behind the point.
fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

fn ascii(value: &impl Serialize) -> String {
    // Text and numbers can always be written.
    let json = serde_json::to_string(value).unwrap_or_default();
    let mut line = String::with_capacity(json.len() + 1);
    for character in json.chars() {
        if matches!(character, ' '..='~') {
            line.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                _ = write!(line, "\\u{unit:04x}");
            }
        }
    }
    line.push('\n');
    line
}
