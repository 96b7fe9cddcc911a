//! The log of a run: a first line that says what was run, then a line for every event that a core saw.
//!
//! Lines of text, because the first use of a log is to be searched with `grep` for one node or one piece. A log of a large fleet is
//! large: some 40 bytes for each event.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Lines, Write};
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, Result, anyhow};
use shoal_swarm_sim::{Knobs, Options, Record, Witness};

/// What the first line begins with.
const MARK: &str = "# shoal simulate";

/// Writes a log.
pub(super) struct Scribe {
    file: BufWriter<File>,
    failed: bool,
}

impl Scribe {
    /// Begins a log of a scenario.
    pub(super) fn create(path: &Path, scenario: &str, options: &Options) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        let mut file = BufWriter::new(file);
        writeln!(file, "{}", head(scenario, options))?;
        Ok(Self { file, failed: false })
    }
}

impl Witness for Scribe {
    fn saw(&mut self, record: &Record) {
        if !self.failed && writeln!(self.file, "{record}").is_err() {
            self.failed = true;
            crate::terminal::complain(format_args!("the log ends early: its disk takes no more"));
        }
    }
}

/// Where a run differs from its log, once that is known.
#[derive(Clone, Default)]
pub(super) struct Difference(Rc<RefCell<Found>>);

#[derive(Default)]
struct Found {
    difference: Option<String>,
    lines_left: bool,
}

impl Difference {
    /// The first difference; none when the run went as the log says.
    pub(super) fn take(&self) -> Result<Option<String>> {
        let mut found = self.0.try_borrow_mut().map_err(|_| anyhow!("the run goes on"))?;
        let early = found.lines_left.then(|| "the log goes on after the run has ended".to_owned());
        Ok(found.difference.take().or(early))
    }
}

/// Compares a run with a log.
pub(super) struct Reader {
    lines: Lines<BufReader<File>>,
    next: Option<String>,
    number: u64,
    text: String,
    difference: Difference,
}

impl Reader {
    /// Opens a log: of which scenario with which options it is, and what follows.
    pub(super) fn open(path: &Path) -> Result<(String, Options, Self)> {
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut lines = BufReader::new(file).lines();
        let first = lines.next().context("the log is empty")??;
        let (scenario, options) = parse(&first)?;
        let next = lines.next().transpose()?;
        let reader = Self { lines, next, number: 2, text: String::new(), difference: Difference::default() };
        Ok((scenario, options, reader))
    }

    /// Where the difference will be found.
    pub(super) fn difference(&self) -> Difference {
        self.difference.clone()
    }
}

impl Witness for Reader {
    fn saw(&mut self, record: &Record) {
        let Ok(mut found) = self.difference.0.try_borrow_mut() else { return };
        if found.difference.is_some() {
            return;
        }
        self.text.clear();
        let _ = write!(self.text, "{record}");
        if self.next.as_ref() != Some(&self.text) {
            let logged = self.next.as_deref().unwrap_or("nothing");
            found.difference =
                Some(format!("line {} is {logged:?}, the run has {:?}", self.number, self.text));
        }
        self.next = self.lines.next().and_then(Result::ok);
        self.number += 1;
        found.lines_left = self.next.is_some();
    }
}

/// The first line of a log.
fn head(scenario: &str, options: &Options) -> String {
    let mut line = format!("{MARK} scenario={scenario} seed={}", options.seed);
    let mut word = |name: &str, value: Option<u64>| {
        if let Some(value) = value {
            let _ = write!(line, " {name}={value}");
        }
    };
    word("agents", options.agents.map(u64::from));
    word("size", options.size);
    word("rate", options.rate);
    word("origins", options.origins.map(u64::from));
    word("readers", options.readers.map(u64::from));
    word("uncoordinated", options.knobs.uncoordinated.then_some(1));
    word("random_neighbour", options.knobs.random_neighbour.then_some(1));
    word("in_flight", options.knobs.window_max);
    word("uploads", options.knobs.uploads.map(u64::from));
    word("neighbours", options.knobs.neighbours.map(u64::from));
    line
}

fn parse(line: &str) -> Result<(String, Options)> {
    let words = line.strip_prefix(MARK).context("this is no log of a simulation")?;
    let mut scenario = String::new();
    let mut options = Options { knobs: Knobs::default(), ..Options::default() };
    for word in words.split_whitespace() {
        let (name, value) = word.split_once('=').with_context(|| format!("{word:?} in the first line"))?;
        if name == "scenario" {
            value.clone_into(&mut scenario);
            continue;
        }
        let number: u64 = value.parse().with_context(|| format!("{word:?} in the first line"))?;
        let small = || u32::try_from(number).with_context(|| format!("{word:?} in the first line"));
        match name {
            "seed" => options.seed = number,
            "agents" => options.agents = Some(small()?),
            "size" => options.size = Some(number),
            "rate" => options.rate = Some(number),
            "origins" => options.origins = Some(small()?),
            "readers" => options.readers = Some(small()?),
            "uncoordinated" => options.knobs.uncoordinated = true,
            "random_neighbour" => options.knobs.random_neighbour = true,
            "in_flight" => options.knobs.window_max = Some(number),
            "uploads" => options.knobs.uploads = Some(small()?),
            "neighbours" => options.knobs.neighbours = Some(small()?),
            _ => anyhow::bail!("{word:?} in the first line is not known"),
        }
    }
    Ok((scenario, options))
}

#[cfg(test)]
mod tests {
    use shoal_swarm_sim::Scenario;

    use super::*;

    fn options() -> Options {
        let knobs = Knobs { uncoordinated: true, ..Knobs::default() };
        Options { agents: Some(4), size: Some(1 << 20), seed: 7, knobs, ..Options::default() }
    }

    #[test]
    fn the_first_line_says_what_was_run() {
        let line = head("h1", &options());
        let (name, read) = parse(&line).unwrap();
        assert_eq!((name.as_str(), head("h1", &read)), ("h1", line));
        assert!(parse("# something else").is_err() && parse(&format!("{MARK} x=1")).is_err());
    }

    #[test]
    fn a_replay_of_a_log_finds_no_difference_and_one_of_a_changed_log_does() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let scenario = Scenario::named("h1").unwrap();
        scenario.run(&options(), Some(Box::new(Scribe::create(&path, "h1", &options()).unwrap())));
        let replay = |path: &Path| {
            let (_, options, reader) = Reader::open(path).unwrap();
            let difference = reader.difference();
            scenario.run(&options, Some(Box::new(reader)));
            difference.take().unwrap()
        };
        assert_eq!(replay(&path), None);
        let text = std::fs::read_to_string(&path).unwrap();
        let changed = text.replacen(" stored ", " stolen ", 1);
        std::fs::write(&path, changed).unwrap();
        assert!(replay(&path).unwrap().contains("stolen"));
        std::fs::write(&path, format!("{text}1 2 tick 0 0\n")).unwrap();
        assert!(replay(&path).unwrap().contains("goes on"));
    }
}
