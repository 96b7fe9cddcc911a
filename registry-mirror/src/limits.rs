//! How fast pieces may come and go: section `limits`, and the body of `PUT /limits`, which changes it until the next start.

use serde::{Deserialize, Serialize};
use shoal_config::ByteRate;
use shoal_swarm::RateLimits;
use shoal_swarm::shape::RATE_MIN;

/// Limits in bytes per second. Unset: as fast as the network gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RateSettings {
    /// Pieces sent to other agents.
    pub upload: Option<ByteRate>,
    /// Pieces received. What a reader waits for goes before the rest.
    pub download: Option<ByteRate>,
    /// Of these, the ones that a client waits for.
    pub foreground: Option<ByteRate>,
    /// Of these, the ones that no client waits for.
    pub background: Option<ByteRate>,
    /// Of the ones that no client waits for, those of images that are preheated.
    pub prefetch: Option<ByteRate>,
}

impl RateSettings {
    /// Those that are too small to work with, by their keys.
    pub fn too_small(&self) -> Vec<&'static str> {
        let each = [
            ("upload", self.upload),
            ("download", self.download),
            ("foreground", self.foreground),
            ("background", self.background),
            ("prefetch", self.prefetch),
        ];
        each.into_iter()
            .filter(|(_, rate)| rate.is_some_and(|rate| rate.0 < RATE_MIN))
            .map(|(key, _)| key)
            .collect()
    }
}

impl From<RateSettings> for RateLimits {
    fn from(settings: RateSettings) -> Self {
        let rate = |rate: Option<ByteRate>| rate.map(|rate| rate.0);
        Self {
            upload: rate(settings.upload),
            download: rate(settings.download),
            foreground: rate(settings.foreground),
            background: rate(settings.background),
            prefetch: rate(settings.prefetch),
        }
    }
}

impl From<RateLimits> for RateSettings {
    fn from(limits: RateLimits) -> Self {
        Self {
            upload: limits.upload.map(ByteRate),
            download: limits.download.map(ByteRate),
            foreground: limits.foreground.map(ByteRate),
            background: limits.background.map(ByteRate),
            prefetch: limits.prefetch.map(ByteRate),
        }
    }
}
