//! Entry point: read the configuration, build the agent, answer until told to stop.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use shoal_agent::app::App;
use shoal_agent::cli::{Cli, Command};
use shoal_agent::config::{self, Config};
use shoal_agent::faces::Inherited;
use shoal_agent::hosts::{self, HostsCommand, Verb};
use shoal_agent::notify::Manager;
use shoal_agent::{reload, signals};
use shoal_http::Shutdown;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Some(Command::Hosts(command)) = &cli.command {
        return wire(&cli, command);
    }
    match start(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}

fn start(cli: &Cli) -> Result<()> {
    let config = config::load(cli)?;
    if cli.print_config {
        return print(&shoal_config::render(&config));
    }
    if cli.check_config {
        return print("the configuration is valid\n");
    }
    shoal_telemetry::init_logging(config.log.format, &config.log.filter);
    if let Err(error) = shoal_http::open_files::raise_limit() {
        tracing::warn!(%error, "the limit on open files cannot be raised");
    }
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(cli, &config))
}

/// Status 1 when there is something to do or to complain about; 2 when `diff` cannot say.
fn wire(cli: &Cli, command: &HostsCommand) -> ExitCode {
    let answer = config::load(cli).map_err(anyhow::Error::from).and_then(|config| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let answer = runtime.block_on(hosts::run(&config, command))?;
        print(&answer.text)?;
        Ok(answer.is_good)
    });
    match answer {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            report(&error);
            ExitCode::from(if matches!(command.verb, Verb::Diff(_)) { 2 } else { 1 })
        }
    }
}

async fn serve(cli: &Cli, config: &Config) -> Result<()> {
    let shutdown = Shutdown::new();
    signals::stop_on_signal(shutdown.clone())?;
    let manager = Manager::from_environment();
    let app = App::build_with(config, Inherited::from_environment()).await?;
    let addresses = app.addresses();
    tracing::info!(registry = %addresses.registry, peer = %addresses.peer, admin = %addresses.admin, "listening");
    if let Some(file) = &cli.ready_file {
        app.write_ready_file(file).with_context(|| format!("cannot write {}", file.display()))?;
    }
    let (health, shaper) = (app.health(), app.shaper());
    let stopping = async {
        shutdown.wait().await;
        manager.stopping();
    };
    tokio::select! {
        ((), ()) = async { tokio::join!(app.run(shutdown.clone()), stopping) } => {}
        () = manager.attend(addresses.registry, &health) => {}
        () = reload::on_signal(cli, &shaper, &manager) => {}
    }
    tracing::info!("stopped");
    Ok(())
}

fn print(text: &str) -> Result<()> {
    use std::io::Write;
    std::io::stdout().write_all(text.as_bytes()).context("cannot write to standard output")
}

#[expect(clippy::print_stderr, reason = "the one place where the program speaks to whoever started it")]
fn report(error: &anyhow::Error) {
    eprintln!("shoal-agent: {error:#}");
}
