//! What changes in a file, as people read it: a unified difference.

use std::path::Path;

use similar::TextDiff;

/// Lines around a change.
const CONTEXT: usize = 3;

/// From `old` to `new`; `None` is a file that does not exist. Empty when they are equal.
pub(super) fn unified(path: &Path, old: Option<&[u8]>, new: Option<&[u8]>) -> String {
    if old == new {
        return String::new();
    }
    let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
    let name = |prefix: &str, bytes: Option<&[u8]>| match bytes {
        Some(_) => format!("{prefix}{}", path.display()),
        None => "/dev/null".to_owned(),
    };
    let (from, to) = (name("a", old), name("b", new));
    let (old, new) = (text(old), text(new));
    let difference = TextDiff::from_lines(old.as_str(), new.as_str());
    let shown = difference.unified_diff().context_radius(CONTEXT).header(&from, &to).to_string();
    if shown.is_empty() { format!("--- {from}\n+++ {to}\n") } else { shown }
}
