//! x
use anyhow::Result;
#[derive(clap::Args)]
pub(crate) struct Arguments {}
pub(crate) fn run(_c: &Arguments) -> Result<()> {
    Ok(())
}
