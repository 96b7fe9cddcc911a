//! What the cluster remembers: tags, manifests, repository links, referrers.
