//! What the programs count, read from their own `/metrics`: tests and benches assert from counters and never guess.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use shoal_http::Client;

/// The longest scrape that is read; ours have a few dozen KiB.
const SCRAPE_LEN_MAX: usize = 4 * 1024 * 1024;
/// How long a scrape may take.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(30);

/// One scrape.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    samples: Vec<Sample>,
}

#[derive(Clone, Debug, PartialEq)]
struct Sample {
    name: String,
    labels: String,
    value: f64,
}

impl Metrics {
    /// Scrapes the admin listener of a program.
    pub async fn scrape(admin: SocketAddr) -> Result<Self> {
        Self::parse(&Self::fetch(admin).await?)
    }

    /// The text of a scrape, for whoever passes it on.
    pub async fn fetch(admin: SocketAddr) -> Result<String> {
        let url = format!("http://{admin}/metrics");
        let text = Client::default().get_bytes(&url, SCRAPE_LEN_MAX, SCRAPE_TIMEOUT).await?;
        String::from_utf8(text.into()).with_context(|| format!("{url} is not text"))
    }

    /// Reads the text format of OpenMetrics as our programs write it.
    pub fn parse(text: &str) -> Result<Self> {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let samples = lines.map(|line| parse_line(line).with_context(|| format!("not a sample: {line}")));
        Ok(Self { samples: samples.collect::<Result<_>>()? })
    }

    /// The sum of all series of a name whose labels include every `label="value"` of `labels`; 0 when there is none, because a
    /// counter that was never touched has no series.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let wanted: Vec<String> =
            labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        let matching = self.samples.iter().filter(|sample| {
            sample.name == name
                && wanted.iter().all(|pair| sample.labels.split(',').any(|label| label == pair))
        });
        matching.map(|sample| sample.value).sum()
    }

    /// Bytes that the swarm received from `source`: `peer`, `owner` or `web`.
    pub fn received_from(&self, source: &str) -> f64 {
        self.sum("shoal_swarm_received_bytes_total", &[("source", source)])
    }

    /// Bytes that the swarm received from anybody.
    pub fn received(&self) -> f64 {
        self.sum("shoal_swarm_received_bytes_total", &[])
    }

    /// Bytes of blobs that an agent gave to its clients.
    pub fn sent_to_clients(&self) -> f64 {
        self.sum("shoal_mirror_sent_bytes_total", &[])
    }

    /// Bytes that the swarm sent to anybody.
    pub fn sent(&self) -> f64 {
        self.sum("shoal_swarm_sent_bytes_total", &[])
    }

    /// Pieces that arrived with this `result`: `stored`, `duplicate` or `corrupt`.
    pub fn pieces(&self, result: &str) -> f64 {
        self.sum("shoal_swarm_pieces_total", &[("result", result)])
    }
}

fn parse_line(line: &str) -> Option<Sample> {
    let (series, rest) = match line.split_once('{') {
        Some((name, rest)) => {
            let (labels, rest) = rest.split_once('}')?;
            ((name, labels), rest)
        }
        None => {
            let (name, rest) = line.split_once(' ')?;
            ((name, ""), rest)
        }
    };
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample { name: series.0.to_owned(), labels: series.1.to_owned(), value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_summed_by_label() {
        let text = "# TYPE shoal_swarm_received_bytes counter\n\
            shoal_swarm_received_bytes_total{source=\"peer\"} 70\n\
            shoal_swarm_received_bytes_total{source=\"owner\"} 30\n\
            shoal_swarm_connections 4\n# EOF\n";
        let metrics = Metrics::parse(text).unwrap();
        assert_eq!(metrics.received_from("peer"), 70.0);
        assert_eq!(metrics.received(), 100.0);
        assert_eq!(metrics.received_from("web"), 0.0);
        assert_eq!(metrics.sum("shoal_swarm_connections", &[]), 4.0);
        assert!(Metrics::parse("nonsense").is_err());
    }
}
