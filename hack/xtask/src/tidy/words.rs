//! Words that do not belong in a repository: promises, and places of one machine.

use super::Violation;
use super::house::{House, SourceFile};

/// Put together from halves, so that this file does not find itself.
const PROMISES: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
/// Directories that exist on a developer's machine only.
const PLACES: [&str; 3] = [concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/ho", "me/")];

/// Reads every line of every file.
pub(super) fn check(house: &House) -> Vec<Violation> {
    house.files.iter().filter(|file| file.name() != "Cargo.lock").flat_map(check_file).collect()
}

fn check_file(file: &SourceFile) -> Vec<Violation> {
    let mut found = Vec::new();
    for (number, line) in (1..).zip(file.text.lines()) {
        let place = || format!("{}:{number}", file.path);
        for word in PROMISES.into_iter().filter(|word| has_word(line, word)) {
            found.push(Violation {
                place: place(),
                what: format!("`{word}` is a promise that nobody keeps"),
                remedy: "do it now, or open an issue and say in plain words what the code does not do",
            });
        }
        for path in PLACES.into_iter().filter(|path| has_path(line, path)) {
            found.push(Violation {
                place: place(),
                what: format!("`{path}` is a place of one machine"),
                remedy: "use a path inside the repository, a temporary directory, or a parameter",
            });
        }
    }
    found
}

fn has_word(line: &str, word: &str) -> bool {
    let inside =
        |letter: Option<char>| letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
    line.match_indices(word).any(|(at, _)| {
        !inside(line[..at].chars().next_back()) && !inside(line[at + word.len()..].chars().next())
    })
}

/// Whether an absolute path begins with `prefix`; `a/b/…` in the middle of a path does not count.
fn has_path(line: &str, prefix: &str) -> bool {
    let inside =
        |letter: char| letter.is_alphanumeric() || matches!(letter, '.' | '-' | '_' | '}' | '/' | '>');
    line.match_indices(prefix).any(|(at, _)| !line[..at].chars().next_back().is_some_and(inside))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promises_and_places_are_found() {
        let text = format!("// {}: later\nlet path = \"{}main\";\n", PROMISES[0], PLACES[1]);
        let found = check(&House::of(&[("a.rs", &text)]));
        assert_eq!(
            found.iter().map(|violation| violation.place.as_str()).collect::<Vec<_>>(),
            ["a.rs:1", "a.rs:2"]
        );
    }

    #[test]
    fn similar_words_are_left_alone() {
        let text = "MASTODON, target/work/x, ./root/x, mktemp -t shoal.X\u{58}XXXX\n";
        assert!(check(&House::of(&[("a.md", text)])).is_empty());
    }
}
