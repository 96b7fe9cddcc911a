//! Makes the room of copies from the configuration.

use std::sync::Arc;

use anyhow::{Result, anyhow};
use shoal_api::Copies;
use shoal_api::tags::Tags;
use shoal_copies::{CopiesOptions, LocalCopies};
use shoal_origin::Origin;
use shoal_telemetry::{Metrics, UpstreamMetrics};
use shoal_upstream::{ProxyEnvironment, Upstreams};

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
