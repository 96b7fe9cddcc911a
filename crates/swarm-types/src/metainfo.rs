//! Piece digests: how they are made in one pass, and how a piece is checked against them.
//!
//! A piece digest is the chaining value of the piece's subtree in the blob's BLAKE3 tree (BLAKE3 paper, section 2.1), so the
//! list of them is not just a list: it folds into one 32-byte root, the BLAKE3 hash of the whole blob. That buys two things.
//! A streamed push does not know its size, hence not its piece length, until the last byte; subtrees of 64 KiB fold into any
//! larger piece length afterwards, without reading a byte again. And one root vouches for the whole list, whoever delivers it.
//! BLAKE3 costs a fifth of a CPU-second per GB where SHA-256 costs more than half a second. The price: a piece can be checked only
//! when its position is known, which a peer always knows.

mod growing;

use std::sync::Arc;

use blake3::Hasher;
use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};
use shoal_oci::Digest;

pub use self::growing::Disagreement;
use self::growing::{Growing, MAGIC_GROWING};
use crate::layout::{Layout, PieceIndex, PieceLength};

/// Digest of one piece: 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PieceDigest(pub [u8; 32]);

/// What a peer must know of a blob before it can fetch or serve pieces of it.
///
/// Of a blob that is still arriving at the cluster only some piece digests are known, and others come: see [`Metainfo::growing`]. Clones
/// share what they learn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metainfo {
    digest: Digest,
    layout: Layout,
    pieces: List,
}

/// The piece digests.
#[derive(Clone, Debug)]
enum List {
    /// All of them, and the root into which they fold.
    Whole { pieces: Arc<[PieceDigest]>, root: PieceDigest },
    /// Those that are known so far.
    Growing(Arc<Growing>),
}

/// Why bytes are not a metainfo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeMetainfoError {
    /// Not our format, or a later version of it.
    #[error("not a metainfo of a known version")]
    Format,
    /// The bytes end early or go on too long.
    #[error("metainfo has the wrong length")]
    Length,
    /// A field holds an impossible value.
    #[error("metainfo has an invalid {0}")]
    Field(&'static str),
    /// The piece digests do not fold into the stated root.
    #[error("the piece digests do not match their root")]
    Root,
}

const MAGIC: &[u8; 8] = b"shoalmi\x01";

/// What the first bytes of an encoded metainfo say, without the piece digests: enough to tell whether a file can be the blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetainfoHead {
    /// The blob's digest.
    pub digest: Digest,
    /// How the blob is cut.
    pub layout: Layout,
    /// Length in bytes of the whole encoded metainfo.
    pub encoded_len: u64,
}

impl MetainfoHead {
    /// No head is longer than this: magic, length byte, digest text (sha512), size, piece length.
    pub const LEN_MAX: usize = 8 + 1 + 7 + 128 + 8 + 4;

    /// Length in bytes of [`Metainfo::encode`]'s form for a blob of `size` bytes, whatever its bytes are.
    pub fn encoded_len_for(digest: &Digest, size: u64) -> u64 {
        // Magic, length byte, name and hex of the digest, size, piece length.
        let name_len = digest.algorithm().as_str().len() + 1 + 2 * digest.as_bytes().len();
        let head_len = (MAGIC.len() + 1 + name_len + 8 + 4) as u64;
        head_len + 32 * (1 + u64::from(Layout::for_size(size).piece_count()))
    }

    /// Reads the head of [`Metainfo::encode`]'s form; what follows the head is not looked at.
    ///
    /// # Errors
    /// [`DecodeMetainfoError`] says which part is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeMetainfoError> {
        let mut rest = bytes;
        let (digest, layout) = take_head(&mut rest, MAGIC)?;
        let head_len = (bytes.len() - rest.len()) as u64;
        Ok(Self { digest, layout, encoded_len: head_len + 32 * (1 + u64::from(layout.piece_count())) })
    }
}

impl Metainfo {
    /// The metainfo of a blob from its piece digests in order; `None` unless there is one for each piece.
    pub fn new(digest: Digest, size: u64, pieces: Vec<PieceDigest>) -> Option<Self> {
        let layout = Layout::for_size(size);
        if pieces.len() != layout.piece_count() as usize {
            return None;
        }
        Some(Self { digest, layout, pieces: List::whole(pieces) })
    }

    /// The metainfo of content at hand, in one call.
    pub fn of(digest: Digest, content: &[u8]) -> Self {
        let mut digester = PieceDigester::new();
        digester.update(content);
        digester.finish(digest)
    }

