//! The load: requests over keep-alive connections, prepared before the clock starts and counted by their answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use shoal_e2e::wire::{Wire, target, with_parameter};
use shoal_oci::Digest;
use tokio::task::JoinSet;

use super::corpus::Item;

/// The repository that everything is pushed to.
pub(super) const REPOSITORY: &str = "bench/app";
/// No answer after this long: the registry hangs.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

/// What came back.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// From the first request to the last answer.
    pub(super) seconds: f64,
    /// Of every answer, in milliseconds.
    pub(super) latencies_ms: Vec<f64>,
    /// Bytes of bodies, in the direction that the phase is about.
    pub(super) bytes: u64,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.latencies_ms.extend(other.latencies_ms);
        self.bytes += other.bytes;
    }
}

/// Pushes one blob: POST, then PUT with all bytes.
pub(super) async fn push(address: SocketAddr, item: &Item<'_>) -> Result<Tally> {
    let mut wire = Wire::connect(address).await?;
    let began = Instant::now();
    let [mark, rest] = item.parts();
    within(push_over(&mut wire, &item.digest, &[mark, rest])).await?;
    let seconds = began.elapsed().as_secs_f64();
    Ok(Tally { seconds, latencies_ms: vec![seconds * 1000.0], bytes: item.size() })
}

/// POST and PUT on an open connection.
pub(super) async fn push_over(wire: &mut Wire, digest: &Digest, body: &[&[u8]]) -> Result<()> {
    let open = wire.request("POST", &format!("/v2/{REPOSITORY}/blobs/uploads/"), &[], Some(0));
    let status = wire.exchange(&[&open]).await?.status;
    ensure!(status == 202, "POST of an upload was answered {status}");
    let upload = target(wire.header("location").context("an upload without Location")?).to_owned();
    let put = with_parameter(&upload, "digest", &digest.to_string());
    let len = body.iter().map(|part| part.len() as u64).sum();
    let head = wire.request("PUT", &put, &[("content-type", "application/octet-stream")], Some(len));
    let request: Vec<&[u8]> = std::iter::once(head.as_slice()).chain(body.iter().copied()).collect();
    let status = wire.exchange(&request).await?.status;
    ensure!(status == 201, "PUT of {len} bytes was answered {status}");
    Ok(())
}

/// Pulls a blob on `streams` connections at once, `times` times each, and throws the bytes away.
pub(super) async fn pull(
    address: SocketAddr,
    blob: (Digest, u64),
    streams: usize,
    times: usize,
) -> Result<Tally> {
    let mut wires = Vec::new();
    for _ in 0..streams {
        wires.push(Wire::connect(address).await?);
    }
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for mut wire in wires {
        tasks.spawn(async move {
            let request = wire.request("GET", &format!("/v2/{REPOSITORY}/blobs/{}", blob.0), &[], None);
            let mut tally = Tally::default();
            for _ in 0..times {
                let begun = Instant::now();
                let received = within(async { Ok(wire.exchange(&[&request]).await?) }).await?;
                ensure!(
                    received.status == 200 && received.len == blob.1,
                    "GET of a blob gave {received:?} and not {} bytes",
                    blob.1
                );
                tally.latencies_ms.push(begun.elapsed().as_secs_f64() * 1000.0);
                tally.bytes += received.len;
            }
            Ok(tally)
        });
    }
    gather(tasks, began).await
}

/// Sends requests again and again, each connection its own part of the list first, until the time is over.
pub(super) async fn repeat(
    address: SocketAddr,
    connections: usize,
    duration: Duration,
    requests: Vec<Vec<u8>>,
) -> Result<Tally> {
    let requests = Arc::new(requests);
    let mut wires = Vec::new();
    for _ in 0..connections {
        wires.push(Wire::connect(address).await?);
    }
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for (number, mut wire) in wires.into_iter().enumerate() {
        let requests = Arc::clone(&requests);
        tasks.spawn(async move {
            let mut tally = Tally::default();
            let mut begun = Instant::now();
            for at in number.. {
                let request = &requests[at % requests.len()];
                let received = wire.exchange(&[request]).await?;
                ensure!(received.status == 200, "{} was answered {}", first_line(request), received.status);
                let now = Instant::now();
                tally.latencies_ms.push((now - begun).as_secs_f64() * 1000.0);
                tally.bytes += received.len;
                if now - began >= duration {
                    break;
                }
                begun = now;
            }
            Ok(tally)
        });
    }
    within(gather(tasks, began)).await
}

/// Pushes small blobs that nobody has until the time is over or `count_max` were pushed. A latency is that of POST and PUT.
pub(super) async fn push_small(
    address: SocketAddr,
    connections: usize,
    duration: Duration,
    count_max: u64,
    (seed, bytes): (u64, Vec<u8>),
) -> Result<Tally> {
    let mut wires = Vec::new();
    for _ in 0..connections {
        wires.push(Wire::connect(address).await?);
    }
    let each = count_max.div_ceil(connections as u64).max(1);
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for (number, mut wire) in (0_u64..).zip(wires) {
        let mut bytes = bytes.clone();
        tasks.spawn(async move {
            let mut tally = Tally::default();
            for count in 0..each {
                bytes[..8].copy_from_slice(&seed.to_le_bytes());
                bytes[8..16].copy_from_slice(&(number << 40 | count).to_le_bytes());
                let digest = Digest::sha256(&bytes);
                let begun = Instant::now();
                push_over(&mut wire, &digest, &[&bytes]).await?;
                tally.latencies_ms.push(begun.elapsed().as_secs_f64() * 1000.0);
                tally.bytes += bytes.len() as u64;
                if began.elapsed() >= duration {
                    break;
                }
            }
            Ok(tally)
        });
    }
    within(gather(tasks, began)).await
}

async fn gather(mut tasks: JoinSet<Result<Tally>>, began: Instant) -> Result<Tally> {
    let mut total = Tally::default();
    while let Some(tally) = tasks.join_next().await {
        total.add(tally??);
    }
    total.seconds = began.elapsed().as_secs_f64();
    Ok(total)
}

async fn within<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, work).await;
    answer.with_context(|| format!("no answer after {ANSWER_TIMEOUT:?}"))?
}

fn first_line(request: &[u8]) -> String {
    String::from_utf8_lossy(request.split(|byte| *byte == b'\r').next().unwrap_or_default()).into_owned()
}
