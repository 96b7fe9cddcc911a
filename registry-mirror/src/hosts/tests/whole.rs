//! Everything together: any state of a machine is taken back to the byte, whatever stops us on the way.

use proptest::prelude::*;
use proptest::sample::select;

use super::*;

#[test]
fn what_somebody_changed_since_is_not_overwritten_without_force() {
    let daemon = "/etc/docker/daemon.json";
    let tree = Tree::new(&[(daemon, "{\"debug\": true}\n")]);
    let mut wished = wish(Runtime::Docker);
    tree.apply(&wished).unwrap();
    let edited = tree.read(daemon).replace("true", "false");
    tree.write(daemon, &edited);
    let Err(HostsError::Changed { differences, .. }) = tree.restore() else { panic!("it was restored") };
    assert!(differences.contains("\n+") && differences.contains("false"), "{differences}");
    assert_eq!(tree.read(daemon), edited);
    // The agent is still in it, so there is nothing to do.
    assert!(!tree.apply(&wished).unwrap().changes.iter().any(|change| change.path.ends_with("daemon.json")));
    wished.agent = "127.0.0.1:16009".parse().unwrap();
    assert!(matches!(tree.apply(&wished), Err(HostsError::Changed { .. })));
    restore_on(&tree.disk(), true).unwrap();
    assert_eq!(tree.read(daemon), "{\"debug\": true}\n");
}

#[test]
fn another_wish_begins_from_what_the_operator_had() {
    let tree = Tree::new(&[("/etc/docker/daemon.json", "{}")]);
    let mut wished = wish(Runtime::Docker);
    wished.runtimes.push(Runtime::Podman);
    tree.apply(&wished).unwrap();
    wished.agent = "127.0.0.1:16009".parse().unwrap();
    wished.registries = vec!["quay.io".to_owned()];
    tree.apply(&wished).unwrap();
    let (daemon, conf) =
        (tree.read("/etc/docker/daemon.json"), tree.read("/etc/containers/registries.conf.d/99-shoal.conf"));
    assert!(!daemon.contains("16000") && daemon.contains("16009"), "{daemon}");
    assert!(!conf.contains("docker.io") && conf.contains("quay.io"), "{conf}");
    // A runtime that is not wished for again is left; one that no longer needs a file loses it.
    wished.runtimes = vec![Runtime::Docker];
    assert!(tree.apply(&wished).unwrap().changes.is_empty());
    tree.restore().unwrap();
    assert_eq!(tree.read("/etc/docker/daemon.json"), "{}");
    assert!(!tree.has("/etc/containers"));
}