    /// The blob's digest.
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The blob's size in bytes.
    pub const fn size(&self) -> u64 {
        self.layout.size
    }

    /// How the blob is cut.
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// BLAKE3 hash of the whole blob, into which the piece digests fold; `None` while some of them are not known.
    pub fn root(&self) -> Option<PieceDigest> {
        match &self.pieces {
            List::Whole { root, .. } => Some(*root),
            List::Growing(_) => self.is_whole().then(|| fold_root(&self.known())),
        }
    }

    /// Whether `bytes` are exactly the piece at `index`. Of a piece whose digest is not known nobody can say so.
    pub fn verify(&self, index: PieceIndex, bytes: &[u8]) -> bool {
        let Some(want) = self.pieces.get(index) else { return false };
        if bytes.len() != self.layout.piece_len(index) as usize {
            return false;
        }
        digest_piece(&self.layout, index, bytes) == want
    }

    /// Checks the piece at `index` while its bytes arrive; `None` beyond the last piece. Its digest need not be known before its end.
    pub fn check(&self, index: PieceIndex) -> Option<PieceCheck> {
        if index.0 >= self.layout.piece_count() {
            return None;
        }
        let want = Want::of(&self.pieces, index)?;
        let mut hasher = Hasher::new();
        let is_root = self.layout.piece_count() <= 1;
        if !is_root {
            hasher.set_input_offset(self.layout.piece_range(index).start);
        }
        Some(PieceCheck { hasher, index, len: self.layout.piece_len(index), is_root, want })
    }

    /// The wire and disk form: magic, digest, size, piece length, root, piece digests. Integers are big-endian. One of which digests are
    /// missing has another magic, no root, and the digests that are known.
    pub fn encode(&self) -> Vec<u8> {
        let name = self.digest.to_string();
        let pieces = self.known();
        let root = if pieces.len() == self.layout.piece_count() as usize { self.root() } else { None };
        let mut out = Vec::with_capacity(64 + name.len() + pieces.len() * 32);
        out.extend_from_slice(if root.is_some() { MAGIC } else { MAGIC_GROWING });
        out.push(name.len() as u8); // at most 7 + 128
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(&self.layout.size.to_be_bytes());
        out.extend_from_slice(&self.layout.piece_length.get().to_be_bytes());
        for digest in root.iter().chain(pieces.iter()) {
            out.extend_from_slice(&digest.0);
        }
        out
    }

    /// Reads [`Self::encode`]'s form. Checks that the parts fit together, so a metainfo that exists is self-consistent.
    ///
    /// # Errors
    /// [`DecodeMetainfoError`] says which part is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeMetainfoError> {
        if bytes.starts_with(MAGIC_GROWING) {
            return Self::decode_growing(bytes);
        }
        let mut rest = bytes;
        let (digest, layout) = take_head(&mut rest, MAGIC)?;
        let root = PieceDigest(array(take(&mut rest, 32)?));
        if rest.len() as u64 != u64::from(layout.piece_count()) * 32 {
            return Err(DecodeMetainfoError::Length);
        }
        let pieces = List::whole(digests(rest));
        if !matches!(&pieces, List::Whole { root: folded, .. } if *folded == root) {
            return Err(DecodeMetainfoError::Root);
        }
        Ok(Self { digest, layout, pieces })
    }
}

impl List {
    fn whole(pieces: Vec<PieceDigest>) -> Self {
        let root = fold_root(&pieces);
        Self::Whole { pieces: pieces.into(), root }
    }

    /// The digest of one piece, if it is known.
    fn get(&self, index: PieceIndex) -> Option<PieceDigest> {
        match self {
            Self::Whole { pieces, .. } => pieces.get(index.0 as usize).copied(),
            Self::Growing(growing) => growing.get(index),
        }
    }
}

/// What a piece is compared with in the end.
#[derive(Clone, Debug)]
enum Want {
    Known(PieceDigest),
    /// What will be known by then.
    Later(Arc<Growing>),
}

impl Want {
    fn of(pieces: &List, index: PieceIndex) -> Option<Self> {
        match pieces {
            List::Whole { pieces, .. } => pieces.get(index.0 as usize).copied().map(Self::Known),
            List::Growing(growing) => Some(Self::Later(growing.clone())),
        }
    }

    fn get(&self, index: PieceIndex) -> Option<PieceDigest> {
        match self {
            Self::Known(digest) => Some(*digest),
            Self::Later(growing) => growing.get(index),
        }
    }
}

