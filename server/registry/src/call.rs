//! One request while it is served: its head, its query, and its body, which can fail in ways that the handlers must tell apart.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use shoal_api::caller::Caller;
use shoal_http::{Body, BodyError, Request};
use shoal_oci::{ErrorCode, OciError, Query};

use crate::caller::Sender;
use crate::context::Context;
use crate::error::{self, Refusal};
use crate::gate::Access;
use crate::pace::Pace;
use crate::room::{Crowded, Room, Taken};

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
    /// Where the request comes from.
    pub(crate) sender: Sender,
    /// Who asks.
    pub(crate) access: Access,
    /// Length of the body in bytes when the client stated it.
    pub(crate) body_len: Option<u64>,
    body: Body,
    /// Bytes of it that have arrived.
    received: u64,
    /// The body has ended, well or badly.
    ended: bool,
    /// What has arrived and waits for room.
    arrived: Option<Bytes>,
    pace: Pace,
    room: Room,
    /// Room that is held until the request ends.
    held: Option<Taken>,
}

/// Why a body did not arrive whole.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyFailure {
    #[error("the body broke off")]
    Broken(#[source] BodyError),
    #[error("the body stalled for {} seconds", .0.as_secs())]
    Stalled(Duration),
    #[error("the body came slower than {0} bytes a second")]
    Slow(u64),
    #[error("the body did not arrive within {} seconds", .0.as_secs())]
    Late(Duration),
    #[error("the body has {got} bytes where {stated} were stated")]
    Len { stated: u64, got: u64 },
    #[error("too much is being pushed at once")]
    Crowded,
}

impl Call {
    /// # Errors
    /// When the query cannot be read.
    pub(crate) fn new(cx: &Context, request: Request, peer: SocketAddr) -> Result<Self, OciError> {
        let (mut head, body) = request.into_parts();
        let query = Query::parse(head.uri.query())?;
        let sender = Sender::new(peer, &head.uri, &head.extensions);
        let stated =
            head.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let body_len = stated.or_else(|| body.size());
        Ok(Self {
            method: head.method,
            headers: head.headers,
            query,
            sender,
            access: head.extensions.remove().unwrap_or_default(),
            body_len,
            ended: body.size() == Some(0),
            body,
            received: 0,
            arrived: None,
            pace: Pace::new(cx.options.body_stall_max, cx.options.body_rate_min),
            room: cx.room.clone(),
            held: None,
        })
    }

    /// Who sent the request.
    pub(crate) fn caller(&self) -> Caller {
        self.sender.caller(&self.method, &self.headers, self.access.name())
    }

    /// Bytes of the body that have arrived.
    pub(crate) const fn received(&self) -> u64 {
        self.received
    }

    /// The value of a header that may stand there once.
    ///
    /// # Errors
    /// 400 when it is not text, or stands there twice with different values.
    pub(crate) fn header(&self, name: &HeaderName) -> Result<Option<&str>, Refusal> {
        let mut values = self.headers.get_all(name).iter();
        let Some(first) = values.next() else { return Ok(None) };
        if values.any(|value| value != first) {
            return Err(bad_header(name, "is given twice"));
        }
        first.to_str().map(Some).map_err(|_| bad_header(name, "is not text"))
    }

    /// The value of a header that is a list, which may stand on several lines (RFC 9110 §5.3).
    ///
    /// # Errors
    /// 400 when it is not text.
    pub(crate) fn list(&self, name: &HeaderName) -> Result<Option<Cow<'_, str>>, Refusal> {
        let text = |value: &HeaderValue| {
            value.to_str().map_err(|_| bad_header(name, "is not text")).map(str::to_owned)
        };
        let mut values = self.headers.get_all(name).iter();
        let Some(first) = values.next() else { return Ok(None) };
        let first_text = first.to_str().map_err(|_| bad_header(name, "is not text"))?;
        let rest: Vec<String> = values.map(text).collect::<Result<_, _>>()?;
        if rest.is_empty() {
            return Ok(Some(first_text.into()));
        }
        Ok(Some(format!("{first_text}, {}", rest.join(", ")).into()))
    }

    /// The next bytes of the body, with room for them in memory until the last copy is dropped; `None` at its end. Nothing is lost
    /// when the future is dropped.
    pub(crate) async fn next(&mut self, stall_max: Duration) -> Result<Option<Bytes>, BodyFailure> {
        if self.arrived.is_none() {
            self.arrived = self.frame(stall_max).await?;
        }
        let Some(len) = self.arrived.as_ref().map(Bytes::len) else { return Ok(None) };
        let taken = self.take(len).await?;
        Ok(self.arrived.take().map(|bytes| taken.hold(bytes)))
    }

    /// As [`Self::next`], for a body that is gathered in memory: the room is held until the request ends.
    pub(crate) async fn gather(&mut self, stall_max: Duration) -> Result<Option<Bytes>, BodyFailure> {
        if self.arrived.is_none() {
            self.arrived = self.frame(stall_max).await?;
        }
        let Some(len) = self.arrived.as_ref().map(Bytes::len) else { return Ok(None) };
        let taken = self.take(len).await?;
        match &mut self.held {
            Some(held) => held.merge(taken),
            None => self.held = Some(taken),
        }
        Ok(self.arrived.take())
    }

    async fn take(&mut self, len: usize) -> Result<Taken, BodyFailure> {
        self.room.take(len).await.map_err(|Crowded| {
            self.ended = true;
            self.arrived = None;
            BodyFailure::Crowded
        })
    }

    /// The next bytes as they come.
    async fn frame(&mut self, stall_max: Duration) -> Result<Option<Bytes>, BodyFailure> {
        if self.ended {
            return Ok(None);
        }
        if self.pace.is_too_slow() {
            self.ended = true;
            return Err(BodyFailure::Slow(self.pace.rate_min()));
        }
        let waiting = self.pace.wait();
        let outcome = tokio::time::timeout(stall_max, self.body.frame_data()).await;
        drop(waiting);
        match outcome {
            Ok(Some(Ok(bytes))) => {
                self.pace.received(bytes.len());
                self.received += bytes.len() as u64;
                Ok(Some(bytes))
            }
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
        self.arrived = None;
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
            while let Ok(Some(bytes)) = self.frame(DISCARD_STALL_MAX).await {
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

fn bad_header(name: &HeaderName, why: &str) -> Refusal {
    let message = format!("the header {name} {why}");
    Refusal::new(ErrorCode::Unsupported, message).with_status(StatusCode::BAD_REQUEST)
}

impl From<BodyFailure> for Refusal {
    fn from(failure: BodyFailure) -> Self {
        match failure {
            BodyFailure::Crowded => error::crowded(),
            BodyFailure::Stalled(_) | BodyFailure::Slow(_) | BodyFailure::Late(_) => {
                Self::new(ErrorCode::SizeInvalid, failure.to_string())
                    .with_status(StatusCode::REQUEST_TIMEOUT)
            }
            BodyFailure::Broken(_) | BodyFailure::Len { .. } => {
                Self::new(ErrorCode::SizeInvalid, failure.to_string())
            }
        }
    }
}
