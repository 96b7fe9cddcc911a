//! Relative links in the documentation lead somewhere.

use std::path::{Component, Path, PathBuf};

use super::Violation;
use super::house::{House, SourceFile};

/// Follows every relative link of every Markdown file.
pub(super) fn check(house: &House) -> Vec<Violation> {
    let documents = house.files.iter().filter(|file| file.path.ends_with(".md"));
    documents.flat_map(|file| check_file(house, file)).collect()
}

fn check_file(house: &House, file: &SourceFile) -> Vec<Violation> {
    let mut found = Vec::new();
    for (number, line) in prose(&file.text) {
        for target in targets(line).filter(|target| is_relative(target)) {
            let path = target.split('#').next().unwrap_or_default();
            let Some(path) = resolve(&file.path, path) else { continue };
            if !house.root.join(&path).exists() {
                found.push(Violation {
                    place: format!("{}:{number}", file.path),
                    what: format!("the link to `{target}` leads nowhere"),
                    remedy: "correct the path, or write what it should lead to",
                });
            }
        }
    }
    found
}

/// Numbered lines outside of fenced code.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// What stands in the parentheses of `[text](target)`.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next())
}

fn is_relative(target: &str) -> bool {
    !target.is_empty()
        && !target.starts_with('#')
        && !target.contains("://")
        && !target.starts_with("mailto:")
}

/// The target's path from the root; `None` when it leaves the repository, which a viewer would not follow either.
fn resolve(document: &str, target: &str) -> Option<PathBuf> {
    let base = if target.starts_with('/') { Path::new("") } else { Path::new(document).parent()? };
    let mut path = PathBuf::new();
    for component in base.join(target.trim_start_matches('/')).components() {
        match component {
            Component::ParentDir => path.pop().then_some(())?,
            Component::Normal(name) => path.push(name),
            _ => {}
        }
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_links_are_found_and_others_left_alone() {
        let text = "[a](missing.md) [b](https://example.com) [c](#head)\n```\n[d](also-missing)\n```\n[e](../b.md#x)\n";
        let found = check(&House::of(&[("docs/a.md", text)]));
        let whats: Vec<_> = found.iter().map(|violation| violation.what.as_str()).collect();
        assert_eq!(whats.len(), 2, "{whats:?}");
        assert_eq!(resolve("docs/a.md", "../b.md"), Some("b.md".into()));
        assert_eq!(resolve("a.md", "../../b.md"), None);
    }
}
