//! Makes the room of copies from the configuration.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use shoal_api::Copies;
use shoal_api::tags::Tags;
use shoal_collect::Kept;
use shoal_copies::{CopiesOptions, LocalCopies};
use shoal_origin::Origin;
use shoal_telemetry::{Metrics, UpstreamMetrics};
use shoal_upstream::{ProxyEnvironment, RegistryName, RegistryPattern, Upstreams};

use crate::config::upstreams::UpstreamSettings;
use crate::intake::OriginIntake;

/// The copies of the upstreams that the configuration names; `None` when it names none.
pub(crate) fn copies(
    settings: &[UpstreamSettings],
    tags: Arc<dyn Tags>,
    origin: &Origin,
    metrics: &Metrics,
) -> Result<Option<Arc<dyn Copies>>> {
    if settings.is_empty() {
        return Ok(None);
    }
    let wrong = |(key, why, _)| anyhow!("upstreams: {key}: {why}");
    let options = settings.iter().map(|entry| entry.options().map_err(wrong)).collect::<Result<_>>()?;
    let policies = settings.iter().map(|entry| entry.policy().map_err(wrong)).collect::<Result<_>>()?;
    let environment = ProxyEnvironment::read(|name| std::env::var(name).ok());
    let metrics = UpstreamMetrics::register(metrics);
    let upstreams = Upstreams::new(options, environment, metrics.clone())?;
    tracing::info!(upstreams = upstreams.patterns().join(", "), "pulls through from upstreams");
    let options = CopiesOptions { upstreams, policies, metrics };
    let copies = LocalCopies::new(options, tags, Arc::new(OriginIntake(origin.clone())));
    Ok(Some(Arc::new(copies)))
}

/// How long what nobody pulls stays in each copy; `None` when there are no copies, or everything stays.
pub(crate) fn kept(settings: &[UpstreamSettings]) -> Option<Kept> {
    let kept: Vec<(RegistryPattern, Option<Duration>)> =
        settings.iter().filter_map(|entry| Some((entry.registry.parse().ok()?, entry.kept()))).collect();
    if kept.iter().all(|(_, kept)| kept.is_none()) {
        return None;
    }
    Some(Box::new(move |repository| {
        let (segment, _) = repository.as_str().split_once('/')?;
        let name = RegistryName::of_segment(segment)?;
        kept.iter().find(|(pattern, _)| pattern.matches(&name)).and_then(|(_, kept)| *kept)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_kept_for_as_long_as_their_upstream_says_and_other_repositories_for_ever() {
        let entry = |registry: &str, kept: Option<u64>| UpstreamSettings {
            registry: registry.to_owned(),
            keep_pulled_within: kept.map(shoal_config::Duration::secs),
            ..UpstreamSettings::default()
        };
        let kept = kept(&[entry("r.corp:5000", Some(60)), entry("q.io", Some(0)), entry("*", None)]).unwrap();
        let of = |repository: &str| kept(&repository.parse().unwrap());
        assert_eq!(of("r.corp_5000/team/app"), Some(Duration::from_secs(60)));
        assert_eq!(of("q.io/team/app"), None);
        assert_eq!(of("docker.io/library/nginx"), Some(Duration::from_secs(30 * 24 * 60 * 60)));
        assert_eq!((of("team/app"), of("app"), of("localhost/app")), (None, None, None));
        assert!(super::kept(&[entry("q.io", Some(0))]).is_none() && super::kept(&[]).is_none());
    }
}
