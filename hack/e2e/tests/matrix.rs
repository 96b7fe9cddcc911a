//! Debian's containerd, Docker, podman, skopeo and buildah against every fault: no pull fails while any source has the bytes.

use std::time::Instant;

use anyhow::{Result, ensure};
use shoal_e2e::matrix::fault::{OURS, UPSTREAMS};
use shoal_e2e::matrix::stage::Stage;
use shoal_e2e::matrix::{self, client};

/// Runs only faults whose names contain this, for whoever looks at one.
const ONLY_VARIABLE: &str = "MATRIX_ONLY";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "e2e: needs root and every client; run by cargo xtask test --tier e2e"]
async fn every_client_against_every_fault() -> Result<()> {
    let begun = Instant::now();
    let mut stage = Stage::start().await?;
    let clients = client::all(&stage.mirrors(), stage.server.listener("registry")?)?;
    let only = std::env::var(ONLY_VARIABLE).unwrap_or_default();
    let mut cells = Vec::new();
    for faults in [OURS, UPSTREAMS] {
        for fault in faults.iter().filter(|fault| fault.name.contains(&only)) {
            cells.extend(matrix::run(&mut stage, &clients, std::slice::from_ref(fault)).await?);
        }
    }
    let table = matrix::table(&cells);
    let seconds = begun.elapsed().as_secs();
    std::fs::write(report_file(), format!("{table}\n{} cells in {seconds} s\n", cells.len()))?;
    ensure!(cells.iter().all(|cell| cell.trouble.is_none()), "\n{table}");
    Ok(())
}

/// Where the table can be read afterwards, also of a test that passed.
fn report_file() -> std::path::PathBuf {
    std::env::temp_dir().join("shoal-matrix.txt")
}
