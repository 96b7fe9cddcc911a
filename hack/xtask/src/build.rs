//! Builds the programs that demo, tests and benches start.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use shoal_e2e::programs::BIN_DIR_VARIABLE;

use crate::terminal::complain;
use crate::workspace;

/// Packages with a program that ships.
const PROGRAMS: [&str; 3] = ["shoal-server", "shoal-agent", "shoalctl"];

/// Builds the release programs and returns the directory they are in. Programs that the environment names are taken as they are,
/// which is how two builds are compared.
pub(crate) fn release_programs() -> Result<PathBuf> {
    if std::env::var_os(BIN_DIR_VARIABLE).is_some() {
        let directory = shoal_e2e::programs::bin_dir()?;
        complain(format_args!("{BIN_DIR_VARIABLE} is set: using the programs in {}", directory.display()));
        return Ok(directory);
    }
    complain("building the release programs …");
    let metadata = workspace::metadata()?;
    let mut command = workspace::cargo();
    // With this package among them, cargo resolves the same features as for `cargo xtask`, and shares what it built for that.
    command.args(["build", "--release", "--package", env!("CARGO_PKG_NAME")]);
    for package in &metadata.packages {
        if package
            .targets
            .iter()
            .any(|target| PROGRAMS.contains(&target.name.as_str()) && target.kind == ["bin"])
        {
            command.args(["--package", &package.name]);
        }
    }
    let status = command.status().context("cannot run cargo build")?;
    ensure!(status.success(), "the release programs did not build; see cargo's messages above");
    Ok(metadata.target_directory.join("release"))
}

/// Where this program is. A build that was made since it was started may have put a new one there; then Linux says so at the end.
///
/// # Errors
/// When the system does not tell.
pub(crate) fn own_path() -> std::io::Result<String> {
    let own = std::env::current_exe()?.display().to_string();
    Ok(own.strip_suffix(" (deleted)").unwrap_or(&own).to_owned())
}
