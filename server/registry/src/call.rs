//! One request while it is served: its head, its query, and its body, which can fail in ways that the handlers must tell apart.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, StatusCode, header};
use shoal_http::{Body, BodyError, Request};
use shoal_oci::{ErrorCode, OciError, Query};

use crate::error::Refusal;

/// How much of an unread body is read and dropped before the answer is sent. A client that is still writing when the
/// connection closes may never see the answer (TCP resets what it had not read); manifests that are too large and chunks out
/// of order fit in here, and whoever sends more is not spared.
const DISCARD_LEN_MAX: u64 = 16 * 1024 * 1024;
/// How long that may take in all, and how long without a byte: a client that sends nothing now waits for the answer.
const DISCARD_TIME_MAX: Duration = Duration::from_secs(5);
const DISCARD_STALL_MAX: Duration = Duration::from_millis(500);

/// A request.
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
    pub(crate) query: Query,
    /// Length of the body in bytes when the client stated it.
    pub(crate) body_len: Option<u64>,
    body: Body,
    /// The body has ended, well or badly.
    ended: bool,
}

/// Why a body did not arrive whole.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyFailure {
    #[error("the body broke off")]
    Broken(#[source] BodyError),
    #[error("the body stalled for {} seconds", .0.as_secs())]
    Stalled(Duration),
    #[error("the body did not arrive within {} seconds", .0.as_secs())]
    Late(Duration),
    #[error("the body has {got} bytes where {stated} were stated")]
    Len { stated: u64, got: u64 },
}

impl Call {
    /// # Errors
    /// When the query cannot be read.
    pub(crate) fn new(request: Request) -> Result<Self, OciError> {
        let (head, body) = request.into_parts();
        let query = Query::parse(head.uri.query())?;
        let stated =
            head.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let body_len = stated.or_else(|| body.size());
        Ok(Self { method: head.method, headers: head.headers, query, body_len, body, ended: false })
    }

    /// The value of a header that may stand there once.
    ///
    /// # Errors
    /// 400 when it is not text, or stands there twice with different values.
    pub(crate) fn header(&self, name: &HeaderName) -> Result<Option<&str>, Refusal> {
        let refuse = |why: &str| {
            let message = format!("the header {name} {why}");
            Refusal::new(ErrorCode::Unsupported, message).with_status(StatusCode::BAD_REQUEST)
        };
        let mut values = self.headers.get_all(name).iter();
        let Some(first) = values.next() else { return Ok(None) };
        if values.any(|value| value != first) {
            return Err(refuse("is given twice"));
        }
        first.to_str().map(Some).map_err(|_| refuse("is not text"))
    }

    /// The next bytes of the body; `None` at its end. Nothing is lost when the future is dropped.
    pub(crate) async fn next(&mut self, stall_max: Duration) -> Result<Option<Bytes>, BodyFailure> {
        if self.ended {
            return Ok(None);
        }
        match tokio::time::timeout(stall_max, self.body.frame_data()).await {
            Ok(Some(Ok(bytes))) => Ok(Some(bytes)),
            Ok(None) => {
                self.ended = true;
                Ok(None)
            }
            Ok(Some(Err(error))) => {
                self.ended = true;
                Err(BodyFailure::Broken(error))
            }
            Err(_elapsed) => {
                self.ended = true;
                Err(BodyFailure::Stalled(stall_max))
            }
        }
    }

    /// Gives the body up because it took `time_max` and more; nothing of it is read any more.
    pub(crate) fn give_up(&mut self, time_max: Duration) -> BodyFailure {
        self.ended = true;
        BodyFailure::Late(time_max)
    }

    /// Reads what nobody asked for, within bounds, so that the client gets to see the answer. A client that waits for
    /// `100 Continue` has sent nothing and is not asked to, and what is too long anyway is not begun.
    pub(crate) async fn discard_rest(&mut self) {
        let too_long = self.body_len.is_some_and(|len| len > DISCARD_LEN_MAX);
        if self.ended || too_long || self.headers.contains_key(header::EXPECT) {
            return;
        }
        let rest = async {
            let mut len = 0;
            while let Ok(Some(bytes)) = self.next(DISCARD_STALL_MAX).await {
                len += bytes.len() as u64;
                if len > DISCARD_LEN_MAX {
                    return;
                }
            }
        };
        // Either way the answer goes out next.
        _ = tokio::time::timeout(DISCARD_TIME_MAX, rest).await;
    }
}

impl From<BodyFailure> for Refusal {
    fn from(failure: BodyFailure) -> Self {
        let refusal = Self::new(ErrorCode::SizeInvalid, failure.to_string());
        match failure {
            BodyFailure::Stalled(_) | BodyFailure::Late(_) => {
                refusal.with_status(StatusCode::REQUEST_TIMEOUT)
            }
            BodyFailure::Broken(_) | BodyFailure::Len { .. } => refusal,
        }
    }
}
