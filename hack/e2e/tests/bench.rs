//! The developer's tools work: a bench that nobody runs for a month must not be found broken on the day it is needed.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use shoal_e2e::Program;
use shoal_e2e::programs::{self, BIN_DIR_VARIABLE};
use shoal_e2e::tool;

/// `cargo xtask test` says here which program it is.
const XTASK_VARIABLE: &str = "SHOAL_XTASK";

/// Runs a bench in its smallest form. Returns its measurements.
fn smoke(bench: &str) -> Result<Vec<serde_json::Value>> {
    let list = measured(&[bench, "--smoke"])?;
    ensure!(list.iter().any(|found| found["holds"].is_boolean()), "no bar: {list:?}");
    Ok(list)
}

/// Runs a bench with these words. Returns its measurements.
fn measured(words: &[&str]) -> Result<Vec<serde_json::Value>> {
    let xtask = std::env::var_os(XTASK_VARIABLE).map(PathBuf::from);
    let xtask =
        xtask.with_context(|| format!("{XTASK_VARIABLE} is not set: run cargo xtask test --tier e2e"))?;
    let program = Program::new(xtask).arg("bench").args(words).args(["--output", "json"]);
    let words = tool::run(program.env(BIN_DIR_VARIABLE, programs::bin_dir()?))?;
    serde_json::from_str(&words).with_context(|| words.clone())
}

fn value(list: &[serde_json::Value], name: &str) -> Result<f64> {
    let found = list.iter().find(|found| found["name"] == name);
    found.and_then(|found| found["value"].as_f64()).with_context(|| format!("no {name} in {list:?}"))
}

#[test]
#[ignore = "e2e: starts real registries; run by cargo xtask test --tier e2e"]
fn bench_registry_measures_in_its_smallest_form_and_writes_json() -> Result<()> {
    let list = smoke("registry")?;
    for name in ["push_large_best", "pull_8_streams_best", "push_4kib_rate", "manifest_get_by_tag_rate"] {
        let rate = value(&list, &format!("registry_{name}_shoal"))?;
        ensure!(rate > 0.0 && rate.is_finite(), "{name} is {rate}");
    }
    ensure!(value(&list, "registry_start_ready_shoal")? > 0.0, "no time of a start");
    Ok(())
}

#[test]
#[ignore = "e2e: starts real programs; run by cargo xtask test --tier e2e"]
fn bench_mirror_measures_in_its_smallest_form_and_writes_json() -> Result<()> {
    let list = smoke("mirror")?;
    for name in ["idle_rss", "busy_rss_peak", "tag_head_p99", "warm_pull"] {
        let found = value(&list, &format!("mirror_{name}"))?;
        ensure!(found > 0.0 && found.is_finite(), "{name} is {found}");
    }
    Ok(())
}

#[test]
#[ignore = "e2e: makes network namespaces, needs root; run by cargo xtask test --tier e2e"]
fn bench_swarm_takes_each_mechanism_away() -> Result<()> {
    for mechanism in ["uncoordinated", "random-neighbour", "small-window", "large-window"] {
        let few = ["--agents", "2", "--size", "2MiB", "--runs", "1", "--alone"];
        let words = [&["swarm", "--ablate", mechanism][..], &few].concat();
        let list = measured(&words)?;
        let ended = list
            .iter()
            .find(|found| found["name"].as_str().is_some_and(|name| name.ends_with("_completion_max")));
        ensure!(
            ended.is_some_and(|found| found["value"].as_f64() > Some(0.5)),
            "without {mechanism}: {list:?}"
        );
    }
    Ok(())
}

#[test]
#[ignore = "e2e: makes network namespaces, needs root; run by cargo xtask test --tier e2e"]
fn bench_swarm_measures_every_case_in_its_smallest_form() -> Result<()> {
    let list = smoke("swarm")?;
    // No link is faster than its rate, and every pull has the right bytes.
    for case in ["s0_tcp", "h1_shoal", "h2_shoal", "h3_shoal", "h4_shoal"] {
        let ratio = value(&list, &format!("swarm_{case}_completion_max"))?;
        ensure!(ratio.is_finite() && ratio > 0.5, "{case} took {ratio} of the bound");
    }
    for case in ["hetero", "staggered", "churn"] {
        let ratio = value(&list, &format!("swarm_{case}_shoal_own_bound_max"))?;
        ensure!(ratio.is_finite() && ratio > 0.5, "{case} took {ratio} of an agent's own bound");
    }
    for case in ["c1", "tls", "memory"] {
        ensure!(value(&list, &format!("swarm_{case}_shoal_rss_peak"))? > 0.0, "no memory in {case}");
        value(&list, &format!("swarm_{case}_shoal_cpu_per_gb"))?;
    }
    ensure!(value(&list, "swarm_small_shoal_cold_mib_p99")? > 0.0, "no latency of a small blob");
    ensure!(value(&list, "swarm_demand_shoal_reads")? > 0.0, "no reads");
    for case in ["h1", "hetero", "staggered", "churn", "c1", "tls", "memory", "small", "demand"] {
        ensure!(value(&list, &format!("swarm_{case}_shoal_wrong_outputs"))? == 0.0, "wrong bytes in {case}");
    }
    Ok(())
}
