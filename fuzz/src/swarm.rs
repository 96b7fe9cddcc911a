//! Readers of what peers and trackers send.

use bytes::BytesMut;
use shoal_swarm_protocol::{Accepting, Dialling, HANDSHAKE_LEN, Identity, NONCE_LEN, PROOF_LEN, codec};
use shoal_swarm_types::{Metainfo, PeerId, Zone, metainfo::MetainfoHead};

/// Metainfo: what is accepted is written as it was read.
pub fn metainfo(data: &[u8]) {
    _ = MetainfoHead::decode(data);
    let Ok(metainfo) = Metainfo::decode(data) else { return };
    assert_eq!(metainfo.encode(), data);
    let layout = metainfo.layout();
    let mut end = 0;
    for index in 0..layout.piece_count().min(64) {
        let range = layout.piece_range(shoal_swarm_types::PieceIndex(index));
        assert_eq!(range.start, end);
        end = range.end;
    }
    assert!(end <= metainfo.size());
}

/// Frames between peers: every message that is read says the same when it is written and read again, and of no piece more bytes come than
/// it has.
pub fn frames(data: &[u8]) {
    parts(data);
    let mut input = BytesMut::from(data);
    // Each frame takes at least five bytes.
    for _ in 0..data.len() {
        let Ok(Some(message)) = codec::decode(&mut input) else { return };
        let mut written = BytesMut::new();
        codec::encode(&message, &mut written);
        let again = codec::decode(&mut written).ok().flatten();
        assert_eq!(again.as_ref(), Some(&message));
        assert!(written.is_empty());
    }
}

/// The same bytes as a connection reads them: bytes of pieces are passed over, parts of pieces put together.
fn parts(data: &[u8]) {
    let mut input = BytesMut::from(data);
    let mut parts: codec::Parts<u32> = codec::Parts::default();
    while let Ok(Some(frame)) = codec::decode_frame(&mut input) {
        let len = match frame {
            codec::Frame::Message(_) => 0,
            codec::Frame::Piece(head) => {
                if parts.may_begin(&head, false).is_err() {
                    return;
                }
                head.len
            }
            codec::Frame::Begin(head, len) => {
                if parts.may_begin(&head, true).is_err() {
                    return;
                }
                parts.keep(head, len, len);
                len
            }
            codec::Frame::More(more) => {
                let Ok(mut begun) = parts.go_on(&more) else { return };
                assert_eq!(begun.kept, more.offset);
                begun.kept += more.len;
                assert!(begun.kept <= begun.head.len);
                assert_eq!(begun.is_whole(), begun.kept == begun.head.len);
                if !begun.is_whole() {
                    parts.keep_again(begun);
                }
                more.len
            }
        };
        let rest = input.len().saturating_sub(len as usize);
        let _ = input.split_to(input.len() - rest);
    }
}

/// What a stranger sends where a handshake is expected: without the key nobody gets past any step, whichever end he plays.
pub fn handshakes(data: &[u8]) {
    let (key, nonce) = ([7; 32], [1; NONCE_LEN]);
    let ours = Identity { peer_id: PeerId([1; 20]), port: 1, zone: Zone(1) };
    if let Some(bytes) = data.first_chunk::<HANDSHAKE_LEN>() {
        assert!(Accepting::answer(&key, &ours, nonce, bytes).is_err());
        let (dialling, hello) = Dialling::begin(&key, &ours, nonce);
        assert!(dialling.finish(bytes).is_err());
        let accepting = Accepting::answer(&key, &ours, nonce, &hello);
        if let (Ok((accepting, _)), Some(proof)) = (accepting, data.last_chunk::<PROOF_LEN>()) {
            assert!(accepting.finish(proof).is_err());
        }
    }
}
