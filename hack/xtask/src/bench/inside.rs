//! What the bench does inside a node's namespace, as a process of its own there: push, pull when told to, read counters.
//!
//! Talks with the bench through its standard input and output: a line `ready`, then a line in is the starting shot, then one line
//! of JSON is the result.

use std::io::BufRead;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use shoal_e2e::{Metrics, Puller, Registry};
use shoal_test_images::{Compression, ImageSpec, Layout};

use crate::terminal::say;

/// The repository that the bench pushes to.
const REPOSITORY: &str = "bench/blob";
const TAG: &str = "v1";
/// The registry name that clients believe they pull from.
const NAMESPACE: &str = "bench.example.com";

/// One errand.
#[derive(clap::Subcommand)]
pub(crate) enum Errand {
    /// Make an image with one layer and push it
    Push {
        #[arg(long)]
        registry: SocketAddr,
        #[arg(long)]
        size: u64,
        #[arg(long)]
        seed: u64,
        #[arg(long)]
        directory: PathBuf,
    },
    /// Wait for a line on standard input, pull the image, report
    Pull {
        #[arg(long)]
        registry: SocketAddr,
    },
    /// Print the counters of a program in the text format
    Metrics {
        #[arg(long)]
        admin: SocketAddr,
    },
}

/// What came of a pull.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Pulled {
    /// From the starting shot to the last byte.
    pub(super) seconds: f64,
    /// From the starting shot to the first byte.
    pub(super) first_byte_seconds: f64,
    /// Bytes of all blobs.
    pub(super) bytes: u64,
    /// Blobs whose SHA-256 is not their digest.
    pub(super) wrong: usize,
}

/// Does one errand.
pub(crate) fn run(errand: &Errand) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match errand {
        Errand::Push { registry, size, seed, directory } => {
            let mut spec = ImageSpec::new(vec![*size], *seed);
            // The blob is as large as the archive, so that its size can be asked for exactly.
            spec.compression = Compression::None;
            let mut layout = Layout::open(directory)?;
            let image = layout.add(&spec, TAG)?;
            runtime.block_on(Registry::new(*registry).push(REPOSITORY, TAG, &layout, &image, &|_| {}))
        }
        Errand::Pull { registry } => {
            let puller = Puller::new(Registry::new(*registry).for_namespace(NAMESPACE), Arc::new(|_| {}));
            say("ready");
            let mut shot = String::new();
            std::io::stdin().lock().read_line(&mut shot).context("no starting shot")?;
            let report = runtime.block_on(puller.pull(REPOSITORY, TAG))?;
            let pulled = Pulled {
                seconds: report.duration.as_secs_f64(),
                first_byte_seconds: report.first_byte.as_secs_f64(),
                bytes: report.bytes(),
                wrong: report.wrong().count(),
            };
            say(serde_json::to_string(&pulled)?);
            Ok(())
        }
        Errand::Metrics { admin } => {
            say(runtime.block_on(Metrics::fetch(*admin))?);
            Ok(())
        }
    }
}
