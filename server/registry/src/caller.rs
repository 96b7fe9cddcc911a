//! Who sends a request, for those who tell of it afterwards: events and the audit log.
//!
//! The parts are at hand or cheap; the text is copied out of the request's head only when somebody wants it.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use shoal_api::caller::{Caller, RequestId};
use shoal_http::Connection;

/// Answers a change with the number under which events and the audit log know the request.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The sender of a request.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    pub(crate) request: RequestId,
    pub(crate) address: SocketAddr,
    pub(crate) secure: bool,
    /// The host of an HTTP/2 request, which has no `Host`.
    authority: Option<http::uri::Authority>,
}

impl Sender {
    pub(crate) fn new(address: SocketAddr, uri: &Uri, extensions: &http::Extensions) -> Self {
        Self {
            request: RequestId(fastrand::u64(..)),
            address,
            secure: extensions.get::<Connection>().is_some_and(|connection| connection.secure),
            authority: uri.authority().cloned(),
        }
    }

    /// The sender in words.
    pub(crate) fn caller(&self, method: &Method, headers: &HeaderMap, actor: &str) -> Caller {
        let host = text(headers, &header::HOST);
        let host = match &self.authority {
            Some(authority) if host.is_empty() => authority.as_str(),
            _ => host,
        };
        Caller {
            request: self.request,
            address: self.address,
            host: host.to_owned(),
            method: method.to_string(),
            user_agent: text(headers, &header::USER_AGENT).to_owned(),
            actor: actor.to_owned(),
            secure: self.secure,
        }
    }

    /// The value of [`REQUEST_ID`].
    pub(crate) fn request_id(&self) -> HeaderValue {
        // Hexadecimal digits are always a header.
        HeaderValue::try_from(self.request.to_string()).unwrap_or(HeaderValue::from_static("0"))
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
