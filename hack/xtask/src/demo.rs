//! `cargo xtask demo`: the whole line on one machine. Only cargo is needed.
//!
//! A server and agents as separate processes on loopback ports that the kernel chose; an image made from nothing is pushed
//! through the registry API and pulled through all agents at once, the way containerd pulls. Every number in the closing table
//! comes from the clients' clocks or from the programs' own counters, and every digest is checked.

mod by_hand;
mod progress;
mod report;

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use shoal_e2e::{Cluster, Metrics, PullReport, Puller};
use shoal_test_images::spec::RootFs;
use shoal_test_images::{Image, ImageSpec, Layout, busybox};

use crate::interrupt::Interrupts;
use crate::terminal::complain;
use crate::{build, options};
use progress::Progress;
use report::{AgentReport, Report};

/// The registry name that the clients believe they pull from.
const NAMESPACE: &str = "demo.example.com";
/// The repository on the server.
const REPOSITORY: &str = "demo/image";
const TAG: &str = "v1";

/// Options of `cargo xtask demo`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Number of agents
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    agents: u16,
    /// Size of the image's layers together
    #[arg(long, default_value = "256MiB", value_parser = options::size)]
    size: u64,
    /// Number of layers
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    layers: u32,
    /// Leave everything running until Ctrl-C, and say what to try by hand
    #[arg(long)]
    keep: bool,
    /// What the result is written as
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// For people
    Table,
    /// For programs
    Json,
}

/// Builds, runs, reports.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let bin_dir = build::release_programs()?;
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    runtime.block_on(async {
        let mut interrupts = Interrupts::catch()?;
        let cluster = interrupts.guard(demonstrate(arguments, &bin_dir)).await?;
        if arguments.keep {
            by_hand::explain(&cluster, NAMESPACE, REPOSITORY, TAG)?;
            interrupts.wait().await;
        }
        Ok(())
    })
}

/// Everything up to the report. The programs run as long as the returned cluster is there.
async fn demonstrate(arguments: &Arguments, bin_dir: &Path) -> Result<Cluster> {
    complain(format_args!("starting a server and {} agents …", arguments.agents));
    let cluster = Cluster::start_from(bin_dir, usize::from(arguments.agents))?;
    let (layout, image) = make_image(arguments, &cluster.directory().join("image"))?;
    push(&cluster, &layout, &image).await?;
    let before = scrape_all(&cluster).await?;
    let pulls = pull_everywhere(&cluster, &image).await?;
    let after = scrape_all(&cluster).await?;
    let report = summarize(&image, &pulls, &before, &after);
    match arguments.output {
        Output::Table => report.print_table(),
        Output::Json => report.print_json(),
    }
    ensure!(report.wrong() == 0, "{} blobs did not arrive with their digest", report.wrong());
    Ok(cluster)
}

fn make_image(arguments: &Arguments, directory: &Path) -> Result<(Layout, Image)> {
    complain("making an image from nothing …");
    let mut spec = ImageSpec::evenly(arguments.size, arguments.layers, 1);
    spec.rootfs =
        busybox::find().map(|busybox| RootFs { busybox, marker: "pulled through a shoal\n".to_owned() });
    let mut layout = Layout::open(directory)?;
    let image = layout.add(&spec, TAG)?;
    Ok((layout, image))
}

async fn push(cluster: &Cluster, layout: &Layout, image: &Image) -> Result<()> {
    let progress = Progress::new();
    let bar = progress.bar("push", image.blob_bytes());
    let watch = bar.clone();
    let registry = cluster.server.registry()?;
    registry.push(REPOSITORY, TAG, layout, image, &move |len| watch.advance(len)).await?;
    bar.finish();
    Ok(())
}

async fn pull_everywhere(cluster: &Cluster, image: &Image) -> Result<Vec<PullReport>> {
    let progress = Progress::new();
    let mut tasks = Vec::new();
    for (number, agent) in (1..).zip(&cluster.agents) {
        let bar = progress.bar(&format!("agent {number}"), image.blob_bytes());
        let registry = agent.registry()?.for_namespace(NAMESPACE);
        tasks.push(tokio::spawn(async move {
            let watch = bar.clone();
            let report =
                Puller::new(registry, Arc::new(move |len| watch.advance(len))).pull(REPOSITORY, TAG).await;
            bar.finish();
            report
        }));
    }
    let mut reports = Vec::new();
    for (number, task) in (1..).zip(tasks) {
        reports.push(task.await?.with_context(|| format!("the pull through agent {number} failed"))?);
    }
    Ok(reports)
}

/// The counters of the server, then of every agent.
async fn scrape_all(cluster: &Cluster) -> Result<Vec<Metrics>> {
    let mut all = vec![cluster.server.metrics().await?];
    for agent in &cluster.agents {
        all.push(agent.metrics().await?);
    }
    Ok(all)
}

fn summarize(image: &Image, pulls: &[PullReport], before: &[Metrics], after: &[Metrics]) -> Report {
    let growth = |index: usize, count: &dyn Fn(&Metrics) -> f64| count(&after[index]) - count(&before[index]);
    let expected: usize = image.platforms.first().map_or(0, |platform| platform.layers.len() + 1);
    let agents: Vec<AgentReport> = (1..)
        .zip(pulls)
        .map(|(index, pull)| AgentReport {
            name: format!("agent {index}"),
            seconds: pull.duration.as_secs_f64(),
            first_byte_seconds: pull.first_byte.as_secs_f64(),
            bytes: pull.bytes(),
            from_peers: growth(index, &|metrics| metrics.received_from("peer")),
            from_origin: growth(index, &|metrics| {
                metrics.received_from("owner") + metrics.received_from("web")
            }),
            wrong: pull.wrong().count() + expected.saturating_sub(pull.blobs.len()),
        })
        .collect();
    // What the server's swarm counts as sent, and what agents took from it by plain HTTP.
    let web: f64 = (1..after.len()).map(|index| growth(index, &|metrics| metrics.received_from("web"))).sum();
    let origin_bytes = growth(0, &Metrics::sent) + web;
    let duplicate_pieces =
        (1..after.len()).map(|index| growth(index, &|metrics| metrics.pieces("duplicate"))).sum();
    Report { image_bytes: image.blob_bytes(), agents, origin_bytes, duplicate_pieces }
}
