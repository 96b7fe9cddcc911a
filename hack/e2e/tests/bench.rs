//! The developer's tools work: a bench that nobody runs for a month must not be found broken on the day it is needed.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use shoal_e2e::Program;
use shoal_e2e::programs::{self, BIN_DIR_VARIABLE};
use shoal_e2e::tool;

/// `cargo xtask test` says here which program it is.
const XTASK_VARIABLE: &str = "SHOAL_XTASK";

#[test]
#[ignore = "e2e: starts real registries; run by cargo xtask test --tier e2e"]
fn bench_registry_measures_in_its_smallest_form_and_writes_json() -> Result<()> {
    let xtask = std::env::var_os(XTASK_VARIABLE).map(PathBuf::from);
    let xtask =
        xtask.with_context(|| format!("{XTASK_VARIABLE} is not set: run cargo xtask test --tier e2e"))?;
    let program = Program::new(xtask).args(["bench", "registry", "--smoke", "--output", "json"]);
    let words = tool::run(program.env(BIN_DIR_VARIABLE, programs::bin_dir()?))?;
    let list: Vec<serde_json::Value> = serde_json::from_str(&words).with_context(|| words.clone())?;
    let value = |name: &str| {
        let found = list.iter().find(|found| found["name"] == name);
        found.and_then(|found| found["value"].as_f64()).with_context(|| format!("no {name} in {words}"))
    };
    for name in ["push_large_best", "pull_8_streams_best", "push_4kib_rate", "manifest_get_by_tag_rate"] {
        let rate = value(&format!("registry_{name}_shoal"))?;
        ensure!(rate > 0.0 && rate.is_finite(), "{name} is {rate}");
    }
    ensure!(value("registry_start_ready_shoal")? > 0.0, "no time of a start");
    ensure!(list.iter().any(|found| found["holds"].is_boolean()), "no bar: {words}");
    Ok(())
}
