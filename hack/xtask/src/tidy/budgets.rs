//! How long a file may be. Clippy holds the budget of functions.

use super::Violation;
use super::house::{House, SourceFile};

/// Lines of a file without its inline tests. Above 400 look for the second noun; at 600 there is one.
const FILE_LINES_MAX: usize = 600;
/// Lines of an inline test module; more hide the code that they test.
const INLINE_TEST_LINES_MAX: usize = 150;

/// Measures every Rust file.
pub(super) fn check(house: &House) -> Vec<Violation> {
    house.rust().flat_map(check_file).collect()
}

fn check_file(file: &SourceFile) -> Vec<Violation> {
    let (code, tests) = line_counts(&file.text);
    let mut found = Vec::new();
    if code > FILE_LINES_MAX {
        found.push(Violation {
            place: file.path.clone(),
            what: format!("{code} lines without inline tests; the limit is {FILE_LINES_MAX}"),
            remedy: "one noun per file: find the second noun and give it its own",
        });
    }
    if tests > INLINE_TEST_LINES_MAX {
        found.push(Violation {
            place: file.path.clone(),
            what: format!("{tests} lines of inline tests; the limit is {INLINE_TEST_LINES_MAX}"),
            remedy: "move them to a file `tests.rs` in the module's directory",
        });
    }
    found
}

/// Lines outside and inside of `#[cfg(test)] mod … { … }` blocks at the left margin.
fn line_counts(text: &str) -> (usize, usize) {
    let (mut code, mut tests, mut inside) = (0, 0, false);
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let opens = |next: &&str| next.starts_with("mod ") && next.ends_with('{');
        inside |= line == "#[cfg(test)]" && lines.peek().is_some_and(opens);
        *if inside { &mut tests } else { &mut code } += 1;
        inside &= line != "}";
    }
    (code, tests)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inline_tests_are_counted_apart() {
        let text = "fn a() {\n}\n\n#[cfg(test)]\nmod tests {\n    #[test]\n    fn b() {}\n}\nfn c() {}\n";
        assert_eq!(line_counts(text), (4, 5));
        assert_eq!(line_counts("#[cfg(test)]\nmod tests;\n"), (2, 0));
    }

    #[test]
    fn long_files_are_found() {
        let long = "x\n".repeat(FILE_LINES_MAX + 1);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "x\n".repeat(INLINE_TEST_LINES_MAX));
        let house = House::of(&[("a.rs", &long), ("b.rs", &tests), ("c.md", &long)]);
        assert_eq!(check(&house).len(), 2);
    }
}
