//! What the foreign registry answers to one request, in each of its moods.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE, RETRY_AFTER,
    WWW_AUTHENTICATE,
};
use http::{HeaderName, Method, StatusCode};
use shoal_http::{Body, Request, Response};

use super::{Content, Mood, Shared};

/// Before each answer, in a slow mood.
const PAUSE: Duration = Duration::from_millis(500);
/// Bytes handed over at once, and the time between two such slices in a slow mood: 2 MB/s.
const SLICE_LEN: usize = 64 * 1024;
const SLICE_PAUSE: Duration = Duration::from_millis(32);
/// Bytes of a body before it breaks off.
const CUT_AFTER: usize = 700_000;
/// Blobs of at least this size are the ones that are missing or wrong.
const LARGE: usize = 1_000_000;
/// Where blobs are in a redirecting mood.
const ELSEWHERE: &str = "/elsewhere/";
/// Where tokens are had.
const TOKENS: &str = "/token";

pub(super) async fn answer(shared: &Shared, addr: SocketAddr, request: &Request) -> Response {
    let mood = *shared.mood();
    let path = request.uri().path();
    if path == TOKENS {
        let uses = if let Mood::Tokens(uses) = mood { uses } else { u32::MAX };
        let token = serde_json::json!({"token": shared.token(uses), "expires_in": 300});
        return with(StatusCode::OK, &[], Body::from(token.to_string()));
    }
    if mood == Mood::Slow {
        tokio::time::sleep(PAUSE).await;
    }
    let what = match mood {
        Mood::Pausing => format!("a blob: {}", path.contains("/blobs/")),
        _ => format!("{} {path}", request.method()),
    };
    let before = shared.count(&what);
    if let Some(refusal) = refusal(shared, mood, addr, request, before) {
        return refusal;
    }
    let elsewhere = path.strip_prefix(ELSEWHERE);
    let Some(name) = path.strip_prefix("/v2/").or(elsewhere) else { return status(StatusCode::NOT_FOUND) };
    if name.is_empty() {
        return status(StatusCode::OK);
    }
    let content = shared.contents().get(name).cloned();
    let Some(content) = content else { return status(StatusCode::NOT_FOUND) };
    if mood == Mood::Redirecting && elsewhere.is_none() && name.contains("/blobs/") {
        let location = format!("{ELSEWHERE}{name}");
        return with(StatusCode::TEMPORARY_REDIRECT, &[(LOCATION, location)], Body::empty());
    }
    if mood == Mood::Lacking && content.bytes.len() >= LARGE {
        return status(StatusCode::NOT_FOUND);
    }
    give(mood, request, content, before)
}

/// What is answered to a request that is not even looked into.
fn refusal(
    shared: &Shared,
    mood: Mood,
    addr: SocketAddr,
    request: &Request,
    before: u32,
) -> Option<Response> {
    let challenge = |text: String| with(StatusCode::UNAUTHORIZED, &[(WWW_AUTHENTICATE, text)], Body::empty());
    let busy = |seconds: u32| {
        let headers = [(RETRY_AFTER, seconds.to_string())];
        with(StatusCode::TOO_MANY_REQUESTS, &headers, Body::empty())
    };
    let shown = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    match mood {
        Mood::Closed => Some(challenge("Basic realm=\"upstream\"".to_owned())),
        Mood::Tokens(_) if !shared.spend(shown) => {
            Some(challenge(format!("Bearer realm=\"http://{addr}{TOKENS}\",service=\"upstream\"")))
        }
        Mood::Busy => Some(busy(30)),
        Mood::Pausing if before == 0 => Some(busy(1)),
        Mood::Broken => Some(status(StatusCode::SERVICE_UNAVAILABLE)),
        Mood::Faltering if before.is_multiple_of(2) => Some(status(StatusCode::SERVICE_UNAVAILABLE)),
        _ => None,
    }
}

/// The content, or what is asked for of it.
fn give(mood: Mood, request: &Request, content: Content, before: u32) -> Response {
    let Content { media_type, digest, mut bytes } = content;
    if mood == Mood::Lying && bytes.len() >= LARGE {
        let mut wrong = BytesMut::from(&bytes[..]);
        wrong[LARGE / 2] ^= 1;
        bytes = wrong.freeze();
    }
    let size = bytes.len();
    let mut headers = vec![
        (CONTENT_TYPE, media_type),
        (HeaderName::from_static("docker-content-digest"), digest.to_string()),
    ];
    let from = if mood == Mood::CuttingOnce { None } else { first_byte(request).filter(|from| *from < size) };
    if let Some(from) = from {
        headers.push((CONTENT_RANGE, format!("bytes {from}-{}/{size}", size - 1)));
        bytes = bytes.slice(from..);
    }
    if mood != Mood::Sizeless {
        headers.push((CONTENT_LENGTH, bytes.len().to_string()));
    }
    let status = if from.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    if request.method() == Method::HEAD {
        return with(status, &headers, Body::empty());
    }
    let cut = match mood {
        Mood::Cutting => true,
        Mood::CuttingOnce => before == 0,
        _ => false,
    };
    let (sender, body) = Body::channel(2);
    tokio::spawn(async move {
        let mut sent = 0;
        while sent < bytes.len() {
            if cut && sent >= CUT_AFTER {
                return sender.abort();
            }
            if mood == Mood::Slow {
                tokio::time::sleep(SLICE_PAUSE).await;
            }
            let slice = bytes.slice(sent..bytes.len().min(sent + SLICE_LEN));
            sent += slice.len();
            if sender.send(slice).await.is_err() {
                return;
            }
        }
        // Whoever asked may have all it wanted.
        _ = sender.finish().await;
    });
    with(status, &headers, body)
}

/// `5` of `bytes=5-`.
fn first_byte(request: &Request) -> Option<usize> {
    let range = request.headers().get(RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes=")?.split_once('-')?.0.parse().ok()
}

fn status(status: StatusCode) -> Response {
    with(status, &[], Body::from(Bytes::from_static(b"{}")))
}

fn with(status: StatusCode, headers: &[(HeaderName, String)], body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    for (name, value) in headers {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
