//! Answers in JSON and in plain text, with the headers that go with them.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Body, Response};

/// Content type of JSON.
pub const JSON: &str = "application/json";
/// Content type of plain text.
pub const TEXT: &str = "text/plain; charset=utf-8";

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
/// The answer to give: 413 when the body is too long, 400 when it is not the JSON that was expected.
pub async fn read<T: DeserializeOwned>(body: Body, limit: usize) -> Result<T, Response> {
    let bytes = body.collect(limit).await.map_err(|failure| {
        let status = match failure {
            crate::BodyError::TooLong { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            crate::BodyError::Aborted | crate::BodyError::Connection(_) => StatusCode::BAD_REQUEST,
        };
        error(status, failure.to_string())
    })?;
    serde_json::from_slice(&bytes)
        .map_err(|failure| error(StatusCode::BAD_REQUEST, format!("invalid JSON: {failure}")))
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
}
