//! SIGHUP: the configuration is read again, and what can change without a restart does.
//!
//! That is `limits`. Certificates are followed by themselves, and sockets, the cache and names need a restart, which refuses nobody
//! where the service manager keeps the sockets. A file with a mistake changes nothing.

use shoal_swarm::Shaper;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::Cli;
use crate::config;
use crate::limits::RateSettings;
use crate::notify::Manager;

/// Reads the configuration again on each SIGHUP. Never returns.
pub async fn on_signal(cli: &Cli, shaper: &Shaper, manager: &Manager) {
    let Ok(mut signals) = signal(SignalKind::hangup()) else {
        tracing::warn!("SIGHUP cannot be heard; a change of the configuration needs a restart");
        return std::future::pending().await;
    };
    while signals.recv().await.is_some() {
        manager.reloading();
        let words = match reload(cli, shaper) {
            Ok(limits) => {
                tracing::info!(?limits, "the configuration was read again; its limits hold now");
                "the configuration was read again".to_owned()
            }
            Err(error) => {
                tracing::error!(%error, "the configuration cannot be read again; what held before still does");
                format!("the configuration has a mistake and was not taken: {error}").replace('\n', " ")
            }
        };
        manager.reloaded(&words);
    }
}

fn reload(cli: &Cli, shaper: &Shaper) -> Result<RateSettings, shoal_config::ConfigErrors> {
    let config = config::load(cli)?;
    shaper.set(config.limits.into());
    Ok(config.limits)
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use shoal_swarm::RateLimits;

    use super::*;

    #[test]
    fn limits_of_the_file_hold_and_a_mistake_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("agent.yaml");
        let shaper = Shaper::new(RateLimits::default());
        let cli = Cli::parse_from(["shoal-agent", "--config", file.to_str().unwrap()]);
        std::fs::write(&file, "limits: {upload: 5MB/s}").unwrap();
        reload(&cli, &shaper).unwrap();
        assert_eq!(shaper.limits().upload, Some(5_000_000));
        std::fs::write(&file, "limits: {upload: 7MB/s, speed: 9}").unwrap();
        reload(&cli, &shaper).unwrap_err();
        assert_eq!(shaper.limits().upload, Some(5_000_000));
    }
}
