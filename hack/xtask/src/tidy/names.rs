//! Names that say nothing attract code that belongs nowhere.

use super::Violation;
use super::house::{House, SourceFile};

/// No crate, module or directory is called so.
const BANNED: &[&str] =
    &["util", "utils", "common", "core", "misc", "helper", "helpers", "manager", "managers"];
/// The one exception: a sans-io core is the established word for what `swarm-protocol` is, and the file is exactly that.
const EXCEPTIONS: &[&str] = &["crates/swarm-protocol/src/core.rs", "crates/swarm-protocol/src/core/"];

/// Looks at every path with Rust in it.
pub(super) fn check(house: &House) -> Vec<Violation> {
    house.rust().flat_map(check_file).collect()
}

fn check_file(file: &SourceFile) -> Vec<Violation> {
    let mut found = Vec::new();
    if file.name() == "mod.rs" {
        found.push(Violation {
            place: file.path.clone(),
            what: "the module is a `mod.rs`".to_owned(),
            remedy: "call it `name.rs` beside the directory `name/`, so that an editor's tabs say what they hold",
        });
    }
    let excepted = EXCEPTIONS.iter().any(|exception| file.path.starts_with(exception));
    for word in file.path.trim_end_matches(".rs").split('/') {
        let banned = word.split(['-', '_']).any(|part| BANNED.contains(&part));
        if banned && !excepted {
            found.push(Violation {
                place: file.path.clone(),
                what: format!("`{word}` says nothing about what is inside"),
                remedy: "name it after its noun; see docs/glossary.md",
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_names_are_found() {
        for bad in
            ["crates/util/src/lib.rs", "crates/a/src/http_helpers.rs", "a/src/b/mod.rs", "a/src/core.rs"]
        {
            assert_eq!(check(&House::of(&[(bad, "")])).len(), 1, "{bad}");
        }
        let good = ["crates/store/src/commit.rs", "crates/swarm-protocol/src/core.rs", "docs/common.md"];
        assert!(good.iter().all(|path| check(&House::of(&[(path, "")])).is_empty()));
    }
}
