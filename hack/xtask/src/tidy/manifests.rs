//! Every crate takes the workspace's lints, and a crate's own `clippy.toml` repeats the root's settings, which it replaces.

use super::Violation;
use super::house::House;
use crate::workspace::Metadata;

/// Looks at every manifest and every `clippy.toml`.
pub(super) fn check(house: &House, metadata: &Metadata) -> Vec<Violation> {
    let mut found = Vec::new();
    for package in &metadata.packages {
        let path = package.manifest_path.strip_prefix(&house.root).unwrap_or(&package.manifest_path);
        let text = house.file(&path.to_string_lossy()).map_or("", |file| file.text.as_str());
        if !takes_lints(text) {
            found.push(Violation {
                place: path.display().to_string(),
                what: "does not take the workspace's lints".to_owned(),
                remedy: "add `[lints]` with `workspace = true`",
            });
        }
    }
    found.extend(check_clippy(house));
    found
}

fn takes_lints(manifest: &str) -> bool {
    let section = manifest.split("\n[").find(|section| section.trim_start_matches('[').starts_with("lints]"));
    section.is_some_and(|section| section.lines().any(|line| line.trim() == "workspace = true"))
}

fn check_clippy(house: &House) -> Vec<Violation> {
    let Some(root) = house.file("clippy.toml") else { return vec![] };
    let settings: Vec<&str> = settings(&root.text).collect();
    let own = house.files.iter().filter(|file| file.name() == "clippy.toml" && file.path != "clippy.toml");
    let mut found = Vec::new();
    for file in own {
        for setting in settings.iter().filter(|setting| !file.text.contains(*setting)) {
            found.push(Violation {
                place: file.path.clone(),
                what: format!("lacks `{setting}`"),
                remedy: "a crate's clippy.toml replaces the root's: repeat every line of it",
            });
        }
    }
    found
}

/// Every line that sets something: `key = value`, and the entries of lists.
fn settings(text: &str) -> impl Iterator<Item = &str> {
    let sets =
        |line: &&str| !line.is_empty() && !line.starts_with('#') && !line.ends_with('[') && *line != "]";
    text.lines().map(str::trim).filter(|line| !line.ends_with("= []")).filter(sets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_without_lints_are_found() {
        assert!(takes_lints("[package]\nname = \"a\"\n\n[lints]\nworkspace = true\n\n[dependencies]\n"));
        assert!(!takes_lints("[package]\nname = \"a\"\n\n[dependencies]\nworkspace = true\n"));
        assert!(!takes_lints("[package]\n\n[lints]\n\n[dependencies]\nb = \"1\"\n"));
    }

    #[test]
    fn a_crates_clippy_settings_repeat_the_roots() {
        let root = "# why\ntoo-many-lines-threshold = 70\nlist = [\n    { path = \"a\" },\n]\nempty = []\n";
        let whole = format!("{root}list2 = [\n    {{ path = \"b\" }},\n]\n");
        assert!(check_clippy(&House::of(&[("clippy.toml", root), ("a/clippy.toml", &whole)])).is_empty());
        assert_eq!(check_clippy(&House::of(&[("clippy.toml", root), ("a/clippy.toml", "")])).len(), 2);
    }
}
