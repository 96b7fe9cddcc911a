//! Words to the terminal. A closed pipe (`cargo xtask … | head`) is not an error, so failures to write are ignored.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

/// A line of the result, on standard output.
pub(crate) fn say(line: impl Display) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// A line about progress or trouble, on standard error, so that results can be piped.
pub(crate) fn complain(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Whether somebody watches: progress bars are for people, plain lines for logs.
pub(crate) fn is_watched() -> bool {
    io::stderr().is_terminal()
}
