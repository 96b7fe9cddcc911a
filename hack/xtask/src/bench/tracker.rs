//! `cargo xtask bench tracker`: what a tracker answers on one core, and how often a fleet asks.
//!
//! The first is measured: the tracker's own room behind its real HTTP listener, in a process of its own on one core, and the load from
//! another process on another core, over loopback, one blob in each request unless it says otherwise. What counts is announces per second
//! of the server's CPU time, because others may use the core as well; the rate by the clock stands beside it. The second is computed: the
//! same tracker, in virtual time, with ten thousand agents that come when it tells them to. Nothing of the network is in either.

mod fleet;
mod load;
mod room;

use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::measurement::{self, Measurement};
use crate::terminal::{complain, say};

/// The core of the server, and that of the load.
const CORES: [&str; 2] = ["0", "1"];

/// Options of `cargo xtask bench tracker`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Seconds of load in each run
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Runs of each kind; the median counts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    rounds: u32,
    /// Agents of the fleet
    #[arg(long, default_value_t = 10_000)]
    agents: usize,
    /// What the result is written as
    #[arg(long, value_enum, default_value = "table")]
    output: measurement::Output,
    /// Be the server: what the bench starts on a core of its own
    #[arg(long, hide = true)]
    room: bool,
    /// Be the load on this server
    #[arg(long, hide = true)]
    load: Option<std::net::SocketAddr>,
    /// Blobs in each request of the load
    #[arg(long, hide = true, default_value_t = 1)]
    blobs: usize,
}

/// Measures.
pub(super) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.room {
        return room::serve();
    }
    if let Some(server) = arguments.load {
        let answered = load::run(server, arguments)?;
        say(format_args!("{}", serde_json::to_string(&answered)?));
        return Ok(());
    }
    ensure!(arguments.agents > 0, "--agents is the number of agents, at least one");
    let mut measurements = Vec::new();
    for blobs in [1, 8] {
        measurements.extend(measure(arguments, blobs)?);
    }
    measurements.extend(fleet::simulate(arguments.agents)?);
    measurement::print(&measurements, arguments.output);
    Ok(())
}

/// The median of some runs with `blobs` in each request.
fn measure(arguments: &Arguments, blobs: usize) -> Result<Vec<Measurement>> {
    let mut runs = Vec::new();
    for _ in 0..arguments.rounds {
        let one = measure_once(arguments, blobs)?;
        complain(format_args!(
            "{blobs} in a request: {:.0} announces/s of CPU, {:.0} by the clock",
            one.0, one.1
        ));
        runs.push(one);
    }
    runs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (per_cpu, by_clock) = runs[runs.len() / 2];
    let what = if blobs == 1 { String::new() } else { format!(", {blobs} in a request") };
    let per_core = Measurement::new(format!("announces on one core{what}"), per_cpu, "1/s");
    let per_core = if blobs == 1 { per_core.at_least(20_000.0) } else { per_core };
    Ok(vec![
        per_core.note("per second of the server's CPU"),
        Measurement::new(format!("announces by the clock{what}"), by_clock, "1/s"),
    ])
}

fn measure_once(arguments: &Arguments, blobs: usize) -> Result<(f64, f64)> {
    let room = Room::start()?;
    let before = room.cpu_seconds()?;
    let seconds = arguments.seconds.to_string();
    let output = on_core(CORES[1])?
        .args(["--load", &room.addr, "--seconds", &seconds, "--blobs", &blobs.to_string()])
        .args(["--agents", &arguments.agents.to_string()])
        .stderr(Stdio::inherit())
        .output()
        .context("start the load")?;
    ensure!(output.status.success(), "the load failed");
    let answered: load::Answered = serde_json::from_slice(&output.stdout).context("what the load says")?;
    let cpu = room.cpu_seconds()? - before;
    room.stop()?;
    ensure!(answered.failed == 0, "{} of {} requests failed", answered.failed, answered.requests);
    let announces = answered.requests as f64 * blobs as f64;
    Ok((announces / cpu, announces / answered.seconds))
}

/// This program once more, on one core, as a part of this bench.
fn on_core(core: &str) -> Result<Command> {
    let mut command = Command::new("taskset");
    let program = std::env::current_exe().context("find this program")?;
    command.args(["-c", core]).arg(program).args(["bench", "tracker"]);
    Ok(command)
}

/// The server's process.
struct Room {
    child: Child,
    addr: String,
}

impl Room {
    fn start() -> Result<Self> {
        let mut child = on_core(CORES[0])?
            .arg("--room")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start the server with taskset (package util-linux)")?;
        let stdout = child.stdout.take().context("the server has no output")?;
        let mut addr = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut addr)?;
        ensure!(!addr.trim().is_empty(), "the server did not start");
        Ok(Self { child, addr: addr.trim().to_owned() })
    }

    /// User and system time so far.
    fn cpu_seconds(&self) -> Result<f64> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields = text.rsplit(')').next().unwrap_or_default().split_whitespace();
        // utime and stime are the 14th and 15th field; two stand before the bracket.
        let ticks: f64 = fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
        // USER_HZ is 100 on every Linux that we run on.
        Ok(ticks / 100.0)
    }

    fn stop(mut self) -> Result<()> {
        drop(self.child.stdin.take());
        ensure!(self.child.wait()?.success(), "the server failed");
        Ok(())
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // Gone already unless something failed.
        drop(self.child.stdin.take());
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
