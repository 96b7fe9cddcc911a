//! Who sent a request, and how: what an event and a line of the audit log say about it.
//!
//! Made only when one of the two is wanted, because it copies text out of the request's head. It never holds what the request
//! authenticated with.

use std::fmt;
use std::net::SocketAddr;

/// Tells one request from all others in events, the audit log and the answer's `X-Request-Id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId(pub u64);

impl fmt::Display for RequestId {
    /// Sixteen hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The sender of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The request.
    pub request: RequestId,
    /// The other end of the connection.
    pub address: SocketAddr,
    /// The `Host` that the client asked for; empty when it named none.
    pub host: String,
    /// The method, for example `PUT`.
    pub method: String,
    /// The client's name of itself; empty when it gave none.
    pub user_agent: String,
    /// Whom the request was made as; empty when nobody was asked.
    pub actor: String,
    /// Whether the request came over TLS.
    pub secure: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_has_one_width() {
        assert_eq!(RequestId(255).to_string(), "00000000000000ff");
        assert_eq!(RequestId(u64::MAX).to_string().len(), 16);
    }
}
