//! Debian's containerd, Docker, podman, skopeo and buildah against every fault: no pull fails while any source has the bytes.
//!
//! Every day all rows are run but those of [`SOAK`], which are slow and say little that others do not. The whole matrix:
//! `cargo xtask test --tier e2e soak_`.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use shoal_e2e::matrix::fault::{OURS, UPSTREAMS};
use shoal_e2e::matrix::stage::Stage;
use shoal_e2e::matrix::{self, client};

/// Pulls at once while an agent is restarted.
const PULLS: usize = 8;
/// When it is: every client has begun by then, and none is done.
const MIDDLE: Duration = Duration::from_millis(2500);
/// For all of them, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs only faults whose names contain one of these, separated by commas, for whoever looks at one.
const ONLY_VARIABLE: &str = "MATRIX_ONLY";

/// Rows that are not run every day.
const SOAK: &[&str] = &[
    "disk full",
    "registry hangs",
    "registry answers 500",
    "server freezes for 3 s",
    "nobody has it",
    "agent frozen before",
    "cached layer gone",
    "upstream hangs, copy here",
    "upstream is slow",
];

/// Every day so many at least.
const EVERY_DAY_MIN: usize = 20;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "e2e: needs root and every client; run by cargo xtask test --tier e2e"]
async fn every_client_against_the_faults_of_every_day() -> Result<()> {
    let all = OURS.iter().chain(UPSTREAMS);
    let count = all.filter(|fault| !SOAK.contains(&fault.name)).count();
    ensure!(count >= EVERY_DAY_MIN, "only {count} faults are left for every day");
    no_pull_fails(|name| !SOAK.contains(&name)).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "e2e: needs root and every client; run by cargo xtask test --tier e2e soak_"]
async fn soak_every_client_against_every_fault() -> Result<()> {
    let only = std::env::var(ONLY_VARIABLE).unwrap_or_default();
    no_pull_fails(|name| only.split(',').any(|part| name.contains(part))).await
}

/// Runs some rows of the matrix.
async fn no_pull_fails(is_wanted: impl Fn(&str) -> bool) -> Result<()> {
    let begun = Instant::now();
    let mut stage = Stage::start().await?;
    let clients = client::all(&stage.mirrors(), stage.server.listener("registry")?)?;
    let mut cells = Vec::new();
    for faults in [OURS, UPSTREAMS] {
        for fault in faults.iter().filter(|fault| is_wanted(fault.name)) {
            cells.extend(matrix::run(&mut stage, &clients, std::slice::from_ref(fault)).await?);
            let (table, seconds) = (matrix::table(&cells), begun.elapsed().as_secs());
            std::fs::write(report_file(), format!("{table}\n{} cells in {seconds} s\n", cells.len()))?;
        }
    }
    let table = matrix::table(&cells);
    ensure!(!cells.is_empty() && cells.iter().all(|cell| cell.trouble.is_none()), "\n{table}");
    Ok(())
}

/// Where the table can be read afterwards, also of a test that passed.
fn report_file() -> std::path::PathBuf {
    std::env::temp_dir().join("shoal-matrix.txt")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "e2e: needs root and every client; run by cargo xtask test --tier e2e"]
async fn eight_pulls_outlive_a_restart_of_their_agent() -> Result<()> {
    let stage = Stage::start().await?;
    let server = stage.server.listener("registry")?;
    let agent = &stage.agents[0];
    let clients = client::all(&[agent.mirror; client::COUNT], server)?;
    let mut references = Vec::new();
    for number in 0..PULLS {
        references.push(stage.push(&format!("team/restart-{number}"), &[3_000_000], number as u64).await?);
    }
    stage.limit(r#"{"download": "5MB/s"}"#).await?;
    let outcomes = std::thread::scope(|scope| -> Result<Vec<Result<()>>> {
        let pulls: Vec<_> = references
            .iter()
            .enumerate()
            .map(|(number, reference)| {
                let client = &clients[number % clients.len()];
                scope.spawn(move || client.pull(client::REGISTRY, reference, PATIENCE))
            })
            .collect();
        std::thread::sleep(MIDDLE);
        agent.signal(Signal::SIGTERM)?;
        Ok(pulls.into_iter().map(|pull| pull.join().unwrap_or_else(|_| anyhow::bail!("panicked"))).collect())
    })?;
    for (number, outcome) in outcomes.into_iter().enumerate() {
        outcome.with_context(|| format!("pull {number}, by {}", clients[number % clients.len()].name()))?;
    }
    ensure!(agent.starts() == 2, "the agent was started {} times", agent.starts());
    Ok(())
}
