//! What the figures have to be: the bars that were decided before measuring, and what to aim for.

/// A figure of a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Figure {
    /// The best sample: MiB/s or answers per second.
    Best,
    /// The median sample.
    Median,
    /// The least CPU of any sample: s/GiB or µs.
    CpuBest,
    /// The median of the samples' CPU.
    Cpu,
    P50,
    P99,
    /// Bytes to the disk per byte pushed.
    Written,
    /// Bytes from the disk per byte pushed.
    Read,
    /// Ours divided by the best peer's, of the best samples.
    Ratio,
    Idle,
    Peak,
}

/// Which side of the bar is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    AtLeast,
    AtMost,
}

/// One bar for our server.
pub(super) struct Bar {
    /// The phase's name in measurements.
    pub(super) phase: &'static str,
    pub(super) figure: Figure,
    pub(super) side: Side,
    pub(super) bar: f64,
    pub(super) aim: Option<f64>,
    /// What others reached on another machine on another day.
    pub(super) elsewhere: &'static str,
}

const fn bar(
    phase: &'static str,
    figure: Figure,
    side: Side,
    values: (f64, Option<f64>),
    elsewhere: &'static str,
) -> Bar {
    Bar { phase, figure, side, bar: values.0, aim: values.1, elsewhere }
}

/// All of them. Ratios hold only when olareg, the fastest that is known, is among the peers; it does not sync.
pub(super) const BARS: &[Bar] = &[
    bar("push_large", Figure::CpuBest, Side::AtMost, (1.5, Some(0.9)), "olareg 1.52"),
    bar("push_large", Figure::Ratio, Side::AtLeast, (1.0, Some(1.5)), "olareg 647 MiB/s"),
    // "1.0": the metadata of a blob must not show in the first decimal place.
    bar("push_large", Figure::Written, Side::AtMost, (1.05, None), ""),
    bar("push_large", Figure::Read, Side::AtMost, (0.05, None), ""),
    bar("pull_8_streams", Figure::CpuBest, Side::AtMost, (0.20, Some(0.12)), "olareg 0.13"),
    bar("pull_8_streams", Figure::Ratio, Side::AtLeast, (1.0, Some(1.3)), "olareg 3086 MiB/s"),
    bar("pull_one_stream", Figure::Ratio, Side::AtLeast, (1.0, Some(1.3)), "olareg 2359 MiB/s"),
    bar("push_4kib", Figure::Median, Side::AtLeast, (4000.0, Some(12_000.0)), "olareg 8447, unsynced"),
    bar("push_4kib", Figure::P99, Side::AtMost, (20.0, None), "olareg 8.8"),
    bar("manifest_get_by_tag", Figure::Median, Side::AtLeast, (30_000.0, Some(60_000.0)), "olareg 28876"),
    bar("manifest_get_by_tag", Figure::Cpu, Side::AtMost, (40.0, Some(12.0)), "olareg 48"),
    bar("manifest_get_by_tag", Figure::P99, Side::AtMost, (4.0, None), "olareg 4.3"),
    bar("manifest_get_by_digest", Figure::Median, Side::AtLeast, (30_000.0, Some(60_000.0)), "olareg 26857"),
    bar("manifest_get_by_digest", Figure::Cpu, Side::AtMost, (40.0, Some(12.0)), "olareg 47"),
    bar("manifest_get_by_digest", Figure::P99, Side::AtMost, (4.0, None), "olareg 3.5"),
    bar("blob_get_4kib", Figure::Median, Side::AtLeast, (30_000.0, Some(50_000.0)), "olareg 28937"),
    bar("blob_head", Figure::Median, Side::AtLeast, (40_000.0, Some(50_000.0)), "olareg 39694"),
    bar("memory", Figure::Idle, Side::AtMost, (20.0, Some(12.0)), "olareg 9"),
    bar("memory", Figure::Peak, Side::AtMost, (64.0, Some(32.0)), "olareg 17"),
];

/// The bar of a figure, if one was set.
pub(super) fn find(phase: &str, figure: Figure) -> Option<&'static Bar> {
    BARS.iter().find(|bar| bar.phase == phase && bar.figure == figure)
}
