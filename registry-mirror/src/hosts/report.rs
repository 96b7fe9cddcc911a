//! What was done, for people and for programs.

use serde_json::{Value, json};

use super::options::Output;
use super::plan::{Change, Note};
use super::prove::{Proof, Verdict};

/// What a command did or would do.
pub(super) struct Report<'a> {
    pub(super) changes: &'a [Change],
    pub(super) notes: Vec<Note>,
    pub(super) proofs: Vec<Proof>,
    /// What happened to the files.
    pub(super) verb: &'static str,
}

/// What becomes of one file.
fn action(change: &Change) -> &'static str {
    match (&change.current, &change.target) {
        (None, _) => "create",
        (_, None) => "remove",
        _ => "change",
    }
}

impl Report<'_> {
    /// As text; with the differences, if they are wanted.
    pub(super) fn render(&self, output: Output, with_differences: bool) -> String {
        match output {
            Output::Json => format!("{:#}\n", self.json()),
            Output::Text => self.text(with_differences),
        }
    }

    fn json(&self) -> Value {
        let change = |change: &Change| {
            json!({
                "runtime": change.runtime,
                "file": change.path,
                "action": action(change),
                "difference": change.difference(),
            })
        };
        let changes: Vec<Value> = self.changes.iter().map(change).collect();
        json!({ "changes": changes, "notes": self.notes, "proofs": self.proofs })
    }

    fn text(&self, with_differences: bool) -> String {
        let mut text = String::new();
        for change in self.changes {
            if with_differences {
                text.push_str(&change.difference());
            } else {
                let how = match action(change) {
                    "create" => " (new)",
                    "remove" => " (removed)",
                    _ => "",
                };
                text.push_str(&format!("{}: {} {}{how}\n", change.runtime, self.verb, change.path.display()));
            }
        }
        if self.changes.is_empty() {
            text.push_str("nothing to do: every file is as it should be\n");
        }
        for note in &self.notes {
            text.push_str(&format!("{}: note: {}\n", note.runtime, note.note));
        }
        for proof in &self.proofs {
            let (word, detail) = match &proof.verdict {
                Verdict::Proven(detail) => ("proven", detail),
                Verdict::Untried(detail) => ("not proven", detail),
                Verdict::Failed(detail) => ("failed", detail),
            };
            text.push_str(&format!("{}: {word}: {detail}\n", proof.runtime));
        }
        text
    }
}