#[test]
fn links_are_followed_inside_the_tree_and_modes_kept() {
    let tree = Tree::new(&[("/srv/docker/daemon.json", "{}")]);
    fs::create_dir_all(tree.real("/etc")).unwrap();
    std::os::unix::fs::symlink("/srv/docker", tree.real("/etc/docker")).unwrap();
    fs::set_permissions(tree.real("/srv/docker/daemon.json"), fs::Permissions::from_mode(0o600)).unwrap();
    let was = tree.etc();
    tree.apply(&wish(Runtime::Docker)).unwrap();
    assert!(tree.read("/srv/docker/daemon.json").contains("16000"));
    let mode = fs::metadata(tree.real("/srv/docker/daemon.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    tree.restore().unwrap();
    assert_eq!((tree.etc(), tree.read("/srv/docker/daemon.json").as_str()), (was, "{}"));
}

#[test]
fn links_to_nothing_in_circles_or_of_strangers_are_refused() {
    for target in ["/nowhere/daemon.json", "daemon.json"] {
        let tree = Tree::new(&[]);
        fs::create_dir_all(tree.real("/etc/docker")).unwrap();
        std::os::unix::fs::symlink(target, tree.real("/etc/docker/daemon.json")).unwrap();
        let refusal = tree.refusal(&wish(Runtime::Docker));
        assert!(refusal.problem.contains("is a link to") || refusal.problem.contains("circle"), "{refusal}");
    }
}

#[test]
fn a_damaged_record_is_not_believed() {
    let tree = Tree::new(&[("/etc/docker/daemon.json", "{}")]);
    tree.apply(&wish(Runtime::Docker)).unwrap();
    for content in fs::read_dir(tree.real("/var/lib/shoal/hosts/contents")).unwrap() {
        fs::write(content.unwrap().path(), "damaged").unwrap();
    }
    let error = tree.restore().unwrap_err();
    assert!(error.to_string().contains("missing or damaged"), "{error}");
    tree.write("/var/lib/shoal/hosts/record.json", "{");
    assert!(matches!(tree.restore(), Err(HostsError::Record { .. })));
}

/// A machine.
type Files = Vec<(&'static str, &'static str)>;

/// What operators have in these files; an empty text stands for no file.
fn machine() -> impl Strategy<Value = Files> {
    let file =
        |path: &'static str, texts: &'static [&'static str]| select(texts).prop_map(move |text| (path, text));
    (
        file(
            "/etc/containerd/config.toml",
            &[
                "",
                "version = 2\n",
                "version = 3\n# end",
                "disabled_plugins = [\"cri\"]\n",
                "version = 2\nimports = [\"conf.d/*.toml\"]\n",
                "version = 2\r\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\r\nconfig_path = \"\"\r\n",
                "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.x]\n",
                "= broken\n",
            ],
        ),
        file(
            "/etc/containerd/certs.d/_default/hosts.toml",
            &[
                "",
                "server = \"https://o\"\n",
                "# c\n[host.\"https://o\"]",
                "[host.\"https://o\"]\n[host.\"http://127.0.0.1:16000\"]\n",
            ],
        ),
        file("/etc/containerd/certs.d/docker.io/ca.crt", &["", "x"]),
        file(
            "/etc/docker/daemon.json",
            &[
                "",
                "{}",
                "{\"registry-mirrors\":[\"https://o\"],\"debug\":true}\n",
                "{\r\n\t\"a\": [1,\r\n2]\r\n}",
                "{\"features\":{\"containerd-snapshotter\":true}}",
                "{\"registry-mirrors\":[\"http://127.0.0.1:16000\"]}",
            ],
        ),
        file(
            "/etc/containers/registries.conf",
            &[
                "",
                "unqualified-search-registries = []\n",
                "[[registry]]\nlocation = \"docker.io\"\n[[registry.mirror]]\nlocation = \"o\"\n",
            ],
        ),
        file(
            "/etc/rancher/k3s/registries.yaml",
            &[
                "",
                "mirrors:\n  docker.io:\n    endpoint: [https://o]\n",
                "configs: {}",
                "mirrors:\n  \"*\":\n    endpoint:\n      - https://o\n",
            ],
        ),
    )
        .prop_map(|(a, b, c, d, e, f)| {
            [a, b, c, d, e, f].into_iter().filter(|(_, text)| !text.is_empty()).collect()
        })
}

/// What is asked for by name.
const REGISTRIES: [&[&str]; 3] = [&["docker.io"], &["docker.io", "r.example:5000"], &["quay.io"]];

fn wishes() -> impl Strategy<Value = Wish> {
    let runtimes = proptest::sample::subsequence(Runtime::ALL.to_vec(), 1..=4);
    let registries = select(&REGISTRIES[..]);
    (runtimes, registries, any::<bool>(), any::<bool>()).prop_map(
        |(runtimes, registries, catch_all, refuse)| Wish {
            agent: "127.0.0.1:16000".parse().unwrap(),
            registries: registries.iter().map(|name| (*name).to_owned()).collect(),
            catch_all,
            existing: if refuse { Existing::Refuse } else { Existing::Front },
            runtimes,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn applied_and_restored_is_as_it_was(files in machine(), first in wishes(), second in wishes()) {
        let tree = Tree::new(&files);
        let was = tree.etc();
        let mut second = second;
        second.agent = "127.0.0.1:16009".parse().unwrap();
        for wish in [&first, &first, &second] {
            let before = tree.etc();
            match tree.apply(wish) {
                Ok(_) => {
                    let applied = tree.etc();
                    prop_assert!(tree.apply(wish).unwrap().changes.is_empty());
                    prop_assert_eq!(applied, tree.etc());
                }
                Err(HostsError::Refused(_)) => prop_assert_eq!(before, tree.etc()),
                Err(error) => prop_assert!(false, "{}", error),
            }
        }
        tree.restore().unwrap();
        prop_assert_eq!(tree.etc(), was);
        prop_assert!(!tree.has("/var/lib/shoal/hosts"));
    }

    #[test]
    fn stopped_anywhere_it_goes_either_way(files in machine(), wish in wishes(), stop in 0_u32..60, again in 0_u32..60) {
        let tree = Tree::new(&files);
        let was = tree.etc();
        let whole = Tree::new(&files);
        let is_possible = whole.apply(&wish).is_ok();
        let _ = apply_on(&Disk::stopping_after(tree.root(), stop), &wish, false);
        // Each file is old or new; only what is written aside may lie beside it.
        for (path, thing) in tree.etc() {
            let Thing::File(bytes, _) = thing else { continue };
            let name = path.strip_prefix(tree.directory.path()).unwrap();
            let new = fs::read(whole.directory.path().join(name)).ok();
            let old = files.iter().find(|(file, _)| tree.real(file) == path).map(|(_, text)| text.as_bytes().to_vec());
            let is_aside = name.to_string_lossy().ends_with(".shoal-new");
            prop_assert!(is_aside || Some(&bytes) == new.as_ref() || Some(&bytes) == old.as_ref(), "{}", name.display());
        }
        if is_possible {
            tree.apply(&wish).unwrap();
            let relative = |tree: &Tree| -> Vec<_> {
                tree.etc().into_iter().map(|(path, thing)| (path.strip_prefix(tree.directory.path()).unwrap().to_owned(), thing)).collect()
            };
            prop_assert_eq!(relative(&tree), relative(&whole));
        }
        let _ = restore_on(&Disk::stopping_after(tree.root(), again), false);
        tree.restore().unwrap();
        prop_assert_eq!(tree.etc(), was);
    }
}
