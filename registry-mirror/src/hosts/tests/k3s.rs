//! `registries.yaml`.

use super::*;

const FILE: &str = "/etc/rancher/k3s/registries.yaml";

fn k3s() -> Wish {
    wish(Runtime::K3s)
}

const STAR: &str = "  \"*\":\n    endpoint:\n      - \"http://127.0.0.1:16000\"\n";
const HUB: &str = "  \"docker.io\":\n    endpoint:\n      - \"http://127.0.0.1:16000\"\n";

#[test]
fn entries_go_on_top_and_the_agent_in_front() {
    let both = format!("{HUB}{STAR}");
    for (before, after) in [
        ("# words\n", format!("# words\nmirrors:\n{both}")),
        ("configs:\n  a:\n    tls: {}\n", format!("mirrors:\n{both}configs:\n  a:\n    tls: {{}}\n")),
        ("mirrors:\nconfigs: {}\n", format!("mirrors:\n{both}configs: {{}}\n")),
        (
            "---\nmirrors: # m\n  quay.io:\n    endpoint: [\"https://q\"] # q\n",
            format!("---\nmirrors: # m\n{both}  quay.io:\n    endpoint: [\"https://q\"] # q\n"),
        ),
        (
            "mirrors:\n  docker.io:\n    endpoint:\n    - https://m # mine\n  '*':\n    endpoint: [ https://n ]\n",
            "mirrors:\n  docker.io:\n    endpoint:\n    - \"http://127.0.0.1:16000\"\n    - https://m # mine\n  '*':\n    endpoint: [\"http://127.0.0.1:16000\",  https://n ]\n".to_owned(),
        ),
        (
            "mirrors:\r\n  docker.io:\r\n  \"*\":\r\n    endpoint: []",
            "mirrors:\r\n  docker.io:\r\n    endpoint:\r\n      - \"http://127.0.0.1:16000\"\r\n  \"*\":\r\n    endpoint: [\"http://127.0.0.1:16000\"]".to_owned(),
        ),
    ] {
        let tree = Tree::new(&[(FILE, before)]);
        let was = tree.etc();
        tree.apply(&k3s()).unwrap();
        assert_eq!(tree.read(FILE), after);
        assert!(tree.apply(&k3s()).unwrap().changes.is_empty());
        tree.restore().unwrap();
        assert_eq!(tree.etc(), was);
    }
}

#[test]
fn a_machine_without_the_file_gets_one() {
    let tree = Tree::new(&[]);
    tree.apply(&k3s()).unwrap();
    assert!(tree.read(FILE).ends_with(&format!("\nmirrors:\n{HUB}{STAR}")), "{}", tree.read(FILE));
    tree.restore().unwrap();
    assert!(!tree.has("/etc"));
}

#[test]
fn what_lines_cannot_be_put_into_is_refused() {
    for (text, line, key) in [
        ("mirrors: {}\n", 1, "mirrors"),
        ("a: 1\nmirrors: &m\n  x: {}\n", 2, "mirrors"),
        ("mirrors:\n  docker.io: {endpoint: []}\n", 2, "mirrors.docker.io"),
        ("mirrors:\n  docker.io:\n    endpoint: https://m\n", 3, "mirrors.docker.io.endpoint"),
        ("mirrors:\n  docker.io:\n    rewrite:\n      a: b\n", 3, "mirrors.docker.io.rewrite"),
        ("mirrors:\n  a: 1\n  a: 2\n", 3, ""),
        ("mirrors: [\n", 2, ""),
        ("a: 1\n---\nb: 2\n", 2, ""),
    ] {
        let tree = Tree::new(&[(FILE, text)]);
        let refusal = tree.refusal(&k3s());
        assert_eq!(refusal.key, key, "{refusal}");
        assert!(refusal.line.is_some_and(|found| found.abs_diff(line) <= 1), "{line}: {refusal}");
    }
}
