//! The name of one request across programs: a trace id of the W3C's Trace Context (`traceparent`), the caller's or our own.

use std::fmt;
use std::str::FromStr;

use http::HeaderMap;

/// The header in which a caller names its trace.
const HEADER: &str = "traceparent";

/// 16 bytes that name a trace, never all zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(u128);

impl TraceId {
    /// One that nobody else has.
    pub fn random() -> Self {
        Self(fastrand::u128(1..))
    }

    /// The caller's, when it names one that can be read, else a new one.
    pub fn of(headers: &HeaderMap) -> Self {
        let named = headers.get(HEADER).and_then(|value| value.to_str().ok()).and_then(from_parent);
        named.unwrap_or_else(Self::random)
    }

    /// The value of `traceresponse`, by which the caller learns the id: version, trace, a span of ours, no flags.
    pub fn response(self) -> String {
        format!("00-{self}-{:016x}-00", fastrand::u64(1..))
    }
}

/// The trace of `version-trace-span-flags`, with more fields behind it in versions to come.
fn from_parent(text: &str) -> Option<TraceId> {
    let mut fields = text.trim().split('-');
    let (version, trace, span) = (fields.next()?, fields.next()?, fields.next()?);
    let flags = fields.next()?;
    let hex =
        |field: &str, len: usize| field.len() == len && field.bytes().all(|byte| byte.is_ascii_hexdigit());
    let well_formed = hex(version, 2) && version != "ff" && hex(span, 16) && hex(flags, 2);
    if well_formed { trace.parse().ok() } else { None }
}

/// Not 32 hexadecimal digits, or all zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a trace id is 32 hexadecimal digits, not all zero")]
pub struct TraceIdError;

impl FromStr for TraceId {
    type Err = TraceIdError;

    fn from_str(text: &str) -> Result<Self, TraceIdError> {
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u128::from_str_radix(text, 16).ok().filter(|number| digits && *number != 0);
        number.map(Self).ok_or(TraceIdError)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_callers_name_counts_when_it_is_one() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        let headers = |value: &str| HeaderMap::from_iter([(HEADER.parse().unwrap(), value.parse().unwrap())]);
        let known = format!("00-{id}-00f067aa0ba902b7-01");
        assert_eq!(TraceId::of(&headers(&known)).to_string(), id);
        assert_eq!(TraceId::of(&headers(&format!("{known}-more"))).to_string(), id);
        let zero = format!("00-{:032}-00f067aa0ba902b7-01", 0);
        for bad in
            ["", "00", "nonsense", &zero, &known[1..], &format!("ff{}", &known[2..]), &format!("00-{id}")]
        {
            assert_ne!(TraceId::of(&headers(bad)).to_string(), id, "{bad}");
        }
        assert_eq!(TraceId::random().response().len(), 55);
    }
}
