//! Programs of others: what each is told, and the words that it must keep to.
//!
//! An adapter is a command line that is started once on the origin's node (role `seed`) and once on each agent's (role `agent`).
//! It prints `ready`; then it is given a line, the starting shot; when an agent has the whole blob it prints `done`, and goes on
//! serving until it is killed. A seed gets the shot as soon as it is ready, and counts as there when it has announced itself.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use shoal_e2e::tool;

use super::contestant::Own;
use super::racer::Racer;
use super::shoal;
use super::stage::{ORIGIN, Stage};
use super::torrent;

/// Where everybody's torrent client listens; each has a namespace of its own.
const PORT: u16 = 6881;
/// How long a seed may take to verify its file and to announce itself.
const SEED_TIMEOUT: Duration = Duration::from_secs(120);
const LIBTORRENT: &str = include_str!("libtorrent_agent.py");
const ARIA2: &str = include_str!("aria2_agent.sh");

/// How a program of others is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Adapter {
    /// In the names of measurements.
    pub(super) name: String,
    /// With `{role}`, `{address}`, `{port}`, `{tracker}`, `{torrent}`, `{file}`, `{output}` and `{dir}`.
    words: Vec<String>,
}

/// The started programs that are not racers.
pub(super) struct Programs {
    seed: Racer,
    tracker: Racer,
}

impl Adapter {
    /// `NAME=COMMAND`, as on the command line.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let (name, command) = text.split_once('=').context("a peer is written as NAME=COMMAND")?;
        let fits = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
        ensure!(
            !name.is_empty() && name.chars().all(fits) && name != shoal::NAME,
            "the name of a peer is made of lower-case letters, digits and _, and is not {}; got {name:?}",
            shoal::NAME
        );
        let words: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
        for needed in ["{role}", "{output}"] {
            ensure!(command.contains(needed), "the command of {name} has to say where {needed} goes");
        }
        Ok(Self { name: name.to_owned(), words })
    }

    /// aria2, when the machine has it.
    pub(super) fn aria2() -> Option<Self> {
        let path = tool::locate("aria2c")?.display().to_string();
        let words =
            ["sh", "-c", ARIA2, &path, "{role}", "{address}", "{port}", "{torrent}", "{output}", "{dir}"];
        Some(Self { name: "aria2".to_owned(), words: words.map(str::to_owned).to_vec() })
    }

    /// libtorrent, when a Python of the machine has it.
    pub(super) fn libtorrent() -> Option<Self> {
        let python = pythons().find(|python| {
            let tried = Command::new(python).args(["-c", "import libtorrent"]).output();
            tried.is_ok_and(|output| output.status.success())
        })?;
        let python = python.display().to_string();
        let words = [&python, "-c", LIBTORRENT, "{role}", "{address}", "{port}", "{torrent}", "{output}"];
        Some(Self { name: "libtorrent".to_owned(), words: words.map(str::to_owned).to_vec() })
    }

    fn command(&self, stage: &Stage<'_>, index: u16) -> Result<Vec<OsString>> {
        let role = if index == ORIGIN { "seed" } else { "agent" };
        let directory = stage.node_directory(index)?;
        let output = if index == ORIGIN { blob_file(stage) } else { output_file(stage, index) };
        let output_directory = output.parent().context("an output without directory")?.to_owned();
        std::fs::create_dir_all(&output_directory)?;
        let show = |path: &Path| path.display().to_string();
        let values = [
            ("{role}", role.to_owned()),
            ("{address}", stage.address(index).to_string()),
            ("{port}", PORT.to_string()),
            ("{tracker}", torrent::announce_url(stage.address(ORIGIN))),
            ("{torrent}", show(&torrent_file(stage))),
            ("{file}", show(&output)),
            ("{output}", show(&output_directory)),
            ("{dir}", show(&directory)),
        ];
        let fill = |word: &String| {
            // A script is no place for placeholders: what it needs it gets as words.
            let is_script = word.contains('\n');
            let filled = |word: String, (name, value): &(&str, String)| word.replace(name, value);
            if is_script { word.clone() } else { values.iter().fold(word.clone(), filled) }
        };
        let words = stage.network.prefix(index).into_iter().chain(self.words.iter().map(fill));
        Ok(words.map(OsString::from).collect())
    }
}

