//! What the demo found, for people and for programs.

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::terminal::say;

const MIB: f64 = 1024.0 * 1024.0;

/// The pull through one agent.
#[derive(Serialize)]
pub(super) struct AgentReport {
    pub(super) name: String,
    /// From the first request to the last byte.
    pub(super) seconds: f64,
    /// From the first request to the first byte of any blob.
    pub(super) first_byte_seconds: f64,
    /// Bytes of blobs that the client received.
    pub(super) bytes: u64,
    /// Bytes of pieces that the agent received from other agents.
    pub(super) from_peers: f64,
    /// Bytes of pieces that the agent received from the server, as a peer or as a web seed.
    pub(super) from_origin: f64,
    /// Blobs that are missing or do not match their digest.
    pub(super) wrong: usize,
}

/// The whole demo.
#[derive(Serialize)]
pub(super) struct Report {
    pub(super) image_bytes: u64,
    pub(super) agents: Vec<AgentReport>,
    /// Bytes of pieces that left the server.
    pub(super) origin_bytes: f64,
    /// Pieces that arrived at an agent that already had them, over all agents.
    pub(super) duplicate_pieces: f64,
}

impl Report {
    /// Blobs that did not arrive as they should, over all agents.
    pub(super) fn wrong(&self) -> usize {
        self.agents.iter().map(|agent| agent.wrong).sum()
    }

    /// How many times the image left the server.
    fn copies(&self) -> f64 {
        self.origin_bytes / as_f64(self.image_bytes)
    }

    pub(super) fn print_table(&self) {
        let mut table = Table::new();
        table.load_style(presets::UTF8_BORDERS_ONLY);
        table.set_header(["", "time", "first byte", "received", "from peers", "from origin", "digests"]);
        for agent in &self.agents {
            let sources = agent.from_peers + agent.from_origin;
            table.add_row([
                agent.name.clone(),
                format!("{:.2} s", agent.seconds),
                format!("{:.0} ms", agent.first_byte_seconds * 1000.0),
                format!("{:.1} MiB", as_f64(agent.bytes) / MIB),
                share(agent.from_peers, sources),
                share(agent.from_origin, sources),
                if agent.wrong == 0 { "all correct".to_owned() } else { format!("{} WRONG", agent.wrong) },
            ]);
        }
        for column in 1..=5 {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        say(format_args!("\n{table}"));
        say(format_args!(
            "The origin sent {:.2} copies of the image ({:.1} MiB) to {} agents, which received {} copies; {} pieces arrived twice.",
            self.copies(),
            self.origin_bytes / MIB,
            self.agents.len(),
            self.agents.len(),
            self.duplicate_pieces,
        ));
    }

    pub(super) fn print_json(&self) {
        let mut value = serde_json::to_value(self).unwrap_or_default();
        value["origin_copies"] = serde_json::json!(self.copies());
        say(format_args!("{value:#}"));
    }
}

fn share(part: f64, whole: f64) -> String {
    let percent = if whole > 0.0 { part * 100.0 / whole } else { 0.0 };
    format!("{:.1} MiB ({percent:.0} %)", part / MIB)
}

#[expect(clippy::cast_precision_loss, reason = "sizes of images are far below 2^52")]
fn as_f64(bytes: u64) -> f64 {
    bytes as f64
}
