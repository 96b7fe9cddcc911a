//! Log lines on standard error: for people, or one JSON object per line for collectors.

use std::io::IsTerminal;

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Time, level, message, fields.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Whether `filter` is a filter such as `info` or `info,shoal_swarm=debug`.
///
/// # Errors
/// Says which part is wrong.
pub fn check_filter(filter: &str) -> Result<(), ParseError> {
    EnvFilter::try_new(filter).map(drop)
}

/// Sends this process's log lines to standard error. `filter` is a level or a list such as `info,shoal_swarm=debug`; one that does
/// not parse is replaced by `info`, because a program that runs without a log is worse. Only the first call in a process counts.
pub fn init_logging(format: LogFormat, filter: &str) {
    let parsed = EnvFilter::try_new(filter);
    let refused = parsed.as_ref().err().map(ToString::to_string);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(parsed.unwrap_or_else(|_| EnvFilter::new("info")))
        .with_writer(std::io::stderr);
    let outcome = match format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).try_init(),
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "logging was set up before");
    }
    if let Some(error) = refused {
        tracing::warn!(%filter, %error, "log filter not understood; logging at info");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters() {
        assert!(check_filter("info,shoal_swarm=debug").is_ok());
        assert!(check_filter("shoal=loudest=x").is_err());
    }
}
