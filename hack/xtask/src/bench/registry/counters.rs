//! What the kernel counts: CPU time, memory and disk traffic of a server's processes, and the CPU time of everybody else.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

/// Linux reports CPU time to user space in ticks of 1/100 s on every architecture (USER_HZ).
pub(in crate::bench) const TICKS_PER_SECOND: f64 = 100.0;

/// A program and everything that it started, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::bench) struct Usage {
    /// User and system time.
    pub(in crate::bench) cpu_ticks: u64,
    pub(in crate::bench) resident_kib: u64,
    /// The most that was ever resident.
    pub(in crate::bench) peak_kib: u64,
    /// Bytes that it made dirty in the page cache or wrote past it (`write_bytes` of proc(5)).
    pub(in crate::bench) written: u64,
    /// Bytes that it made the disk read. What is still in the page cache is read for free and not counted.
    pub(in crate::bench) read: u64,
}

impl Usage {
    /// Of the process and its descendants.
    pub(in crate::bench) fn of(process: u32) -> Result<Self> {
        let mut total = Self::default();
        for id in tree(process) {
            // A child may end while we look.
            if let Some(usage) = Self::of_one(id) {
                total.cpu_ticks += usage.cpu_ticks;
                total.resident_kib += usage.resident_kib;
                total.peak_kib += usage.peak_kib;
                total.written += usage.written;
                total.read += usage.read;
            }
        }
        (total.resident_kib > 0).then_some(total).with_context(|| format!("process {process} is gone"))
    }

    fn of_one(id: u32) -> Option<Self> {
        let read = |file: &str| fs::read_to_string(format!("/proc/{id}/{file}")).ok();
        let (status, io) = (read("status")?, read("io")?);
        Some(Self {
            cpu_ticks: cpu_ticks(&read("stat")?)?,
            resident_kib: field(&status, "VmRSS:").unwrap_or_default(),
            peak_kib: field(&status, "VmHWM:").unwrap_or_default(),
            written: field(&io, "write_bytes:")?,
            read: field(&io, "read_bytes:")?,
        })
    }
}

/// CPU time of the machine at one moment, in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::bench) struct Machine {
    busy: u64,
    total: u64,
    own: u64,
}

impl Machine {
    pub(in crate::bench) fn now() -> Result<Self> {
        let stat = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
        let own = fs::read_to_string("/proc/self/stat").context("cannot read /proc/self/stat")?;
        let (busy, total) = busy_and_total(&stat).context("/proc/stat has no line of all processors")?;
        Ok(Self { busy, total, own: cpu_ticks(&own).unwrap_or_default() })
    }

    /// The share of the machine's time since `before` that neither we nor the server spent.
    pub(in crate::bench) fn foreign_since(&self, before: &Self, server_ticks: u64) -> f64 {
        let ours = self.own.saturating_sub(before.own) + server_ticks;
        let busy = self.busy.saturating_sub(before.busy).saturating_sub(ours);
        as_f64(busy) / as_f64(self.total.saturating_sub(before.total)).max(1.0)
    }
}

/// Bytes free on the disk of a directory.
pub(in crate::bench) fn free_bytes(directory: &Path) -> Result<u64> {
    let output = Command::new("df").args(["--output=avail", "-B1"]).arg(directory).output();
    let text = String::from_utf8(output.context("cannot run df")?.stdout)?;
    let free = text.lines().nth(1).and_then(|line| line.trim().parse().ok());
    free.with_context(|| format!("df does not say how much is free in {}", directory.display()))
}

/// Waits until what was written is on the disk, so that one registry's dirty pages are not written during another's turn.
pub(in crate::bench) fn sync(directory: &Path) -> Result<()> {
    Command::new("sync").arg("--file-system").arg(directory).status().context("cannot run sync")?;
    Ok(())
}

/// User and system time, fields 14 and 15 of proc(5). The name in parentheses may hold spaces.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Of the line `cpu  user nice system idle iowait irq softirq steal …`; guests are in user time already.
fn busy_and_total(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().find(|line| line.starts_with("cpu "))?;
    let fields: Vec<u64> =
        line.split_whitespace().skip(1).take(8).filter_map(|word| word.parse().ok()).collect();
    let total: u64 = fields.iter().sum();
    Some((total - fields.get(3)? - fields.get(4)?, total))
}

/// The process and everything below it.
fn tree(root: u32) -> BTreeSet<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parents: Vec<(u32, u32)> = ids.filter_map(|id| Some((id, parent(id)?))).collect();
    let mut found = BTreeSet::from([root]);
    // A chain of children is as long as there are processes at most.
    loop {
        let more: Vec<u32> = parents
            .iter()
            .filter(|(id, parent)| found.contains(parent) && !found.contains(id))
            .map(|(id, _)| *id)
            .collect();
        if more.is_empty() {
            return found;
        }
        found.extend(more);
    }
}

fn parent(id: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[expect(clippy::cast_precision_loss, reason = "counters are far below 2^52")]
pub(in crate::bench) fn as_f64(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_read() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 1 0 100 1 2\n";
        assert_eq!(cpu_ticks(stat), Some(200));
        let machine = "cpu  100 1 50 800 20 3 4 22 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        assert_eq!(busy_and_total(machine), Some((180, 1000)));
        assert_eq!(field("VmHWM:\t  4096 kB\n", "VmHWM:"), Some(4096));
    }

    #[test]
    fn what_others_spend_is_what_is_left() {
        let before = Machine { busy: 100, total: 1000, own: 10 };
        let after = Machine { busy: 200, total: 1400, own: 40 };
        assert!((after.foreign_since(&before, 30) - 0.1).abs() < 1e-9);
        assert!(after.foreign_since(&before, 100).abs() < 1e-9);
    }

    #[test]
    fn a_tree_has_its_children() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let tree = tree(std::process::id());
        assert!(tree.contains(&child.id()));
        assert!(Usage::of(std::process::id()).unwrap().resident_kib > 0);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