/// A piece that is being checked byte by byte, in order, so that its bytes are looked at while they are in the processor's cache.
#[derive(Clone, Debug)]
pub struct PieceCheck {
    hasher: Hasher,
    index: PieceIndex,
    len: u32,
    is_root: bool,
    want: Want,
}

impl PieceCheck {
    /// Which piece it is.
    pub const fn index(&self) -> PieceIndex {
        self.index
    }

    /// The length of the whole piece in bytes.
    #[expect(clippy::len_without_is_empty, reason = "no piece is empty")]
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// Whether the piece's digest is known, so that [`Self::finish`] can tell.
    pub fn is_known(&self) -> bool {
        matches!(self.want, Want::Known(_)) || self.want.get(self.index).is_some()
    }

    /// Adds the next bytes. Fastest in portions of 16 KiB or a power of two more.
    pub fn update(&mut self, bytes: &[u8]) {
        // What is too long is wrong, whatever it is; the hash of a piece must not go on into the next one's place.
        let room = u64::from(self.len).saturating_sub(self.hasher.count());
        let take = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        self.hasher.update(&bytes[..take]);
        if take < bytes.len() {
            self.len = 0;
        }
    }

    /// What has come of it. A piece whose digest is not known is not good.
    pub fn finish(self) -> PieceVerdict {
        let is_whole = self.hasher.count() == u64::from(self.len);
        let digest = || {
            if self.is_root { *self.hasher.finalize().as_bytes() } else { self.hasher.finalize_non_root() }
        };
        PieceVerdict {
            index: self.index,
            len: self.len,
            is_good: is_whole && self.want.get(self.index).is_some_and(|want| digest() == want.0),
        }
    }
}

/// What came of checking a piece. Only [`PieceCheck::finish`] makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PieceVerdict {
    index: PieceIndex,
    len: u32,
    is_good: bool,
}

impl PieceVerdict {
    /// Whether exactly the bytes of the piece at `index`, `len` of them, were seen.
    pub const fn is_good(&self, index: PieceIndex, len: u64) -> bool {
        self.is_good && self.index.0 == index.0 && self.len as u64 == len
    }

    /// Which piece it is.
    pub const fn index(&self) -> PieceIndex {
        self.index
    }
}

fn take_head(rest: &mut &[u8], magic: &[u8]) -> Result<(Digest, Layout), DecodeMetainfoError> {
    *rest = rest.strip_prefix(magic).ok_or(DecodeMetainfoError::Format)?;
    let name_len = take(rest, 1)?[0];
    let name = std::str::from_utf8(take(rest, usize::from(name_len))?)
        .map_err(|_| DecodeMetainfoError::Field("digest"))?;
    let digest = name.parse().map_err(|_| DecodeMetainfoError::Field("digest"))?;
    let size = u64::from_be_bytes(array(take(rest, 8)?));
    let piece_length = PieceLength::new(u32::from_be_bytes(array(take(rest, 4)?)));
    let layout = Layout::for_size(size);
    if piece_length != Some(layout.piece_length) {
        return Err(DecodeMetainfoError::Field("piece length"));
    }
    Ok((digest, layout))
}

/// Digests in a row.
fn digests(bytes: &[u8]) -> Vec<PieceDigest> {
    bytes.chunks_exact(32).map(|chunk| PieceDigest(array(chunk))).collect()
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8], DecodeMetainfoError> {
    let (head, tail) = rest.split_at_checked(len).ok_or(DecodeMetainfoError::Length)?;
    *rest = tail;
    Ok(head)
}

/// The callers take exactly `N` bytes first.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(bytes);
    out
}

/// Digest of one piece at its place. The only piece of a blob is the tree's root and is hashed as such.
fn digest_piece(layout: &Layout, index: PieceIndex, bytes: &[u8]) -> PieceDigest {
    let mut hasher = Hasher::new();
    if layout.piece_count() <= 1 {
        hasher.update(bytes);
        return PieceDigest(*hasher.finalize().as_bytes());
    }
    hasher.set_input_offset(layout.piece_range(index).start);
    hasher.update(bytes);
    PieceDigest(hasher.finalize_non_root())
}

