//! `daemon.json`.

use super::*;

const DAEMON: &str = "/etc/docker/daemon.json";

fn docker() -> Wish {
    wish(Runtime::Docker)
}

#[test]
fn the_agent_becomes_the_first_mirror_and_nothing_else_moves() {
    for (before, after) in [
        ("{}", "{\n  \"registry-mirrors\": [\"http://127.0.0.1:16000\"]\n}"),
        ("{ }\n", "{\n  \"registry-mirrors\": [\"http://127.0.0.1:16000\"]\n}\n"),
        ("{\"debug\":true}", "{\"registry-mirrors\": [\"http://127.0.0.1:16000\"], \"debug\":true}"),
        (
            "{\n\t\"z\": 1,\n\t\"a\": {\"registry-mirrors\": 7}\n}\n",
            "{\n\t\"registry-mirrors\": [\"http://127.0.0.1:16000\"],\n\t\"z\": 1,\n\t\"a\": {\"registry-mirrors\": 7}\n}\n",
        ),
        (
            "{\r\n  \"registry-mirrors\": [\r\n    \"https://m\"\r\n  ]\r\n}",
            "{\r\n  \"registry-mirrors\": [\r\n    \"http://127.0.0.1:16000\",\r\n    \"https://m\"\r\n  ]\r\n}",
        ),
        (
            "{\"registry-mirrors\":[\"https://m\"]}",
            "{\"registry-mirrors\":[\"http://127.0.0.1:16000\", \"https://m\"]}",
        ),
        (
            "{\"registry-mirrors\": [ ], \"x\": 0.10}",
            "{\"registry-mirrors\": [\"http://127.0.0.1:16000\"], \"x\": 0.10}",
        ),
    ] {
        let tree = Tree::new(&[(DAEMON, before)]);
        let was = tree.etc();
        tree.apply(&docker()).unwrap();
        assert_eq!(tree.read(DAEMON), after);
        assert!(tree.apply(&docker()).unwrap().changes.is_empty());
        tree.restore().unwrap();
        assert_eq!(tree.etc(), was);
    }
}

#[test]
fn what_docker_would_not_start_with_is_refused() {
    for (text, line, key) in [
        ("{\n \"debug\": true,\n}", 3, ""),
        ("", 1, ""),
        ("[]", 1, ""),
        ("{\n\"registry-mirrors\": \"https://m\"}", 2, "registry-mirrors"),
        ("{\"registry-mirrors\": [],\n\"registry-mirrors\": []}", 2, "registry-mirrors"),
    ] {
        let tree = Tree::new(&[(DAEMON, text)]);
        let refusal = tree.refusal(&docker());
        assert!(refusal.line == Some(line) || text.is_empty(), "{refusal}");
        assert_eq!(refusal.key, key, "{refusal}");
    }
    let unit = "/etc/systemd/system/docker.service.d/mirror.conf";
    let tree = Tree::new(&[(
        unit,
        "[Service]\n# --registry-mirror=no\nExecStart=dockerd --registry-mirror=https://m\n",
    )]);
    let refusal = tree.refusal(&docker());
    assert_eq!((refusal.file.as_path(), refusal.line), (Path::new(unit), Some(3)), "{refusal}");
}

#[test]
fn the_containerd_image_store_gets_hosts_and_an_old_daemon_does_not() {
    let hosts = "/etc/docker/certs.d/_default/hosts.toml";
    let tree = Tree::new(&[(DAEMON, "{\"features\": {\"containerd-snapshotter\": true}}")]);
    tree.apply(&docker()).unwrap();
    assert!(tree.read(hosts).ends_with(&with_agent("@AGENT@\n")));
    tree.restore().unwrap();
    tree.write(DAEMON, "{\"features\": {\"containerd-snapshotter\": false}}");
    let applied = tree.apply(&docker()).unwrap();
    assert!(!tree.has(hosts) && applied.notes[0].note.contains("docker.io only"), "{:?}", applied.notes);
}

#[test]
fn a_mirror_of_the_operators_is_refused_where_that_is_wished() {
    let tree = Tree::new(&[(DAEMON, "{\n\"registry-mirrors\": [\"https://m\"]}")]);
    let mut wished = docker();
    wished.existing = Existing::Refuse;
    let refusal = tree.refusal(&wished);
    assert!(refusal.problem.contains("https://m") && refusal.line == Some(2), "{refusal}");
}
