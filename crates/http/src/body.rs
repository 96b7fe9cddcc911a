//! Bodies of requests and responses, in both directions.
//!
//! A streamed body ends well only when its producer says so ([`BodySender::finish`]). A producer that fails, panics or is dropped
//! cuts the connection instead, so the other side sees a broken body and never a short one that looks whole.

mod file;

use std::fs::File;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::mpsc;

use file::FilePart;

/// A body.
#[derive(Debug)]
pub struct Body(Kind);

#[derive(Debug)]
enum Kind {
    /// Everything at hand; `None` when it was read or there never was anything.
    Full(Option<Bytes>),
    /// Chunks from a [`BodySender`].
    Channel(Channel),
    /// From the network.
    Incoming(Incoming),
    /// From a file.
    File(FilePart),
}

#[derive(Debug)]
struct Channel {
    parts: mpsc::Receiver<Part>,
    /// What was received and is not read yet.
    next: Option<Part>,
    end: End,
    /// At most so much of a file is read at once.
    block_len: Option<usize>,
}

/// Whether more comes through a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    NotYet,
    /// Nothing more, and nothing more to say.
    Good,
    /// Nothing more, which the reader has not been told.
    Cut,
}

#[derive(Debug)]
enum Part {
    Chunk(Bytes),
    File(FilePart),
    Finish,
}

