//! Readers of what peers and trackers send.

use bytes::BytesMut;
use shoal_swarm_protocol::codec;
use shoal_swarm_types::{Metainfo, metainfo::MetainfoHead};

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

/// Frames between peers: every message that is read says the same when it is written and read again.
pub fn frames(data: &[u8]) {
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