/// Folds subtree values into the root, as BLAKE3 does: the left subtree has the largest power of two of leaves.
fn fold_root(pieces: &[PieceDigest]) -> PieceDigest {
    match pieces {
        [] => PieceDigest(*blake3::hash(b"").as_bytes()),
        [only] => *only,
        _ => {
            let (left, right) = pieces.split_at(left_len(pieces.len()));
            PieceDigest(*merge_subtrees_root(&fold(left), &fold(right), Mode::Hash).as_bytes())
        }
    }
}

fn fold(pieces: &[PieceDigest]) -> ChainingValue {
    if let [only] = pieces {
        return only.0;
    }
    let (left, right) = pieces.split_at(left_len(pieces.len()));
    merge_subtrees_non_root(&fold(left), &fold(right), Mode::Hash)
}

/// Leaves of the left subtree of a tree with `len` ≥ 2 leaves.
fn left_len(len: usize) -> usize {
    len.next_power_of_two() / 2
}

/// Makes a metainfo from bytes that arrive in order, in one pass, without knowing how many there will be.
///
/// Keeps one 32-byte value per piece of the length that the bytes so far call for, and folds pairs when that length doubles:
/// at most about 1,024 values for blobs up to 2 GiB.
#[derive(Clone, Debug)]
pub struct PieceDigester {
    hasher: Hasher,
    size: u64,
    piece_length: PieceLength,
    pieces: Vec<PieceDigest>,
    /// How many bytes there will be, if that was said.
    planned: Option<u64>,
}

impl Default for PieceDigester {
    fn default() -> Self {
        Self::new()
    }
}

impl PieceDigester {
    /// A digester that has seen no bytes.
    pub fn new() -> Self {
        Self {
            hasher: Hasher::new(),
            size: 0,
            piece_length: PieceLength::MIN,
            pieces: Vec::new(),
            planned: None,
        }
    }

    /// A digester for exactly `size` bytes: each piece is known with its last byte, except the last one.
    pub fn for_size(size: u64) -> Self {
        Self { planned: Some(size), piece_length: PieceLength::for_size(size), ..Self::new() }
    }

    /// The digests of the pieces that are whole so far. They stay as they are only where the size was said.
    pub fn known(&self) -> &[PieceDigest] {
        &self.pieces
    }

