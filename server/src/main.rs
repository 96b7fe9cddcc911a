//! Entry point: read the configuration, start, wait for a signal, drain.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use shoal_server::cli::Cli;
use shoal_server::{App, Config, output, ready};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How long blocking work (a disk flush) may take when the program ends at the second signal.
const ABORT_WAIT: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    match start(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::complain(&format!("shoal-server: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn start(cli: &Cli) -> Result<()> {
    let config = cli.load()?;
    if cli.print_config {
        output::print(&shoal_config::render(&config));
        return Ok(());
    }
    if cli.check_config {
        output::print("the configuration is valid\n");
        return Ok(());
    }
    shoal_telemetry::init_logging(config.log.format, &config.log.filter);
    if let Err(error) = shoal_http::open_files::raise_limit() {
        tracing::warn!(%error, "the limit on open files cannot be raised");
    }
    serve(cli, &config)
}

fn serve(cli: &Cli, config: &Config) -> Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    let outcome = runtime.block_on(async {
        let mut signals = Signals::new()?;
        let app = App::start(config).await?;
        if let Some(path) = &cli.ready_file {
            ready::write(path, &app.addresses())?;
        }
        signals.next().await;
        tracing::info!("stopping; requests under way are finished, a second signal ends them");
        tokio::select! {
            () = app.shutdown() => {}
            () = signals.next() => tracing::warn!("stopped without finishing"),
        }
        Ok(())
    });
    runtime.shutdown_timeout(ABORT_WAIT);
    outcome
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
