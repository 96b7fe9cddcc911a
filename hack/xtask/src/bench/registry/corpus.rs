//! What is pushed and pulled: random bytes that are made once, and contents that differ from each other in their first bytes.

use shoal_e2e::drill::content::Content;
use shoal_e2e::drill::session::MANIFEST;
use shoal_oci::{Algorithm, Digest, Digester};

/// The bytes in which a content differs from all others.
const MARK_LEN: usize = 32;
/// Small blobs, as the figures that we compare with were taken.
pub(super) const SMALL_LEN: usize = 4096;

/// Random bytes for contents of any size up to the largest.
pub(super) struct Stock {
    bytes: Vec<u8>,
    rng: fastrand::Rng,
}

/// A content without a copy of its bytes.
pub(super) struct Item<'stock> {
    pub(super) digest: Digest,
    mark: [u8; MARK_LEN],
    rest: &'stock [u8],
}

impl Stock {
    pub(super) fn new(size_max: u64) -> Self {
        // Another seed each time, so that a registry that was kept from another run has none of it.
        let mut rng = fastrand::Rng::new();
        let size = usize::try_from(size_max).unwrap_or(usize::MAX).max(SMALL_LEN);
        let mut bytes = vec![0; size];
        rng.fill(&mut bytes);
        Self { bytes, rng }
    }

    /// A content that nobody has.
    pub(super) fn item(&mut self, size: u64) -> Item<'_> {
        let mut mark = [0; MARK_LEN];
        self.rng.fill(&mut mark);
        let size = usize::try_from(size).unwrap_or(usize::MAX).clamp(MARK_LEN, self.bytes.len());
        Item::new(mark, &self.bytes[..size - MARK_LEN])
    }

    /// The seed of small contents for one connection, and the bytes that they share.
    pub(super) fn small(&mut self) -> (u64, Vec<u8>) {
        (self.rng.u64(..), self.bytes[..SMALL_LEN].to_vec())
    }

    /// A manifest that nobody has.
    pub(super) fn manifest(&mut self, config: &Content, layer: &Content) -> Content {
        Content::manifest(self.rng.u64(..), config, layer, None)
    }
}

impl<'stock> Item<'stock> {
    fn new(mark: [u8; MARK_LEN], rest: &'stock [u8]) -> Self {
        let mut digester = Digester::new(Algorithm::Sha256);
        digester.update(&mark);
        digester.update(rest);
        Self { digest: digester.finish(), mark, rest }
    }

    pub(super) fn size(&self) -> u64 {
        (MARK_LEN + self.rest.len()) as u64
    }

    /// The bytes in two parts.
    pub(super) fn parts(&self) -> [&[u8]; 2] {
        [&self.mark, self.rest]
    }
}

/// What every registry has before anything is measured.
pub(super) struct Corpus {
    /// A large blob and its size.
    pub(super) large: (Digest, u64),
    pub(super) small: Vec<Digest>,
    /// Manifests with their tags.
    pub(super) manifests: Vec<(String, Digest)>,
}

/// How a manifest is asked for.
pub(super) const ACCEPT: (&str, &str) = ("accept", MANIFEST);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_differ_and_have_their_size() {
        let mut stock = Stock::new(10_000);
        let one = stock.item(10_000).digest;
        let other = stock.item(10_000);
        assert_ne!(one, other.digest);
        assert_eq!(other.size(), 10_000);
        assert_eq!(Digest::sha256(&other.parts().concat()), other.digest);
        assert_eq!(stock.item(1 << 30).size(), 10_000);
    }
}
