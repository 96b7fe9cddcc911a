//! Progress for whoever watches: bars on a terminal, plain lines in a log.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::terminal::{complain, is_watched};

/// In a log, one line per this share of the work.
const LINE_PERCENT: u64 = 25;

/// A group of bars that are drawn together.
pub(super) struct Progress {
    bars: Option<MultiProgress>,
}

/// The progress of one thing. Clones are the same bar.
#[derive(Clone)]
pub(super) struct Bar(Arc<Inner>);

struct Inner {
    name: String,
    total: u64,
    done: AtomicU64,
    started: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { bars: is_watched().then(MultiProgress::new) }
    }

    /// A bar for `total` bytes.
    pub(super) fn bar(&self, name: &str, total: u64) -> Bar {
        let bar = self.bars.as_ref().map(|bars| {
            let style = "{prefix:>10} {bar:32.cyan/blue} {bytes:>11} / {total_bytes} {bytes_per_sec:>13}";
            let bar = bars.add(ProgressBar::new(total).with_prefix(name.to_owned()));
            bar.with_style(
                ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()),
            )
        });
        Bar(Arc::new(Inner {
            name: name.to_owned(),
            total,
            done: AtomicU64::new(0),
            started: Instant::now(),
            bar,
        }))
    }
}

impl Bar {
    /// `len` more bytes.
    pub(super) fn advance(&self, len: u64) {
        let before = self.0.done.fetch_add(len, Ordering::Relaxed);
        if let Some(bar) = &self.0.bar {
            bar.inc(len);
            return;
        }
        let step = |done: u64| done * 100 / self.0.total.max(1) / LINE_PERCENT;
        let after = step(before + len);
        if after > step(before) {
            let seconds = self.0.started.elapsed().as_secs_f64();
            complain(format_args!("{:>10} {:>3} % after {seconds:.2} s", self.0.name, after * LINE_PERCENT));
        }
    }

    /// Nothing more will come.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.0.bar {
            bar.abandon();
        }
    }
}
