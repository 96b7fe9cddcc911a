//! What an image consists of: the blobs of its manifest, or of the manifests for some platform below its index.

use shoal_oci::manifest::Manifest;
use shoal_oci::{Digest, Reference, Repository};

use crate::image::ImageName;
use crate::resolve::Resolver;

/// Manifests of one index that are looked at: more platforms than anybody builds for.
const CHILDREN_MAX: usize = 64;

/// For which machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Platforms {
    /// `os/architecture`.
    One(String),
    /// Whatever there is.
    All,
}

impl Platforms {
    /// As an operator says it: `all`, `linux/arm64`, or nothing for this machine.
    pub fn of(text: Option<&str>) -> Self {
        match text {
            None => Self::One(format!("linux/{}", architecture())),
            Some("all") => Self::All,
            Some(platform) => Self::One(platform.to_owned()),
        }
    }

    /// Whether they include what an index says of a manifest. One of which it says nothing is for everybody.
    fn include(&self, platform: Option<&serde_json::Value>) -> bool {
        let Self::One(wanted) = self else { return true };
        let field = |name: &str| platform.and_then(|platform| platform[name].as_str());
        match (field("os"), field("architecture")) {
            (Some(os), Some(architecture)) => *wanted == format!("{os}/{architecture}"),
            _ => true,
        }
    }
}

/// This machine's architecture in the words of OCI.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

/// The blobs of an image.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// Each once, with its size as the manifest states it.
    pub blobs: Vec<(Digest, u64)>,
    /// The repositories in whose name they are asked for, the likeliest first.
    pub repositories: Vec<Repository>,
}

impl Contents {
    /// What `image` consists of on `platforms`.
    ///
    /// # Errors
    /// A sentence that says why that cannot be told.
    pub async fn of(resolver: &Resolver, image: &ImageName, platforms: &Platforms) -> Result<Self, String> {
        let mut contents = Self::default();
        let children = contents.add(resolver, image, &image.reference, platforms).await?;
        for child in children {
            let below = contents.add(resolver, image, &Reference::Digest(child), platforms).await?;
            if !below.is_empty() {
                tracing::debug!(%image, "an index below an index is not looked into");
            }
        }
        if contents.blobs.is_empty() {
            return Err(format!("{image} has nothing for {platforms:?}"));
        }
        contents.repositories = resolver.blob_candidates(image.host.as_ref(), &image.repository);
        Ok(contents)
    }

    /// Adds the blobs of one manifest; what it lists below itself.
    async fn add(
        &mut self,
        resolver: &Resolver,
        image: &ImageName,
        reference: &Reference,
        platforms: &Platforms,
    ) -> Result<Vec<Digest>, String> {
        let found = resolver.manifest(image.host.as_ref(), &image.repository, reference).await;
        let found = found.map_err(|error| format!("{image}: {error}"))?;
        let manifest = Manifest::parse(&found.bytes, Some(&found.media_type));
        let manifest = manifest.map_err(|error| format!("{image}: {error}"))?;
        for blob in manifest.required_blobs() {
            if !self.blobs.iter().any(|(digest, _)| *digest == blob.digest) {
                self.blobs.push((blob.digest, blob.size));
            }
        }
        let Manifest::Index(index) = &manifest else { return Ok(Vec::new()) };
        let listed = index.manifests.iter().filter(|entry| platforms.include(entry.platform.as_ref()));
        let children = manifest.children();
        let wanted = listed.map(|entry| entry.digest).filter(|digest| children.contains(digest));
        Ok(wanted.take(CHILDREN_MAX).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_told_apart_by_system_and_architecture() {
        let arm = serde_json::json!({"os": "linux", "architecture": "arm64", "variant": "v8"});
        assert!(Platforms::of(Some("linux/arm64")).include(Some(&arm)));
        assert!(!Platforms::of(Some("linux/amd64")).include(Some(&arm)));
        assert!(Platforms::of(Some("all")).include(Some(&arm)));
        assert!(Platforms::of(None).include(None), "an index may say nothing");
        assert_eq!(Platforms::of(None), Platforms::One(format!("linux/{}", architecture())));
    }
}