/// Pythons that may have libtorrent: the system's first, because that is where packages put it.
fn pythons() -> impl Iterator<Item = PathBuf> {
    let system = PathBuf::from("/usr/bin/python3");
    [Some(system), tool::locate("python3")].into_iter().flatten().filter(|path| path.exists())
}

fn blob_file(stage: &Stage<'_>) -> PathBuf {
    stage.directory.join("seeded").join(torrent::FILE_NAME)
}

fn output_file(stage: &Stage<'_>, index: u16) -> PathBuf {
    stage.directory.join(index.to_string()).join("output").join(torrent::FILE_NAME)
}

fn torrent_file(stage: &Stage<'_>) -> PathBuf {
    stage.directory.join("blob.torrent")
}

/// Makes the torrent, starts a tracker beside the origin, the seed, and an agent on every node.
pub(super) async fn enter(adapter: &Adapter, stage: &Stage<'_>) -> Result<(Programs, Vec<Racer>)> {
    let file = blob_file(stage);
    std::fs::create_dir_all(file.parent().context("a file without directory")?)?;
    stage.blob.write(&file)?;
    torrent::make(&file, stage.blob.size, stage.address(ORIGIN), &torrent_file(stage))?;
    let log = |index: u16| stage.directory.join(format!("{}-{index}.log", adapter.name));
    let listen = torrent::tracker_address(stage.address(ORIGIN)).to_string();
    let words = stage.errand(ORIGIN, &["tracker", "--listen", &listen])?;
    let mut tracker = Racer::start(&words, &stage.directory.join("tracker.log"))?;
    tracker.ready().await?;
    let mut seed = Racer::start(&adapter.command(stage, ORIGIN)?, &log(ORIGIN))?;
    seed.ready().await.context("the seed")?;
    seed.tell("go").await?;
    let mut programs = Programs { seed, tracker };
    programs.wait_for_seed().await?;
    let mut racers = Vec::new();
    for index in stage.agents() {
        racers.push(Racer::start(&adapter.command(stage, index)?, &log(index))?);
    }
    for (index, racer) in (1..).zip(&mut racers) {
        racer.ready().await.with_context(|| Stage::tail(&log(index)))?;
    }
    Ok((programs, racers))
}

/// Whether an agent's file has the right bytes.
pub(super) fn judge(stage: &Stage<'_>, index: u16) -> Result<bool> {
    stage.blob.is_in(&output_file(stage, index))
}

impl Programs {
    pub(super) fn origin(&self) -> Option<u32> {
        self.seed.id()
    }

    pub(super) async fn own(&mut self) -> Result<Own> {
        let (requests, _) = self.count().await?;
        Ok(Own { tracker_requests: requests, duplicate_pieces: 0.0 })
    }

    /// Announces that the tracker heard so far, and peers that have everything.
    async fn count(&mut self) -> Result<(f64, u32)> {
        let words = self.tracker.ask("count", "count").await?;
        let mut numbers = words.split_whitespace();
        let requests = numbers.next().and_then(|word| word.parse().ok()).context("no count of requests")?;
        let seeds = numbers.next().and_then(|word| word.parse().ok()).context("no count of seeds")?;
        Ok((requests, seeds))
    }

    async fn wait_for_seed(&mut self) -> Result<()> {
        let started = Instant::now();
        while self.count().await?.1 == 0 {
            ensure!(started.elapsed() < SEED_TIMEOUT, "the seed has not announced itself");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_says_where_role_and_output_go() {
        let adapter = Adapter::parse("mine=/bin/mine --as {role} --to {output} {torrent}").unwrap();
        assert_eq!((adapter.name.as_str(), adapter.words.len()), ("mine", 6));
        for bad in
            ["mine", "mine=/bin/mine {role}", "shoal=/x {role} {output}", "a b=/x {role} {output}", "=x"]
        {
            assert!(Adapter::parse(bad).is_err(), "{bad}");
        }
    }
}
