//! The token endpoint: `GET /token` (Docker's token authentication) and `POST /token` (its OAuth2 variant).
//!
//! It is on the registry's own listener, so that a client that reaches one reaches the other. What a token is worth is decided in
//! `shoal_auth`; here is only HTTP.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use http::{HeaderValue, Method, StatusCode, header};
use shoal_auth::{Denial, Rejection, TokenRequest};
use shoal_http::{Request, Response};
use shoal_oci::ErrorCode;
use shoal_oci::media_type::JSON;

use crate::answer;
use crate::context::Context;
use crate::error::{Answer, Refusal};
use crate::gate::{self, Caller};
use crate::methods;

/// Where it is.
pub(crate) const PATH: &str = "/token";

/// The longest form in bytes: a token of an external issuer and some scopes.
const FORM_LEN_MAX: usize = 64 * 1024;
/// How long a form may take to arrive.
const FORM_TIME_MAX: Duration = Duration::from_secs(10);

/// Answers a request to [`PATH`].
pub(crate) async fn answer(cx: &Context, request: Request, peer: SocketAddr) -> Response {
    let mut response = give(cx, request, peer).await.unwrap_or_else(Refusal::into_response);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn give(cx: &Context, request: Request, peer: SocketAddr) -> Answer {
    const METHODS: &[Method] = &[Method::GET, Method::POST];
    if !METHODS.contains(request.method()) {
        return Err(methods::not_allowed(METHODS));
    }
    let guard = &cx.options.guard;
    let (request, asked) = read(request).await?;
    let caller = Caller::of(guard, &request, peer);
    let reply = match (asked, caller.credentials()) {
        (Ok(asked), Ok(credentials)) => guard.token(asked, &credentials, SystemTime::now()).await,
        (Err(rejection), _) | (_, Err(rejection)) => Err(rejection),
    };
    match reply {
        Ok(reply) => {
            tracing::debug!(principal = %reply.principal, scopes = ?reply.scopes, "token given");
            Ok(answer::json(JSON, reply.to_json(), Vec::new()))
        }
        Err(rejection) => {
            guard.report(&Denial {
                principal: None,
                address: caller.address(),
                action: "login",
                repository: None,
                reference: None,
                reason: rejection.as_str(),
            });
            Err(refusal(&rejection, guard.basic_challenge()))
        }
    }
}

/// What is asked for, and the request without its body.
async fn read(request: Request) -> Result<(Request, Result<TokenRequest, Rejection>), Refusal> {
    if request.method() == Method::GET {
        let asked = TokenRequest::from_query(request.uri().query());
        return Ok((request, asked));
    }
    let (head, body) = request.into_parts();
    let bad = |status, message: &str| Refusal::new(ErrorCode::Unsupported, message).with_status(status);
    let form = match tokio::time::timeout(FORM_TIME_MAX, body.collect(FORM_LEN_MAX)).await {
        Ok(Ok(form)) => form,
        Ok(Err(shoal_http::BodyError::TooLong { .. })) => {
            return Err(bad(StatusCode::PAYLOAD_TOO_LARGE, "the form is too long"));
        }
        Ok(Err(_)) => return Err(bad(StatusCode::BAD_REQUEST, "the form did not arrive whole")),
        Err(_elapsed) => return Err(bad(StatusCode::REQUEST_TIMEOUT, "the form did not arrive in time")),
    };
    let asked = match std::str::from_utf8(&form) {
        Ok(form) => TokenRequest::from_form(form),
        Err(_) => Err(Rejection::Malformed("the form is not UTF-8")),
    };
    Ok((Request::from_parts(head, shoal_http::Body::empty()), asked))
}

/// A request that cannot be read is 400 here: no credentials would help it.
fn refusal(rejection: &Rejection, challenge: String) -> Refusal {
    let refusal = gate::rejected(rejection, challenge);
    if matches!(rejection, Rejection::Malformed(_)) {
        return Refusal::new(ErrorCode::Unsupported, rejection.to_string())
            .with_status(StatusCode::BAD_REQUEST);
    }
    refusal
}
