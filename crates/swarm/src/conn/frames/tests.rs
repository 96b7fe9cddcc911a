//! Frames from a stream that stops anywhere, and frames that no peer may send.

use bytes::Bytes;
use shoal_swarm_protocol::{Message, encode};
use shoal_swarm_types::PieceIndex;
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

use super::*;

const LIMIT: Duration = Duration::from_secs(5);

fn piece(index: u32, len: usize) -> Message {
    let data = Bytes::from(vec![index as u8; len]);
    Message::Piece { swarm: 3, index: PieceIndex(index), queue: 0, data }
}

/// Both ends of a pipe that holds `room` bytes.
fn pipe(room: usize) -> (DuplexStream, Frames<DuplexStream>) {
    let (near, far) = duplex(room);
    (near, Frames::new(far, LIMIT))
}

fn wire(messages: &[Message]) -> BytesMut {
    let mut bytes = BytesMut::new();
    messages.iter().for_each(|message| encode(message, &mut bytes));
    bytes
}

/// The next message, with the bytes of a piece.
async fn next(frames: &mut Frames<DuplexStream>) -> Message {
    match frames.next().await.unwrap() {
        Frame::Message(message) => message,
        Frame::Piece(head) => {
            let mut data = vec![0; head.len as usize];
            let (first, second) = data.split_at_mut(head.len as usize / 3);
            frames.read(first).await.unwrap();
            frames.read(second).await.unwrap();
            Message::Piece { swarm: head.swarm, index: head.index, queue: head.queue, data: data.into() }
        }
        part => panic!("{part:?} was not sent"),
    }
}

#[tokio::test]
async fn small_and_long_messages_come_out_as_they_went_in() {
    let messages = [
        Message::KeepAlive,
        piece(1, 1),
        piece(2, 65_536),
        Message::RequestAny { swarm: 9, part: shoal_swarm_protocol::Part::WHOLE },
        piece(3, 4 * 1024 * 1024),
        piece(4, READ_BUFFER_LEN),
        piece(5, READ_BUFFER_LEN - 13),
        Message::Have { swarm: 1, index: PieceIndex(7), queue: 5 },
    ];
    // Whatever portions the socket gives.
    for room in [1_000, 4_096, 70_000, 8 * 1024 * 1024] {
        let (mut near, mut frames) = pipe(room);
        let bytes = wire(&messages);
        let writer = tokio::spawn(async move { near.write_all(&bytes).await });
        for message in &messages {
            assert_eq!(next(&mut frames).await, *message, "{room}");
        }
        writer.await.unwrap().unwrap();
        assert!(matches!(frames.next().await, Err(Interruption::Closed)), "{room}");
    }
}

#[tokio::test]
async fn a_length_beyond_every_message_is_refused_before_memory_is_made_for_it() {
    let (mut near, mut frames) = pipe(64);
    near.write_all(&[0xff, 0xff, 0xff, 0xf0, 8]).await.unwrap();
    assert!(matches!(frames.next().await, Err(Interruption::Codec(CodecError::Length { .. }))));
    assert!(frames.buffer.capacity() <= 2 * READ_BUFFER_LEN);
}

#[tokio::test(start_paused = true)]
async fn silence_between_messages_is_fine_but_not_inside_one() {
    let (mut near, mut frames) = pipe(64);
    let waiting = tokio::spawn(async move { (frames.next().await, frames.next().await) });
    tokio::time::sleep(LIMIT * 100).await;
    near.write_all(&wire(&[Message::KeepAlive])).await.unwrap();
    near.write_all(&wire(&[Message::Leave { swarm: 1 }])[..7]).await.unwrap();
    let (first, second) = waiting.await.unwrap();
    assert_eq!(first.unwrap(), Frame::Message(Message::KeepAlive));
    assert!(matches!(second, Err(Interruption::Stuck)));
}

#[tokio::test]
async fn an_end_inside_a_message_is_an_end() {
    let (mut near, mut frames) = pipe(1 << 20);
    near.write_all(&wire(&[piece(1, 100_000)])[..50_000]).await.unwrap();
    drop(near);
    assert!(matches!(frames.next().await, Ok(Frame::Piece(head)) if head.len == 100_000));
    assert!(matches!(frames.read(&mut vec![0; 100_000]).await, Err(Interruption::Closed)));
}

#[tokio::test(start_paused = true)]
async fn a_piece_has_its_time_from_head_to_end_and_more_when_we_took_it() {
    let bytes = wire(&[piece(1, 30_000)]);
    let (mut near, mut frames) = pipe(1 << 20);
    near.write_all(&bytes[..100]).await.unwrap();
    assert!(matches!(frames.next().await, Ok(Frame::Piece(_))));
    frames.excuse(LIMIT);
    let trickle = tokio::spawn(async move {
        tokio::time::sleep(LIMIT + LIMIT / 2).await;
        near.write_all(&bytes[100..20_000]).await.unwrap();
        near
    });
    frames.read(&mut [0; 10_000]).await.unwrap();
    assert!(matches!(frames.read(&mut [0; 20_000]).await, Err(Interruption::Stuck)));
    drop(trickle.await.unwrap());
}
