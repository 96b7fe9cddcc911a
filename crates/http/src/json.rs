//! Answers in JSON and in plain text, with the headers that go with them.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Body, Response};

/// Content type of JSON.
pub const JSON: &str = "application/json";
/// Content type of plain text.
pub const TEXT: &str = "text/plain; charset=utf-8";

/// How long a request's JSON may take to arrive. What one process says to another is at most a few MiB, and those who say it give up
/// earlier; without a limit, whoever begins a body and says no more would hold a connection for ever.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// `value` as JSON under `status`. A value that cannot be serialised is a fault of ours and becomes a 500.
pub fn response(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(bytes) => with_type(status, JSON, bytes),
        Err(error) => {
            tracing::error!(%error, "an answer could not be written as JSON");
            text(StatusCode::INTERNAL_SERVER_ERROR, "the answer could not be written as JSON\n")
        }
    }
}

/// The internal form of an error: `{"error": message}`.
pub fn error(status: StatusCode, message: impl Into<String>) -> Response {
    response(status, &serde_json::json!({ "error": message.into() }))
}

/// `message` as plain text.
pub fn text(status: StatusCode, message: impl Into<Bytes>) -> Response {
    with_type(status, TEXT, message)
}

/// `bytes` under a content type. `Content-Length` is set, so that an answer to HEAD has it as well.
pub fn with_type(status: StatusCode, content_type: &'static str, bytes: impl Into<Bytes>) -> Response {
    let bytes = bytes.into();
    let len = bytes.len();
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(len));
    response
}

/// Reads a request's JSON body of at most `limit` bytes.
///
/// # Errors
/// The answer to give: 413 when the body is too long, 408 when it does not arrive within half a minute, 400 when it is not the JSON
/// that was expected.
pub async fn read<T: DeserializeOwned>(body: Body, limit: usize) -> Result<T, Response> {
    let arrived =
        tokio::time::timeout(READ_TIMEOUT, body.collect(limit)).await.map_err(|_elapsed| too_slow())?;
    let bytes = arrived.map_err(|failure| {
        let status = match failure {
            crate::BodyError::TooLong { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        };
        error(status, failure.to_string())
    })?;
    serde_json::from_slice(&bytes)
        .map_err(|failure| error(StatusCode::BAD_REQUEST, format!("invalid JSON: {failure}")))
}

/// The rest of the body may still come and must not be read as the next request, so the connection ends here.
fn too_slow() -> Response {
    let message = format!("the body did not arrive within {} seconds", READ_TIMEOUT.as_secs());
    let mut answer = error(StatusCode::REQUEST_TIMEOUT, message);
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn writes_and_reads() {
        let answer = response(StatusCode::OK, &[1, 2]);
        assert_eq!(answer.headers()[CONTENT_TYPE], JSON);
        assert_eq!(answer.headers()[CONTENT_LENGTH], "5");
        assert_eq!(read::<Vec<u8>>(answer.into_body(), 5).await.unwrap(), [1, 2]);
    }

    #[tokio::test]
    async fn bad_bodies_become_answers() {
        assert_eq!(read::<u8>("x".into(), 9).await.unwrap_err().status(), StatusCode::BAD_REQUEST);
        assert_eq!(read::<u8>("123".into(), 2).await.unwrap_err().status(), StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stops_arriving_is_given_up() {
        let (sender, body) = Body::channel(1);
        sender.send(Bytes::from_static(b"[1")).await.unwrap();
        let answer = read::<Vec<u8>>(body, 9).await.unwrap_err();
        assert_eq!(answer.status(), StatusCode::REQUEST_TIMEOUT);
        assert_eq!(answer.headers()[CONNECTION], "close");
    }
}
