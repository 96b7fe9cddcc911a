//! A blob of a world: what every node is told of it, and when its pieces left the owners.

use bytes::Bytes;
use shoal_oci::Digest;
use shoal_swarm_types::{Bitfield, Metainfo, PieceDigest, PieceIndex, PieceLength};

use crate::calendar::Nanos;
use crate::node::NodeId;

/// Longest piece.
const PIECE_LEN_MAX: usize = PieceLength::MAX.get() as usize;

/// Good bytes of any piece.
static GOOD: [u8; PIECE_LEN_MAX] = [0; PIECE_LEN_MAX];

/// A blob.
#[derive(Debug)]
pub struct Blob {
    pub(crate) digest: Digest,
    pub(crate) metainfo: Metainfo,
    pub(crate) owners: Vec<NodeId>,
    /// Pieces that have left an owner.
    pub(crate) left: Bitfield,
    /// When the last piece left an owner for the first time.
    pub(crate) left_at: Option<Nanos>,
}

impl Blob {
    /// A blob of `size` bytes, different from one of another name.
    pub(crate) fn new(name: &str, size: u64, owners: Vec<NodeId>) -> Option<Self> {
        let digest = Digest::sha256(name.as_bytes());
        let count = shoal_swarm_types::Layout::for_size(size).piece_count();
        let metainfo = Metainfo::new(digest, size, vec![PieceDigest([7; 32]); count as usize])?;
        Some(Self { digest, metainfo, owners, left: Bitfield::empty(count), left_at: None })
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.metainfo.size()
    }

    /// Number of its pieces.
    pub fn count(&self) -> u32 {
        self.metainfo.layout().piece_count()
    }

    /// When every piece had left an owner once, in seconds since the start.
    pub fn left_seconds(&self) -> Option<f64> {
        self.left_at.map(|at| at as f64 / 1e9)
    }

    /// The bytes of a piece as an honest or another node sends them. Wrong ones have the right length.
    pub(crate) fn bytes(&self, index: PieceIndex, bad: Option<&Bytes>) -> Bytes {
        let len = self.metainfo.layout().piece_len(index) as usize;
        match bad {
            None => Bytes::from_static(&GOOD[..len]),
            Some(bytes) => bytes.slice(..len),
        }
    }

    /// Notes that a piece leaves an owner.
    pub(crate) fn leaves(&mut self, index: PieceIndex, now: Nanos) {
        if self.left.set(index) && self.left.is_full() {
            self.left_at = Some(now);
        }
    }
}

/// Wrong bytes, as many as a piece may have.
pub(crate) fn bad_bytes() -> Bytes {
    Bytes::from(vec![1; PIECE_LEN_MAX])
}

/// Whether bytes verify.
pub(crate) fn is_good(data: &Bytes) -> bool {
    data.first().is_some_and(|first| *first == GOOD[0])
}
