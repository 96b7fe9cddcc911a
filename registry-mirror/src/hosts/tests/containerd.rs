//! `config.toml` with its imports, and `hosts.toml`.

use super::*;

const CONFIG: &str = "/etc/containerd/config.toml";
const DEFAULT: &str = "/etc/containerd/certs.d/_default/hosts.toml";

fn containerd() -> Wish {
    wish(Runtime::Containerd)
}

/// The configuration becomes `after`, and as it was again.
fn config(before: &str, after: &str) {
    let tree = Tree::new(&[(CONFIG, before)]);
    let was = tree.etc();
    tree.apply(&containerd()).unwrap();
    assert_eq!(tree.read(CONFIG), after);
    assert!(tree.apply(&containerd()).unwrap().changes.is_empty(), "applying again changes something");
    tree.restore().unwrap();
    assert_eq!(tree.etc(), was);
}

#[test]
fn a_machine_without_files_gets_two_and_loses_them_again() {
    let tree = Tree::new(&[]);
    let applied = tree.apply(&containerd()).unwrap();
    assert_eq!(applied.changes.len(), 2);
    let config = "version = 2\n\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\n  config_path = \"/etc/containerd/certs.d\"\n";
    assert!(tree.read(CONFIG).ends_with(config), "{}", tree.read(CONFIG));
    assert!(tree.read(DEFAULT).ends_with(&with_agent("@AGENT@\n")), "{}", tree.read(DEFAULT));
    assert!(!tree.has("/etc/containerd/certs.d/docker.io"), "_default answers for it");
    tree.restore().unwrap();
    assert!(!tree.has("/etc"));
    assert!(!tree.has("/var/lib/shoal/hosts"));
}

#[test]
fn the_key_goes_to_the_table_of_the_version() {
    config(
        "version = 2\n# mine\n[plugins]\n  [plugins.\"io.containerd.grpc.v1.cri\"]\n    sandbox_image = \"p\" # kept\n",
        "version = 2\n# mine\n[plugins]\n  [plugins.\"io.containerd.grpc.v1.cri\"]\n    sandbox_image = \"p\" # kept\n\n\
         [plugins.\"io.containerd.grpc.v1.cri\".registry]\n  config_path = \"/etc/containerd/certs.d\"\n",
    );
    config(
        "version = 3\n",
        "version = 3\n\n[plugins.\"io.containerd.cri.v1.images\".registry]\n  config_path = \"/etc/containerd/certs.d\"\n",
    );
    config("", "[plugins.cri.registry]\n  config_path = \"/etc/containerd/certs.d\"\n");
}

#[test]
fn a_table_that_is_there_is_added_to_and_an_empty_value_replaced() {
    config(
        "version = 2\r\n  [plugins.'io.containerd.grpc.v1.cri'.registry] # r\r\n  headers = {}\r\n",
        "version = 2\r\n  [plugins.'io.containerd.grpc.v1.cri'.registry] # r\r\n    config_path = \"/etc/containerd/certs.d\"\r\n  headers = {}\r\n",
    );
    config(
        "version = 3\n[plugins.\"io.containerd.cri.v1.images\".registry]\nconfig_path = '' # none\n",
        "version = 3\n[plugins.\"io.containerd.cri.v1.images\".registry]\nconfig_path = \"/etc/containerd/certs.d\" # none\n",
    );
}

#[test]
fn a_directory_that_is_configured_is_used() {
    let text = "version = 2\nplugins.\"io.containerd.grpc.v1.cri\".registry.config_path = \"/opt/hosts\"\n";
    let tree = Tree::new(&[(CONFIG, text)]);
    tree.apply(&containerd()).unwrap();
    assert_eq!(tree.read(CONFIG), text);
    assert!(tree.has("/opt/hosts/_default/hosts.toml"));
    tree.restore().unwrap();
    assert!(!tree.has("/opt"));
}

#[test]
fn of_a_list_the_first_directory_is_used_and_said() {
    let text = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"/a:/b\"\n";
    let tree = Tree::new(&[(CONFIG, text)]);
    let applied = tree.apply(&containerd()).unwrap();
    assert!(tree.has("/a/_default/hosts.toml"));
    assert!(applied.notes[0].note.contains("is a list"), "{:?}", applied.notes);
}

#[test]
fn a_drop_in_is_written_only_when_no_file_has_the_table() {
    let main = "version = 2\nimports = [\"/etc/containerd/conf.d/*.toml\"]\n";
    let tree = Tree::new(&[(CONFIG, main)]);
    tree.apply(&containerd()).unwrap();
    assert_eq!(tree.read(CONFIG), main);
    assert!(tree.read("/etc/containerd/conf.d/shoal.toml").contains("version = 2\n\n[plugins."));
    tree.restore().unwrap();
    assert!(!tree.has("/etc/containerd/conf.d"));

    // containerd 1.x takes the plugin's table of the last file whole: there the key has to be.
    let nvidia = "[plugins.\"io.containerd.grpc.v1.cri\".containerd]\n  default_runtime_name = \"nvidia\"\n";
    tree.write("/etc/containerd/conf.d/99-nvidia.toml", nvidia);
    tree.apply(&containerd()).unwrap();
    assert!(!tree.has("/etc/containerd/conf.d/shoal.toml"));
    let after = tree.read("/etc/containerd/conf.d/99-nvidia.toml");
    assert!(after.starts_with(nvidia) && after.contains("config_path"), "{after}");
}

