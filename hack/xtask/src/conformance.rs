//! `cargo xtask conformance`: the official conformance suite, built by whoever runs this, against a fresh server of ours.
//!
//! Only the suite's own words count: the numbers are those of its `junit.xml`. What it does not cover (authentication, paging, error bodies,
//! concurrency) is covered by our own tests. Nothing but 0 failed, 0 errors and 0 skipped is good.

mod results;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use comfy_table::{CellAlignment, Table, presets};
use shoal_e2e::Node;
use shoal_e2e::programs::Place;

use crate::build;
use crate::terminal::{complain, say};
use results::Results;

/// Failed cases that are named; all of them are in the suite's report.
const NAMED_MAX: usize = 20;
/// The user that `--auth` makes, and the password with its bcrypt hash. Both are public: the server lives as long as the suite.
const USER: (&str, &str) = ("conformance", "conformance");
const USER_HASH: &str = "$2b$04$fwVsVzGBMQCIjdKA9VvDYumSmfWvD6YGUz5rZ1wQkfD6cCtgsixWe";

/// Options of `cargo xtask conformance`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The suite's program, built from `conformance/` of the distribution specification
    #[arg(long)]
    suite: PathBuf,
    /// Which version of the specification, and with which data
    #[arg(long = "configuration", value_enum, default_value = "all")]
    configurations: Vec<Choice>,
    /// With a server that wants a name and a password: by tokens, or by the password with every request. Tokens are for one
    /// repository, so the suite's mounts are answered as the specification allows, which it counts as skipped
    #[arg(long, value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "token")]
    auth: Option<Auth>,
    /// Where the suite writes its reports; unset: nowhere that stays
    #[arg(long)]
    reports: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Auth {
    /// From the token endpoint
    Token,
    /// The password with every request
    Basic,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Choice {
    /// The released specification
    Stable,
    /// What is in its main branch
    Dev,
    /// And manifests whose blobs are missing
    #[value(name = "dev+sparse")]
    DevSparse,
    /// All three
    All,
}

impl Choice {
    const EACH: [Self; 3] = [Self::Stable, Self::Dev, Self::DevSparse];

    const fn name(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Dev => "dev",
            Self::DevSparse => "dev+sparse",
            Self::All => "all",
        }
    }
}

/// Runs the suite in each configuration.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let suite = arguments.suite.canonicalize();
    let suite = suite.with_context(|| format!("there is no suite at {}", arguments.suite.display()))?;
    let bin_dir = build::release_programs()?;
    let scratch = tempfile::Builder::new().prefix("shoal-conformance-").tempdir()?;
    let reports = arguments.reports.as_deref().unwrap_or(scratch.path()).to_owned();
    let mut all = Vec::new();
    let chosen = |choice: &Choice| {
        arguments.configurations.contains(choice) || arguments.configurations.contains(&Choice::All)
    };
    for choice in Choice::EACH.into_iter().filter(chosen) {
        complain(format_args!("configuration {} …", choice.name()));
        let directory = scratch.path().join(choice.name());
        let report = reports.join(format!("report-{}", choice.name()));
        std::fs::create_dir_all(&report)?;
        let server = start(&bin_dir, &directory, choice, arguments.auth)?;
        all.push((
            choice,
            drive(&suite, &server, choice, &report.canonicalize()?, arguments.auth.is_some())?,
        ));
    }
    conclude(&all)
}

/// A fresh server.
fn start(bin_dir: &Path, directory: &Path, choice: Choice, auth: Option<Auth>) -> Result<Node> {
    let mut place = Place::loopback(directory.to_owned());
    if choice == Choice::DevSparse {
        place = place.with("registry.sparse", "true");
    }
    if let Some(auth) = auth {
        std::fs::create_dir_all(directory)?;
        let users = directory.join("htpasswd");
        std::fs::write(&users, format!("{}:{USER_HASH}\n", USER.0))?;
        place = place.with("auth.htpasswd", &users.display().to_string());
        place = place.with("auth.token.enabled", &(auth == Auth::Token).to_string());
    }
    Node::server(bin_dir, place)
}

/// One run of the suite.
fn drive(suite: &Path, server: &Node, choice: Choice, report: &Path, has_auth: bool) -> Result<Results> {
    let mut command = Command::new(suite);
    // A configuration file in the working directory would be read, so it runs where there is none.
    command.current_dir(report).env("OCI_RESULTS_DIR", report);
    command.env("OCI_REGISTRY", server.listener("registry")?.to_string()).env("OCI_TLS", "disabled");
    command.env("OCI_REPO1", "conformance/repo1").env("OCI_REPO2", "conformance/repo2");
    command.env("OCI_VERSION", if choice == Choice::Stable { "stable" } else { "dev" });
    command.env("OCI_DATA_SPARSE", (choice == Choice::DevSparse).to_string());
    if has_auth {
        command.env("OCI_USERNAME", USER.0).env("OCI_PASSWORD", USER.1);
    }
    let output = command.output().with_context(|| format!("cannot run {}", suite.display()))?;
    let file = report.join("junit.xml");
    let text = std::fs::read_to_string(&file).with_context(|| {
        format!("the suite wrote no results and ended with {}: {}", output.status, tail(&output.stderr))
    })?;
    let results = Results::parse(&text).with_context(|| format!("cannot read {}", file.display()))?;
    ensure!(
        output.status.success() || !results.is_clean(),
        "the suite ended with {} and says that nothing failed",
        output.status
    );
    Ok(results)
}

fn tail(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(2000)..]).into_owned()
}

fn conclude(all: &[(Choice, Results)]) -> Result<()> {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_header(["configuration", "pass", "fail", "skip", "error", "disabled", "total"]);
    for (choice, results) in all {
        let numbers = [
            results.passed(),
            results.failed,
            results.skipped,
            results.errors,
            results.disabled,
            results.total,
        ];
        table.add_row(
            std::iter::once(choice.name().to_owned()).chain(numbers.map(|number| number.to_string())),
        );
    }
    for column in 1..=6 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for (choice, results) in all.iter().filter(|(_, results)| !results.is_clean()) {
        for name in results.not_passed.iter().take(NAMED_MAX) {
            complain(format_args!("{}: {name}", choice.name()));
        }
    }
    say(format_args!("{table}"));
    if all.iter().all(|(_, results)| results.is_clean()) {
        return Ok(());
    }
    bail!("not everything passed")
}
