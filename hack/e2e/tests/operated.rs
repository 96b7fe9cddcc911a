//! What an operator has agents do: every verb of `shoalctl` that speaks to an agent, against real ones.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use shoal_e2e::wait::wait_for;
use shoal_e2e::{Cluster, Node, Puller, fixture, shoalctl};
use shoal_test_images::ImageSpec;

const REPOSITORY: &str = "team/operated";
const IMAGE: &str = "team/operated:v1";
const SIZES: [u64; 3] = [3_000_000, 400_000, 9_000];
/// For what takes a moment on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// `shoalctl WORDS --agent …` as a program reads its answer, which must be a good one.
fn told(agents: &[&Node], words: &[&str]) -> Result<Value> {
    let urls: Vec<_> = agents
        .iter()
        .map(|agent| Ok(format!("http://{}", agent.listener("admin")?)))
        .collect::<Result<_>>()?;
    let urls = urls.join(",");
    let text = shoalctl::run(words.iter().copied().chain(["--agent", &urls, "--output", "json"]), "")?;
    serde_json::from_str(&text).with_context(|| text.clone())
}

/// The same for one agent, without its name.
fn answer(agent: &Node, words: &[&str]) -> Result<Value> {
    Ok(told(&[agent], words)?[0]["answer"].take())
}

async fn pull(agent: &Node) -> Result<()> {
    let report = Puller::new(agent.registry()?, Arc::new(|_| {})).pull(REPOSITORY, "v1").await?;
    ensure!(report.wrong().next().is_none(), "wrong bytes");
    Ok(())
}

/// A cluster with two agents and an image; the bytes and the number of its blobs.
async fn stage() -> Result<(Cluster, u64, u64)> {
    let cluster = Cluster::start(2)?;
    let (layout, image) =
        fixture::made(&cluster.directory().join("image"), &ImageSpec::new(SIZES.to_vec(), 7))?;
    cluster.server.registry()?.push(REPOSITORY, "v1", &layout, &image, &|_| {}).await?;
    Ok((cluster, image.blob_bytes(), image.blobs().count() as u64))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "e2e: starts real programs; run by cargo xtask test --tier e2e"]
async fn what_is_fetched_beforehand_is_kept_by_a_pin_and_goes_by_an_order() -> Result<()> {
    let (cluster, size, count) = stage().await?;
    let agents: Vec<&Node> = cluster.agents.iter().collect();
    let jobs = told(&agents, &["pull", IMAGE])?;
    for number in 0..agents.len() {
        let job = &jobs[number]["job"];
        ensure!(job["state"] == "done" && job["bytes"] == size, "{jobs}");
    }
    let agent = agents[0];
    let sent = agent.metrics().await?.received();
    pull(agent).await?;
    ensure!(agent.metrics().await?.received() == sent, "what was fetched beforehand was fetched again");

    let pinned = answer(agent, &["agent", "pin", IMAGE])?;
    ensure!(pinned["blobs"] == count, "{pinned}");
    let pins = answer(agent, &["agent", "pins"])?;
    ensure!(pins[IMAGE].as_array().map(Vec::len) == Some(usize::try_from(count)?), "{pins}");
    let none = answer(agent, &["agent", "evict", IMAGE])?;
    ensure!(none["evicted"] == 0 && none["pinned"] == count, "{none}");
    answer(agent, &["agent", "unpin", IMAGE])?;
    ensure!(answer(agent, &["agent", "unpin", IMAGE]).is_err(), "it was not pinned any more");
    let evicted = answer(agent, &["agent", "evict", IMAGE])?;
    ensure!(evicted["evicted"] == count && evicted["bytes"] == size, "{evicted}");
    pull(agent).await?;
    ensure!(agent.metrics().await?.received() > sent, "what was evicted was still there");
    ensure!(told(&agents, &["pull", "team/absent:v1"]).is_err(), "an image that there is not was fetched");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "e2e: starts real programs; run by cargo xtask test --tier e2e"]
async fn who_is_drained_gives_nothing_to_others_until_that_ends() -> Result<()> {
    let (cluster, _, _) = stage().await?;
    let [first, second] = &cluster.agents[..] else { anyhow::bail!("two agents") };
    pull(first).await?;
    answer(first, &["agent", "drain"])?;
    let server = format!("http://{}", cluster.server.listener("admin")?);
    let admin = format!("http://{}", first.listener("admin")?);
    let status = || shoalctl::run(["--server", &server, "status", "--agents", &admin], "");
    ensure!(status().is_err(), "a drained agent says that it is ready");
    // Its own machine is served as before, and others get it from somebody else.
    pull(first).await?;
    pull(second).await?;
    ensure!(second.metrics().await?.received_from("peer") == 0.0, "a drained agent gave pieces");
    ensure!(first.metrics().await?.sent() == 0.0, "a drained agent sent pieces");
    answer(first, &["agent", "drain", "--end"])?;
    let ready = wait_for(PATIENCE, || async { status().ok() });
    ready.await.context("it does not get ready again")?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "e2e: starts real programs; run by cargo xtask test --tier e2e"]
async fn limits_hold_and_every_pull_says_why_it_went_so() -> Result<()> {
    let (cluster, size, _) = stage().await?;
    let agent = &cluster.agents[0];
    let set = answer(agent, &["agent", "limits", "--download", "1MB/s", "--upload", "64KiB/s"])?;
    ensure!(set == answer(agent, &["agent", "limits"])? && set["download"].is_string(), "{set}");
    ensure!(answer(agent, &["agent", "limits", "--download", "1B/s"]).is_err(), "too slow for anything");
    let begun = std::time::Instant::now();
    pull(agent).await?;
    // A bucket's worth may come at once.
    let least = Duration::from_secs_f64((size as f64 / 1e6 - 1.5).max(0.5));
    ensure!(begun.elapsed() >= least, "{size} bytes came in {:?} at 1 MB/s", begun.elapsed());
    let lifted = answer(agent, &["agent", "limits", "--none"])?;
    ensure!(lifted["download"].is_null() && lifted["upload"].is_null(), "{lifted}");

    let all = answer(agent, &["agent", "why", "-n", "100"])?;
    let records = all.as_array().context("no records")?;
    let of_layer = records.iter().find(|record| record["sent_bytes"].as_u64() > Some(1_000_000));
    let of_layer = of_layer.with_context(|| format!("no record of the large layer in {all}"))?;
    ensure!(of_layer["outcome"] == "served" && of_layer["status"] == 200, "{of_layer}");
    let ranges = of_layer["sources"].as_array().context("no sources")?;
    let told: u64 =
        ranges.iter().filter_map(|range| Some(range["end"].as_u64()? - range["start"].as_u64()?)).sum();
    ensure!(Some(told) == of_layer["sent_bytes"].as_u64(), "not every byte has a source: {of_layer}");
    for key in ["digest", "trace"] {
        let what = of_layer[key].as_str().context("no such key")?;
        let found = answer(agent, &["agent", "why", what])?;
        let found = found.as_array().context("no records")?;
        ensure!(!found.is_empty() && found.iter().all(|record| record[key] == what), "{key}: {found:?}");
    }
    let table =
        shoalctl::run(["agent", "--agent", &format!("http://{}", agent.listener("admin")?), "why"], "")?;
    ensure!(table.contains("FIRST BYTE") && table.contains("owner"), "{table}");
    Ok(())
}