#[test]
fn a_plugin_that_is_switched_off_is_left_alone() {
    let tree = Tree::new(&[(CONFIG, "disabled_plugins = [\"cri\"]\n")]);
    let applied = tree.apply(&containerd()).unwrap();
    assert_eq!(tree.read(CONFIG), "disabled_plugins = [\"cri\"]\n");
    assert!(tree.has(DEFAULT) && applied.notes[0].note.contains("disabled"));
}

#[test]
fn old_mirrors_and_broken_files_are_refused_with_their_place() {
    for (text, line, key, word) in [
        (
            "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"docker.io\"]\nendpoint = [\"https://m\"]\n",
            2,
            "registry.mirrors",
            "config_path",
        ),
        (
            "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry.configs.\"r\".tls]\nca_file = \"x\"\n",
            2,
            "registry.configs.\"r\".tls",
            "config_path",
        ),
        ("version = 2\n[a]\nb = 1\nb = 2\n", 4, "", "not TOML"),
        ("version = 2\n[plugins\n", 2, "", "not TOML"),
    ] {
        let tree = Tree::new(&[(CONFIG, text)]);
        let was = tree.etc();
        let refusal = tree.refusal(&containerd());
        assert_eq!((refusal.line, refusal.key.as_str()), (Some(line), key), "{refusal}");
        assert!(refusal.problem.contains(word) && refusal.file == Path::new(CONFIG), "{refusal}");
        assert_eq!(tree.etc(), was);
    }
}

#[test]
fn the_agent_goes_in_front_of_other_hosts() {
    let before = "server = \"https://r.example\"\nskip_verify = true\n\n# the office\n[host.\"https://m.example\"]\n  capabilities = [\"pull\"]\n[host.\"https://m.example\".header]\n  x = \"y\"\n";
    let after = with_agent(
        "server = \"https://r.example\"\nskip_verify = true\n\n@AGENT@\n\n# the office\n[host.\"https://m.example\"]\n  capabilities = [\"pull\"]\n[host.\"https://m.example\".header]\n  x = \"y\"\n",
    );
    let file = "/etc/containerd/certs.d/r.example:5000/hosts.toml";
    let tree = Tree::new(&[(file, before)]);
    let mut wished = containerd();
    wished.registries = vec!["r.example:5000".to_owned()];
    tree.apply(&wished).unwrap();
    assert_eq!(tree.read(file), after);
    tree.restore().unwrap();
    assert_eq!(tree.read(file), before);

    wished.existing = Existing::Refuse;
    let refusal = tree.refusal(&wished);
    assert_eq!((refusal.line, refusal.key.as_str()), (Some(5), "host.\"https://m.example\""), "{refusal}");
}

#[test]
fn a_file_without_hosts_gets_one_at_its_end() {
    for (before, after) in [
        ("server = \"https://r\"", "server = \"https://r\"\n\n@AGENT@\n"),
        ("ca = \"x\"\n[header]\na = \"b\"\n", "ca = \"x\"\n[header]\na = \"b\"\n\n@AGENT@\n"),
        ("", "@AGENT@\n"),
        ("# only a word\n", "# only a word\n\n@AGENT@\n"),
    ] {
        let tree = Tree::new(&[(DEFAULT, before)]);
        tree.apply(&containerd()).unwrap();
        assert_eq!(tree.read(DEFAULT), with_agent(after));
    }
}

#[test]
fn certificates_beside_a_new_file_go_on_to_be_used() {
    let directory = "/etc/containerd/certs.d/docker.io";
    let tree = Tree::new(&[]);
    for name in ["ca.crt", "a.cert", "a.key"] {
        tree.write(&format!("{directory}/{name}"), "x");
    }
    tree.apply(&containerd()).unwrap();
    let text = tree.read(&format!("{directory}/hosts.toml"));
    assert!(text.contains(&format!("ca = [\"{directory}/ca.crt\"]\nclient = [[\"{directory}/a.cert\", \"{directory}/a.key\"]]\n\n[host.")), "{text}");
}

#[test]
fn hosts_that_cannot_be_put_in_front_of_are_refused() {
    for (text, line, key) in [
        ("host = {\"https://m\" = {}}\n", 1, "host"),
        ("\nhost.\"https://m\".capabilities = [\"pull\"]\n", 2, "host"),
        ("server = \"http://127.0.0.1:16000/\"\n", 1, "server"),
        ("[host.\"http://127.0.0.1:16000\"]\ncapabilities = [\"push\"]\n", 1, "capabilities"),
        ("[host.\"a\"]\n[host.\"a\"]\n", 2, ""),
    ] {
        let tree = Tree::new(&[(DEFAULT, text)]);
        let refusal = tree.refusal(&containerd());
        assert_eq!((refusal.line, refusal.key.as_str()), (Some(line), key), "{refusal}");
        assert!(!tree.has(CONFIG), "nothing is written when something is refused");
    }
}

#[test]
fn a_directory_of_its_own_is_not_hidden_behind_the_default() {
    let mut wished = containerd();
    let tree = Tree::new(&[("/etc/containerd/certs.d/quay.io/hosts.toml", "server = \"https://quay.io\"\n")]);
    let applied = tree.apply(&wished).unwrap();
    assert!(applied.notes.iter().any(|note| note.note.contains("--registry quay.io")), "{:?}", applied.notes);
    wished.registries.push("quay.io".to_owned());
    assert_eq!(tree.apply(&wished).unwrap().changes.len(), 1);
    tree.restore().unwrap();

    tree.write(DEFAULT, "server = \"https://cache.office\"\n");
    wished.catch_all = false;
    let refusal = tree.refusal(&wished);
    assert!(
        refusal.problem.contains("docker.io"),
        "a new directory would hide the office's cache: {refusal}"
    );
}