/// Why a body could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The producer gave up. The rest does not exist; ask again.
    #[error("the body was cut short by its producer")]
    Aborted,
    /// The body is longer than the caller wants to hold.
    #[error("the body is longer than the limit of {limit} bytes")]
    TooLong {
        /// The caller's limit in bytes.
        limit: usize,
    },
    /// The connection broke while the body was read.
    #[error("the connection broke inside the body: {0}")]
    Connection(#[source] hyper::Error),
    /// The file behind the body cannot be read.
    #[error("the file behind the body cannot be read: {0}")]
    File(#[source] io::Error),
    /// The file behind the body is shorter than was promised: it was truncated meanwhile.
    #[error("the file behind the body ends {missing} bytes too early")]
    FileEnded {
        /// How many bytes are missing.
        missing: u64,
    },
}

/// The other side of the body is gone: nobody reads what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody reads this body any more")]
pub struct Closed;

/// The producer's end of a streamed body.
#[derive(Debug)]
pub struct BodySender(mpsc::Sender<Part>);

impl BodySender {
    /// Hands over the next bytes; waits while the channel is full.
    ///
    /// # Errors
    /// [`Closed`] when the reader is gone (the client disconnected).
    pub async fn send(&self, chunk: Bytes) -> Result<(), Closed> {
        self.0.send(Part::Chunk(chunk)).await.map_err(|_| Closed)
    }

    /// Hands over the next bytes, which are the `len` bytes of `file` from `offset` on; they are sent as those of [`Body::file`].
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn send_file(&self, file: Arc<File>, offset: u64, len: u64) -> Result<(), Closed> {
        self.0.send(Part::File(FilePart::new(file, offset, len))).await.map_err(|_| Closed)
    }

    /// Ends the body well. With a `Content-Length` the reader stops by itself after the last byte, so an error here is no failure.
    ///
    /// # Errors
    /// [`Closed`] when the reader is gone.
    pub async fn finish(self) -> Result<(), Closed> {
        self.0.send(Part::Finish).await.map_err(|_| Closed)
    }

    /// Cuts the body: the connection breaks after what was sent before. The same happens when the sender is dropped.
    pub fn abort(self) {
        drop(self);
    }

    /// Returns when the reader is gone.
    pub async fn closed(&self) {
        self.0.closed().await;
    }
}

impl Body {
    /// A body of no bytes.
    pub const fn empty() -> Self {
        Self(Kind::Full(None))
    }

    /// A body that is produced while it is read. At most `capacity` chunks (at least 1) wait between the two, so the bytes held
    /// are `capacity` times the producer's chunk. Set `Content-Length` when the size is known; otherwise it is sent chunked.
    pub fn channel(capacity: usize) -> (BodySender, Self) {
        let (sender, parts) = mpsc::channel(capacity.max(1));
        (BodySender(sender), Self(Kind::Channel(Channel::new(parts))))
    }

    /// The `len` bytes of `file` from `offset` on. A plain HTTP/1.1 connection sends them from the page cache without copying;
    /// everywhere else they are read in blocks. A file that ends early or cannot be read cuts the connection.
    pub fn file(file: Arc<File>, offset: u64, len: u64) -> Self {
        Self(Kind::File(FilePart::new(file, offset, len)))
    }

    /// The next bytes, `None` at the end. Trailers are skipped. Cancel-safe.
    pub async fn frame_data(&mut self) -> Option<Result<Bytes, BodyError>> {
        loop {
            let frame = std::future::poll_fn(|cx| Pin::new(&mut *self).poll_frame(cx)).await?;
            match frame.map(Frame::into_data) {
                Ok(Ok(data)) => return Some(Ok(data)),
                Ok(Err(_trailers)) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// The whole body.
    ///
    /// # Errors
    /// [`BodyError::TooLong`] as soon as it is known to exceed `limit` bytes, before they are held; the others when it breaks.
    pub async fn collect(self, limit: usize) -> Result<Bytes, BodyError> {
        self.collect_telling(limit, |_| {}).await
    }

    /// As [`Self::collect`]; `came` is told the length of each part as it comes.
    ///
    /// # Errors
    /// As [`Self::collect`].
    pub async fn collect_telling(
        mut self,
        limit: usize,
        mut came: impl FnMut(usize) + Send,
    ) -> Result<Bytes, BodyError> {
        let too_long = BodyError::TooLong { limit };
        if HttpBody::size_hint(&self).lower() > limit as u64 {
            return Err(too_long);
        }
        let Some(first) = self.frame_data().await.transpose()? else { return Ok(Bytes::new()) };
        came(first.len());
        let mut whole = BytesMut::from(first);
        while let Some(data) = self.frame_data().await.transpose()? {
            if whole.len() + data.len() > limit {
                return Err(too_long);
            }
            came(data.len());
            whole.extend_from_slice(&data);
        }
        if whole.len() > limit { Err(too_long) } else { Ok(whole.freeze()) }
    }

    /// Whether it is produced while it is read, see [`Self::channel`].
    pub const fn is_streamed(&self) -> bool {
        matches!(self.0, Kind::Channel(_))
    }

    /// The size in bytes when it is known beforehand.
    pub fn size(&self) -> Option<u64> {
        HttpBody::size_hint(self).exact()
    }

    /// Ready when it is known what comes next, as far as [`Self::take_file`] has to know.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            Kind::Channel(channel) => channel.poll_next(cx),
            Kind::Full(_) | Kind::Incoming(_) | Kind::File(_) => Poll::Ready(()),
        }
    }

    /// The file, offset and length of what comes next, when that is an untouched part of a file of at least `len_min` bytes. The body goes
    /// on behind it.
    pub(crate) fn take_file(&mut self, len_min: u64) -> Option<(Arc<File>, u64, usize)> {
        match &mut self.0 {
            Kind::File(part) => {
                let found = part.untouched(len_min)?;
                self.0 = Kind::Full(None);
                Some(found)
            }
            Kind::Channel(channel) => {
                let Some(Part::File(part)) = &channel.next else { return None };
                let found = part.untouched(len_min)?;
                channel.next = None;
                Some(found)
            }
            Kind::Full(_) | Kind::Incoming(_) => None,
        }
    }

    /// Reads at most `block_len` bytes of a file at once.
    pub(crate) fn read_files_by(&mut self, block_len: usize) {
        match &mut self.0 {
            Kind::File(part) => part.block_len = block_len,
            Kind::Channel(channel) => channel.block_len = Some(block_len),
            Kind::Full(_) | Kind::Incoming(_) => {}
        }
    }

    /// A second body of the same bytes, when they are all at hand.
    pub(crate) fn try_clone(&self) -> Option<Self> {
        match &self.0 {
            Kind::Full(bytes) => Some(Self(Kind::Full(bytes.clone()))),
            Kind::Channel(_) | Kind::Incoming(_) | Kind::File(_) => None,
        }
    }
}

impl Channel {
    const fn new(parts: mpsc::Receiver<Part>) -> Self {
        Self { parts, next: None, end: End::NotYet, block_len: None }
    }

    /// Ready when it is known what comes next.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.next.is_none() && self.end == End::NotYet {
            match ready!(self.parts.poll_recv(cx)) {
                Some(Part::Finish) => self.end = End::Good,
                None => self.end = End::Cut,
                Some(mut part) => {
                    if let (Part::File(file), Some(block_len)) = (&mut part, self.block_len) {
                        file.block_len = block_len;
                    }
                    self.next = Some(part);
                }
            }
        }
        Poll::Ready(())
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        loop {
            ready!(self.poll_next(cx));
            match self.next.take() {
                Some(Part::Chunk(chunk)) => return Poll::Ready(Some(Ok(chunk))),
                Some(Part::File(mut file)) => {
                    let block = file.poll(cx);
                    if !matches!(block, Poll::Ready(None)) {
                        self.next = Some(Part::File(file));
                        return block;
                    }
                }
                Some(Part::Finish) => self.end = End::Good,
                None if self.end == End::Cut => {
                    self.end = End::Good;
                    return Poll::Ready(Some(Err(BodyError::Aborted)));
                }
                None => return Poll::Ready(None),
            }
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.get_mut().0 {
            Kind::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Channel(channel) => channel.poll(cx).map(|part| part.map(|chunk| chunk.map(Frame::data))),
            Kind::Incoming(incoming) => Pin::new(incoming)
                .poll_frame(cx)
                .map(|part| part.map(|frame| frame.map_err(BodyError::Connection))),
            Kind::File(part) => part.poll(cx).map(|block| block.map(|block| block.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Full(bytes) => bytes.is_none(),
            Kind::Channel(channel) => channel.next.is_none() && channel.end == End::Good,
            Kind::Incoming(incoming) => incoming.is_end_stream(),
            Kind::File(part) => part.len == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Kind::Channel(_) => SizeHint::default(),
            Kind::Incoming(incoming) => incoming.size_hint(),
            Kind::File(part) => SizeHint::with_exact(part.len),
        }
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self(Kind::Full((!bytes.is_empty()).then_some(bytes)))
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl From<Incoming> for Body {
    fn from(incoming: Incoming) -> Self {
        Self(Kind::Incoming(incoming))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[tokio::test]
    async fn collects_within_the_limit_only() {
        assert_eq!(Body::from("abc").collect(3).await.unwrap(), "abc");
        assert!(matches!(Body::from("abcd").collect(3).await, Err(BodyError::TooLong { limit: 3 })));
        assert_eq!(Body::empty().collect(0).await.unwrap(), "");
    }

    #[tokio::test]
    async fn a_channel_yields_chunks_until_finished() {
        let (sender, body) = Body::channel(4);
        sender.send("ab".into()).await.unwrap();
        sender.send("cd".into()).await.unwrap();
        sender.finish().await.unwrap();
        assert_eq!(body.collect(10).await.unwrap(), "abcd");
    }

    #[tokio::test]
    async fn parts_of_files_come_through_a_channel_between_chunks() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        let file = Arc::new(file);
        let (sender, mut body) = Body::channel(8);
        body.read_files_by(2);
        sender.send("ab".into()).await.unwrap();
        sender.send_file(Arc::clone(&file), 3, 5).await.unwrap();
        sender.send_file(Arc::clone(&file), 3, 0).await.unwrap();
        sender.send("cd".into()).await.unwrap();
        sender.finish().await.unwrap();
        assert_eq!(body.collect(100).await.unwrap(), "ab34567cd");

        let (sender, mut body) = Body::channel(8);
        sender.send_file(Arc::clone(&file), 8, 5).await.unwrap();
        drop(sender);
        assert_eq!(body.frame_data().await.unwrap().unwrap(), "89");
        assert!(matches!(body.frame_data().await, Some(Err(BodyError::FileEnded { missing: 3 }))));
        assert!(matches!(body.frame_data().await, Some(Err(BodyError::Aborted))));
        assert!(body.frame_data().await.is_none());
    }

    #[tokio::test]
    async fn a_long_channel_is_refused_before_it_is_held() {
        let (sender, body) = Body::channel(4);
        for _ in 0..3 {
            sender.send("ab".into()).await.unwrap();
        }
        assert!(matches!(body.collect(5).await, Err(BodyError::TooLong { limit: 5 })));
        sender.closed().await;
        assert_eq!(sender.send("x".into()).await, Err(Closed));
    }

    #[tokio::test]
    async fn a_dropped_or_aborted_sender_is_an_error_not_an_end() {
        let (sender, mut body) = Body::channel(1);
        sender.send("ab".into()).await.unwrap();
        drop(sender);
        assert_eq!(body.frame_data().await.unwrap().unwrap(), "ab");
        assert!(matches!(body.frame_data().await, Some(Err(BodyError::Aborted))));
        assert!(body.frame_data().await.is_none());
        let (sender, body) = Body::channel(1);
        sender.abort();
        assert!(matches!(body.collect(1).await, Err(BodyError::Aborted)));
    }

    #[test]
    fn sizes() {
        assert_eq!(Body::empty().size(), Some(0));
        assert_eq!(Body::from("abc").size(), Some(3));
        assert_eq!(Body::channel(1).1.size(), None);
    }
}
