//! Where small blobs can probably be had: what manifests and trackers said along the way.
//!
//! A runtime asks for a manifest first, and that states the sizes of the blobs it will ask for next; a tracker's answer names the owners.
//! With both, a small blob is asked of an owner at once, beside the question to the tracker, and is there after one round trip. A lead
//! that is wrong costs one refused request.
//!
//! Only notes, bounded by number; nothing here is trusted: sizes are stated by whoever pushed the manifest.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shoal_api::Base;
use shoal_api::origin::web_seed_url;
use shoal_api::tracker::CONTENT_LEN_MAX;
use shoal_oci::manifest::Manifest;
use shoal_oci::{Digest, Repository};
use shoal_swarm::Lead;
use shoal_swarm::whole::WHOLE_SIZE_MAX;

use crate::recent::Recent;

/// Sizes remembered: all small blobs of some thousand images, of which a machine pulls a few at a time.
const SIZES_MAX: usize = 10_000;

/// Manifests whose sizes are noted already.
const MANIFESTS_MAX: usize = 1_000;

/// Notes about small blobs. Clones share them.
#[derive(Clone)]
pub struct Leads {
    sizes: Recent<Digest, u64>,
    manifests: Recent<Digest, ()>,
    owners: Arc<Mutex<Owners>>,
}

/// Whom trackers name as owners.
#[derive(Default)]
struct Owners {
    last: Vec<Base>,
    /// Whether different blobs have different owners, so that those of one say nothing about another.
    differ: bool,
}

impl Default for Leads {
    fn default() -> Self {
        Self { sizes: Recent::new(SIZES_MAX), manifests: Recent::new(MANIFESTS_MAX), owners: Arc::default() }
    }
}

impl Leads {
    /// Notes the sizes of the blobs that a manifest names. Takes as long as parsing it.
    pub(crate) fn note_manifest(&self, digest: &Digest, media_type: &str, bytes: &[u8]) {
        if self.manifests.of(digest).is_some() {
            return;
        }
        self.manifests.note(*digest, ());
        let Ok(Manifest::Image(image)) = Manifest::parse(bytes, Some(media_type)) else { return };
        for blob in image.layers.iter().chain([&image.config]) {
            // Smaller ones come inside the tracker's answer.
            if blob.size > CONTENT_LEN_MAX && blob.size <= WHOLE_SIZE_MAX {
                self.sizes.note(blob.digest, blob.size);
            }
        }
    }

    /// Notes the owners behind the web seeds of a tracker's answer.
    pub(crate) fn note_owners(&self, web_seeds: &[String]) {
        let base = |url: &String| Base::parse(url.split_once("/blobs/")?.0).ok();
        let mut named: Vec<Base> = web_seeds.iter().filter_map(base).collect();
        if named.is_empty() {
            return;
        }
        named.sort_by(|a, b| a.authority().cmp(b.authority()));
        let mut owners = self.owners();
        owners.differ = !owners.last.is_empty() && owners.last != named;
        owners.last = named;
    }

    /// Where `digest` can probably be had for `repository`.
    pub(crate) fn lead(&self, digest: &Digest, repository: &Repository) -> Option<Lead> {
        let size = self.sizes.of(digest)?;
        let owners = self.owners();
        if owners.differ || owners.last.is_empty() {
            return None;
        }
        let owner = &owners.last[fastrand::usize(..owners.last.len())];
        let url = web_seed_url(owner.scheme(), owner.authority(), digest, Some(repository));
        Some(Lead { size, url })
    }

    fn owners(&self) -> MutexGuard<'_, Owners> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use shoal_oci::media_type;

    use super::*;

    fn manifest(sizes: &[(&Digest, i64)]) -> Vec<u8> {
        let descriptor = |(digest, size): &(&Digest, i64)| serde_json::json!({ "mediaType": "application/octet-stream", "digest": digest.to_string(), "size": size });
        let layers: Vec<_> = sizes.iter().map(descriptor).collect();
        let config = descriptor(&(&Digest::sha256(b"config"), 6));
        let document = serde_json::json!({ "schemaVersion": 2, "config": config, "layers": layers });
        serde_json::to_vec(&document).unwrap()
    }

    fn note(leads: &Leads, manifest: &[u8]) {
        leads.note_manifest(&Digest::sha256(manifest), media_type::OCI_MANIFEST, manifest);
    }

    #[test]
    fn a_lead_needs_a_stated_size_within_the_bounds_and_an_owner() {
        let (leads, repository) = (Leads::default(), "team/app".parse().unwrap());
        let digests: Vec<_> = (0_u8..4).map(|number| Digest::sha256(&[number])).collect();
        let sizes = [
            (&digests[0], 65_536),
            (&digests[1], 65_537),
            (&digests[2], 1 << 20),
            (&digests[3], (1 << 20) + 1),
        ];
        note(&leads, &manifest(&sizes));
        assert_eq!(leads.lead(&digests[1], &repository), None, "no owner is known");
        leads.note_owners(&[format!("http://10.0.0.1:15002/blobs/{}?repository=x/y", digests[0])]);
        assert_eq!(leads.lead(&digests[0], &repository), None, "it comes inside the tracker's answer");
        assert_eq!(leads.lead(&digests[3], &repository), None, "too large");
        let lead = leads.lead(&digests[1], &repository).unwrap();
        let url = format!("http://10.0.0.1:15002/blobs/{}?repository=team/app", digests[1]);
        assert_eq!(lead, Lead { size: 65_537, url });
        assert_eq!(leads.lead(&digests[2], &repository).unwrap().size, 1 << 20);
    }

    #[test]
    fn owners_that_differ_between_blobs_lead_nowhere() {
        let (leads, repository) = (Leads::default(), "team/app".parse().unwrap());
        let digest = Digest::sha256(b"x");
        note(&leads, &manifest(&[(&digest, 100_000)]));
        let seeds = |hosts: &[&str]| -> Vec<String> {
            hosts.iter().map(|host| format!("http://{host}:15002/blobs/{digest}")).collect()
        };
        leads.note_owners(&seeds(&["a", "b"]));
        leads.note_owners(&seeds(&["b", "a"]));
        leads.note_owners(&[]);
        assert!(leads.lead(&digest, &repository).is_some(), "the order counts for nothing");
        leads.note_owners(&seeds(&["b", "c"]));
        assert_eq!(leads.lead(&digest, &repository), None);
        leads.note_owners(&seeds(&["b", "c"]));
        assert!(leads.lead(&digest, &repository).is_some(), "the owners have moved");
    }

    #[test]
    fn what_is_no_manifest_or_no_url_counts_for_nothing() {
        let (leads, repository) = (Leads::default(), "team/app".parse().unwrap());
        note(&leads, b"{");
        note(&leads, &manifest(&[(&Digest::sha256(b"x"), -5)]));
        leads.note_owners(&["nonsense".to_owned(), "http://user@host:1/blobs/x".to_owned()]);
        assert_eq!(leads.lead(&Digest::sha256(b"x"), &repository), None);
    }
}
