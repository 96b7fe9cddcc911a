//! `registries.conf` and its directory.

use super::*;

const MAIN: &str = "/etc/containers/registries.conf";
const OURS: &str = "/etc/containers/registries.conf.d/99-shoal.conf";

fn podman() -> Wish {
    wish(Runtime::Podman)
}

#[test]
fn a_registry_without_an_entry_gets_one() {
    let tree = Tree::new(&[(MAIN, "# nothing\nunqualified-search-registries = [\"docker.io\"]\n")]);
    tree.apply(&podman()).unwrap();
    let entry = "\n[[registry]]\nprefix = \"docker.io\"\nlocation = \"docker.io\"\n\n[[registry.mirror]]\nlocation = \"127.0.0.1:16000/docker.io\"\ninsecure = true\n";
    assert!(tree.read(OURS).ends_with(entry), "{}", tree.read(OURS));
    assert!(tree.apply(&podman()).unwrap().changes.is_empty());
    tree.restore().unwrap();
    assert!(!tree.has("/etc/containers/registries.conf.d"));
}

#[test]
fn the_operators_entry_is_taken_over_with_its_mirrors() {
    let theirs = "[[registry]]\nlocation = \"docker.io\"\ninsecure = false\nmirror-by-digest-only = true\n\
                  [[registry.mirror]]\nlocation = \"m.office/hub\"\npull-from-mirror = \"tag-only\"\n\
                  [[registry]]\nprefix = \"docker.io/library\"\nlocation = \"other\"\n";
    let tree = Tree::new(&[
        (MAIN, "[[registry]]\nprefix = \"docker.io\"\nlocation = \"older\"\n"),
        ("/etc/containers/registries.conf.d/10-office.conf", theirs),
    ]);
    tree.apply(&podman()).unwrap();
    let entry = "[[registry]]\nprefix = \"docker.io\"\nlocation = \"docker.io\"\ninsecure = false\nmirror-by-digest-only = true\n\n\
                 [[registry.mirror]]\nlocation = \"127.0.0.1:16000/docker.io\"\ninsecure = true\n\n\
                 [[registry.mirror]]\nlocation = \"m.office/hub\"\npull-from-mirror = \"tag-only\"\n";
    assert!(tree.read(OURS).ends_with(entry), "{}", tree.read(OURS));
    let mut wished = podman();
    wished.existing = Existing::Refuse;
    tree.restore().unwrap();
    let refusal = tree.refusal(&wished);
    assert!(refusal.problem.contains("m.office/hub") && refusal.line == Some(1), "{refusal}");
}

#[test]
fn what_would_win_over_us_or_break_is_refused() {
    let entry = "[[registry]]\nprefix = \"quay.io\"\nlocation = \"q\"\n";
    for (file, text, word) in [
        ("/etc/containers/registries.conf.d/zz.conf", entry, "read after"),
        (MAIN, "[registries.search]\nregistries = [\"docker.io\"]\n", "first version"),
        (MAIN, "[[registry]]\nblocked = true\n", "neither prefix"),
        (MAIN, "[[registry]\n", "not TOML"),
    ] {
        let tree = Tree::new(&[(file, text)]);
        let refusal = tree.refusal(&podman());
        assert!(refusal.to_string().contains(word) && refusal.file == Path::new(file), "{refusal}");
    }
}

#[test]
fn what_is_blocked_or_cannot_be_named_is_left() {
    let tree = Tree::new(&[(MAIN, "[[registry]]\nprefix = \"docker.io\"\nblocked = true\n")]);
    let mut wished = podman();
    wished.registries.push("r.example:5000".to_owned());
    let applied = tree.apply(&wished).unwrap();
    assert!(applied.changes.is_empty());
    let notes: Vec<_> = applied.notes.iter().map(|note| note.note.as_str()).collect();
    assert!(notes[0].contains("blocked") && notes[1].contains("port"), "{notes:?}");
}
