//! The configuration as operators meet it.

use std::collections::BTreeMap;

use shoal_config::{ConfigErrors, Sources, load, render};

use super::*;

fn read(yaml: &str) -> Result<Config, ConfigErrors> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("server.yaml");
    std::fs::write(&file, yaml).unwrap();
    load(&Sources { file: Some(file), environment: BTreeMap::new(), ..Sources::default() })
}

#[test]
fn the_defaults_are_sound_and_on_the_usual_ports() {
    let config = read("").unwrap();
    assert_eq!(config.problems(), []);
    let ports: Vec<_> = config.listeners().iter().map(|(_, addr)| addr.port()).collect();
    assert_eq!(ports, [15000, 15001, 15002, 15003, 15004, 15005]);
    assert!(config.admin.listen.ip().is_loopback());
}

#[test]
fn what_is_printed_reads_back_the_same() {
    let config =
        read("store: {capacity: 1TiB}\nadvertise: {host: shoal.example}\nuploads: {expire_after: 1h}\n")
            .unwrap();
    let printed = render(&config);
    assert_eq!(render(&read(&printed).unwrap()), printed);
    assert!(printed.contains("capacity: 1TiB"), "{printed}");
}

#[test]
fn secrets_are_not_printed() {
    let printed = render(&read("cluster_key: hunter2\n").unwrap());
    assert!(!printed.contains("hunter2"), "{printed}");
}

#[test]
fn unknown_keys_are_refused_with_the_others() {
    let errors = read("registy: {listen: x}\ntracker: {listen: y, port: 1}\n").unwrap_err().to_string();
    for word in ["registy", "did you mean `registry`", "tracker.listen", "port"] {
        assert!(errors.contains(word), "{word} is missing in {errors}");
    }
}

#[test]
fn values_that_do_not_fit_together_are_named() {
    let mut config = Config::default();
    config.tracker.listen = "127.0.0.1:15000".parse().unwrap();
    config.advertise.host = Some("http://x:1".to_owned());
    config.store.capacity = Some(ByteSize(0));
    config.uploads.expire_after = Duration::secs(1);
    config.log.filter = "a=b=c".to_owned();
    config.data_directory = PathBuf::new();
    let paths: Vec<_> = config.problems().into_iter().map(|problem| problem.path).collect();
    assert_eq!(
        paths,
        [
            "tracker.listen",
            "data_directory",
            "advertise.host",
            "store.capacity",
            "uploads.expire_after",
            "log.filter"
        ]
    );
}

#[test]
fn port_zero_never_clashes_and_hosts_are_names_or_addresses() {
    assert!(!overlap("0.0.0.0:0".parse().unwrap(), "0.0.0.0:0".parse().unwrap()));
    assert!(!overlap("127.0.0.1:1".parse().unwrap(), "127.0.0.2:1".parse().unwrap()));
    for good in ["shoal", "shoal.example", "10.0.0.1", "2001:db8::1"] {
        assert!(is_host(good), "{good}");
    }
    for bad in ["", "0.0.0.0", "::", "host:1", "[::1]", "a b"] {
        assert!(!is_host(bad), "{bad}");
    }
}

/// The examples in YAML of a page for operators.
fn examples(page: &str) -> Vec<String> {
    let path = format!("{}/../docs/operations/{page}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let blocks = text.split("```yaml\n").skip(1);
    blocks.map(|rest| rest.split_once("```").unwrap().0.to_owned()).collect()
}

/// Every key of a document in block style, with the keys above it.
fn keys(yaml: &str) -> Vec<String> {
    let mut above: Vec<(usize, &str)> = Vec::new();
    let mut found = Vec::new();
    for line in yaml.lines() {
        let Some((key, _)) = line.trim_start().split_once(':') else { continue };
        let depth = line.len() - line.trim_start().len();
        above.retain(|(outer, _)| *outer < depth);
        above.push((depth, key));
        found.push(above.iter().map(|(_, key)| *key).collect::<Vec<_>>().join("."));
    }
    found
}

#[test]
fn the_page_for_operators_shows_every_key_with_its_default() {
    let shown = &examples("server.md")[0];
    assert_eq!(render(&read(shown).unwrap()), render(&Config::default()));
    let shown = keys(shown);
    let missing: Vec<_> =
        keys(&render(&Config::default())).into_iter().filter(|key| !shown.contains(key)).collect();
    assert_eq!(missing, [""; 0], "docs/operations/server.md does not show these keys");
}

#[test]
fn examples_for_operators_are_configurations_without_a_mistake() {
    for page in ["server.md", "storage.md", "upstreams.md"] {
        for example in examples(page) {
            let config = read(&example).unwrap_or_else(|errors| panic!("{page}: {errors}\n{example}"));
            assert_eq!(config.problems(), [], "{page}\n{example}");
        }
    }
}

#[test]
fn authentication_is_not_walked_around() {
    let yaml = "auth: {htpasswd: /etc/shoal/htpasswd}\n";
    let paths = |yaml: &str| {
        let problems = read(yaml).unwrap().problems();
        problems.into_iter().map(|problem| problem.to_string()).collect::<Vec<_>>().join("\n")
    };
    let open = paths(yaml);
    assert!(
        open.contains("auth") && open.contains("origin.peer_listen") && open.contains("cluster_key"),
        "{open}"
    );
    assert_eq!(paths(&format!("{yaml}cluster_key: hunter2\n")), "");
    let inside = "origin: {listen: '127.0.0.1:1', peer_listen: '127.0.0.1:2'}\ntracker: {listen: '[::1]:3'}\ntags: {listen: '127.0.0.1:4'}\n";
    assert_eq!(paths(&format!("{yaml}{inside}")), "");
}

#[test]
fn a_section_auth_reads_back_as_it_is_printed() {
    let yaml = "auth:\n  htpasswd: /h\n  groups: {team: [alice, bob]}\n  policy:\n  - {subjects: [anonymous], repositories: ['public/**'], actions: [pull]}\n  \
        oidc:\n  - {name: ci, issuer: 'https://ci.example', audiences: [shoal], required_claims: {owner: [acme]}}\n  trusted_proxies: [10.0.0.1]\n";
    let printed = render(&read(yaml).unwrap());
    assert_eq!(render(&read(&printed).unwrap()), printed);
    assert!(printed.contains("acme") && printed.contains("10.0.0.1"), "{printed}");
}
