//! What the program prints for people and scripts; everything else is a log line.

use std::io::Write;

/// Writes `text` to standard output. A closed pipe is the reader's decision and no failure.
pub fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Writes one line to standard error.
pub fn complain(text: &str) {
    let mut out = std::io::stderr().lock();
    let _ = writeln!(out, "{text}");
}