    /// Bytes seen so far.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Adds the next bytes of the blob.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.hasher.count() == u64::from(self.piece_length.get()) {
                self.close_piece();
            }
            let room = u64::from(self.piece_length.get()) - self.hasher.count();
            let take = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
            self.hasher.update(&bytes[..take]);
            self.size += take as u64;
            bytes = &bytes[take..];
        }
        let is_whole = self.hasher.count() == u64::from(self.piece_length.get());
        if is_whole && self.planned.is_some_and(|planned| self.size < planned) {
            self.close_piece();
        }
    }

    /// The metainfo of everything added, under the blob's digest (which the caller has checked).
    pub fn finish(mut self, digest: Digest) -> Metainfo {
        let layout = Layout::for_size(self.size);
        if layout.piece_count() == 1 {
            let only = PieceDigest(*self.hasher.finalize().as_bytes());
            return Metainfo { digest, layout, pieces: List::whole(vec![only]) };
        }
        if self.hasher.count() > 0 {
            self.pieces.push(PieceDigest(self.hasher.finalize_non_root()));
        }
        Metainfo { digest, layout, pieces: List::whole(self.pieces) }
    }

    /// Ends a full piece when more bytes follow, and doubles the piece length when the size now calls for it.
    fn close_piece(&mut self) {
        self.pieces.push(PieceDigest(self.hasher.finalize_non_root()));
        // At least one more byte follows, and it decides the length.
        let wanted = self.planned.map_or(PieceLength::for_size(self.size + 1), PieceLength::for_size);
        while self.piece_length < wanted {
            self.double();
        }
        self.hasher = Hasher::new();
        self.hasher.set_input_offset(self.size);
    }

    /// Folds pairs of pieces. Lengths double only where the count is even: a multiple of 512 pieces.
    fn double(&mut self) {
        debug_assert!(self.pieces.len().is_multiple_of(2));
        let pairs = self.pieces.chunks_exact(2);
        self.pieces = pairs
            .map(|pair| PieceDigest(merge_subtrees_non_root(&pair[0].0, &pair[1].0, Mode::Hash)))
            .collect();
        // Doubling below the maximum gives a valid length; at the maximum it is never asked for.
        self.piece_length = PieceLength::new(self.piece_length.get() * 2).unwrap_or(PieceLength::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(size: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_u32;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as u8
        };
        (0..size).map(|_| next()).collect()
    }

    /// Around every boundary: empty, one byte, one piece, two, the doubling of the piece length, and a ragged end.
    const SIZES: [usize; 11] = [
        0,
        1,
        65_535,
        65_536,
        65_537,
        131_072,
        200_000,
        512 * 65_536,
        512 * 65_536 + 1,
        513 * 65_536,
        1024 * 65_536 + 12_345,
    ];

    #[test]
    fn a_piece_is_checked_in_portions_as_it_is_at_once() {
        for size in [1_usize, 1000, 65_536, 200_001] {
            let bytes: Vec<u8> = (0..size).map(|at| (at * 7 % 251) as u8).collect();
            let metainfo = Metainfo::of(Digest::sha256(&bytes), &bytes);
            for index in (0..metainfo.layout().piece_count()).map(PieceIndex) {
                let range = metainfo.layout().piece_range(index);
                let piece = &bytes[range.start as usize..range.end as usize];
                let checked = |bytes: &[u8], portion: usize| {
                    let mut check = metainfo.check(index).unwrap();
                    bytes.chunks(portion).for_each(|portion| check.update(portion));
                    check.finish().is_good(index, range.end - range.start)
                };
                assert!(checked(piece, 1000) && checked(piece, size));
                assert!(!checked(&piece[..piece.len() - 1], 1000), "too short");
                let long: Vec<u8> = piece.iter().copied().chain([0]).collect();
                assert!(!checked(&long, 1000), "too long");
                let mut wrong = piece.to_vec();
                wrong[piece.len() / 2] ^= 1;
                assert!(!checked(&wrong, 1000));
            }
            assert!(metainfo.check(PieceIndex(metainfo.layout().piece_count())).is_none());
        }
    }

    #[test]
    fn root_is_the_blake3_hash_of_the_blob() {
        for size in SIZES {
            let bytes = content(size);
            let metainfo = Metainfo::of(Digest::sha256(b"any"), &bytes);
            assert_eq!(metainfo.root().unwrap().0, *blake3::hash(&bytes).as_bytes(), "{size}");
            assert_eq!(metainfo.size(), size as u64);
        }
    }

    #[test]
    fn every_piece_verifies_and_no_other_bytes_do() {
        for size in SIZES {
            let bytes = content(size);
            let metainfo = Metainfo::of(Digest::sha256(b"any"), &bytes);
            for index in (0..metainfo.layout().piece_count()).map(PieceIndex) {
                let range = metainfo.layout().piece_range(index);
                let piece = &bytes[range.start as usize..range.end as usize];
                assert!(metainfo.verify(index, piece), "{size} {index:?}");
                let mut bad = piece.to_vec();
                bad[piece.len() / 2] ^= 1;
                assert!(!metainfo.verify(index, &bad));
                assert!(!metainfo.verify(index, &piece[1..]));
                assert!(!metainfo.verify(PieceIndex(index.0 + 1), piece));
            }
        }
    }

    #[test]
    fn how_the_bytes_arrive_does_not_matter() {
        let bytes = content(600 * 65_536 + 77);
        let whole = Metainfo::of(Digest::sha256(b"any"), &bytes);
        for step in [1_000, 65_536, 100_000, 7_777_777] {
            let mut digester = PieceDigester::new();
            bytes.chunks(step).for_each(|chunk| digester.update(chunk));
            assert_eq!(digester.finish(Digest::sha256(b"any")), whole, "{step}");
        }
    }

    #[test]
    fn decodes_what_it_encodes_and_refuses_the_rest() {
        let metainfo = Metainfo::of(Digest::sha256(b"any"), &content(200_000));
        let bytes = metainfo.encode();
        assert_eq!(Metainfo::decode(&bytes), Ok(metainfo.clone()));
        let head = MetainfoHead::decode(&bytes[..MetainfoHead::LEN_MAX]).unwrap();
        assert_eq!((head.digest, head.layout), (*metainfo.digest(), *metainfo.layout()));
        assert_eq!(head.encoded_len, bytes.len() as u64);
        assert_eq!(Metainfo::decode(b"{}"), Err(DecodeMetainfoError::Format));
        assert_eq!(Metainfo::decode(&bytes[..bytes.len() - 1]), Err(DecodeMetainfoError::Length));
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0x01;
            // Digest and size carry no check of their own here: they never pass for the original, though.
            assert_ne!(Metainfo::decode(&bad), Ok(metainfo.clone()), "byte {at}");
        }
    }
}
