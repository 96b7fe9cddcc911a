//! Bytes from a seed, and the documents that refer to them.

use serde_json::json;
use shoal_oci::{Algorithm, Digest};

use super::session::MANIFEST;

/// A size on either side of the one up to which small content may be kept together (64 KiB), and the empty blob.
const EDGES: [usize; 6] = [0, 1, 4096, 65_535, 65_536, 65_537];

/// Some bytes and their digest.
#[derive(Clone, Debug)]
pub struct Content {
    /// What they are called.
    pub digest: Digest,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl Content {
    /// `size` random bytes; the same seed and size give the same bytes.
    pub fn random(seed: u64, size: usize) -> Self {
        let mut bytes = vec![0; size];
        fastrand::Rng::with_seed(seed).fill(&mut bytes);
        Self { digest: Digest::sha256(&bytes), bytes }
    }

    /// The same bytes under their SHA-512.
    #[must_use]
    pub fn by_sha512(self) -> Self {
        Self { digest: Digest::of(Algorithm::Sha512, &self.bytes), ..self }
    }

    /// An image manifest of this layer that is like no other because of its `number`, and refers to `subject` if there is one.
    pub fn manifest(number: u64, config: &Self, layer: &Self, subject: Option<(&Digest, usize)>) -> Self {
        let mut document = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config.digest, config.bytes.len()),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer.digest, layer.bytes.len())],
            "annotations": { "com.example.number": number.to_string() },
        });
        if let Some((digest, size)) = subject {
            document["subject"] = descriptor(MANIFEST, digest, size);
        }
        let bytes = document.to_string().into_bytes();
        Self { digest: Digest::sha256(&bytes), bytes }
    }
}

fn descriptor(media_type: &str, digest: &Digest, size: usize) -> serde_json::Value {
    json!({ "mediaType": media_type, "digest": digest.to_string(), "size": size })
}

/// The size of a small blob: at an edge, or anything up to 64 KiB.
pub fn small_size(rng: &mut fastrand::Rng) -> usize {
    if rng.u8(..) < 64 { rng.choice(EDGES).unwrap_or_default() } else { rng.usize(1..64 * 1024) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_its_bytes_again() {
        let (one, same, other) = (Content::random(1, 100), Content::random(1, 100), Content::random(2, 100));
        assert_eq!(one.digest, same.digest);
        assert_ne!(one.digest, other.digest);
        let long = one.clone().by_sha512();
        assert!(long.digest.to_string().starts_with("sha512:") && long.bytes == one.bytes);
    }

    #[test]
    fn manifests_differ_by_their_number() {
        let blob = Content::random(1, 10);
        let one = Content::manifest(1, &blob, &blob, None);
        assert_ne!(one.digest, Content::manifest(2, &blob, &blob, None).digest);
        let subject = Content::manifest(3, &blob, &blob, Some((&one.digest, one.bytes.len())));
        assert!(String::from_utf8(subject.bytes).unwrap().contains("subject"));
    }
}
