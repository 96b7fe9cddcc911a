//! Whole configurations, good and bad.

use std::io::Write;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::*;
use crate::{ByteSize, Duration, Secret, render};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    listen: SocketAddr,
    #[serde(default)]
    cache: Cache,
    #[serde(default)]
    hosts: Vec<Host>,
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    level: Level,
    #[serde(default)]
    key: Option<Secret>,
    #[serde(default)]
    label: Option<String>,
    #[serde(default)]
    on: bool,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Cache {
    directory: String,
    capacity: ByteSize,
    every: Duration,
    parallel: u16,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            directory: "/var/lib/x".into(),
            capacity: ByteSize::gib(1),
            every: Duration::secs(30),
            parallel: 4,
        }
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Host {
    host: String,
    port: u16,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    #[default]
    Info,
    Debug,
}

struct Case {
    sources: Sources,
    _file: tempfile::NamedTempFile,
}

fn case(yaml: &str, environment: &[(&str, &str)]) -> Case {
    let mut file = tempfile::NamedTempFile::with_prefix("c.yaml").unwrap();
    file.write_all(yaml.as_bytes()).unwrap();
    let environment = environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let sources = Sources { file: Some(file.path().into()), environment, ..Sources::default() };
    Case { sources, _file: file }
}

fn good(yaml: &str, environment: &[(&str, &str)]) -> Config {
    load(&case(yaml, environment).sources).unwrap_or_else(|errors| panic!("{errors}"))
}

/// Each mistake as `line path: problem; remedy`.
fn bad(yaml: &str, environment: &[(&str, &str)]) -> Vec<String> {
    let case = case(yaml, environment);
    let file = case.sources.file.as_ref().unwrap().display().to_string() + ":";
    let errors = load::<Config>(&case.sources).unwrap_err();
    errors
        .errors()
        .iter()
        .map(|error| {
            error.to_string().replace(&file, "").trim_start_matches("environment variable ").to_owned()
        })
        .collect()
}

#[test]
fn reads_every_type() {
    let config = good(
        "listen: 127.0.0.1:80\ncache: {capacity: 2GiB, every: 5m, parallel: 8}\nhosts:\n  - {host: a.b:5000, port: 1}\n\
         names: [x, \"1\", 2]\nlevel: debug\non: true\n",
        &[],
    );
    assert_eq!(config.listen.port(), 80);
    assert_eq!(config.cache.capacity, ByteSize::gib(2));
    assert_eq!(config.cache.every, Duration::secs(300));
    assert_eq!(config.cache.directory, "/var/lib/x");
    assert_eq!(config.hosts, [Host { host: "a.b:5000".into(), port: 1 }]);
    assert_eq!(config.names, ["x", "1", "2"]);
    assert_eq!(config.level, Level::Debug);
    assert!(config.on);
}

#[test]
fn a_key_with_nothing_below_it_means_its_defaults() {
    let config = good("listen: 127.0.0.1:80\ncache:\n#  capacity: 1\nhosts:\nkey:\n", &[]);
    assert_eq!(config.cache, Cache::default());
    assert_eq!(config.key, None);
}

#[test]
fn reports_every_mistake_at_once() {
    let errors = bad(
        "lisen: 127.0.0.1:80\ncache:\n  capacity: 10 gigs\n  every: 30\n  parallel: many\n  directry: /x\nhosts:\n\
         - {host: a}\n- {host: b, port: 99999}\n- {hots: c, port: 3}\nlevel: loud\non: maybe\n",
        &[],
    );
    let want = [
        "1: lisen: unknown key; did you mean `listen`?",
        "3: cache.capacity: `10 gigs` is not a size",
        "4: cache.every: `30` is not a duration",
        "5: cache.parallel: expected u16, found string \"many\"; write a whole number",
        "6: cache.directry: unknown key; did you mean `directory`?",
        "8: hosts.0.port: this key is required; add `port: …`",
        "9: hosts.1.port: ",
        "10: hosts.2.hots: unknown key; did you mean `host`?",
        "10: hosts.2.host: this key is required",
        "11: level: `loud` is none of info, debug",
        "12: on: expected a boolean, found string \"maybe\"; write true or false",
        "listen: this key is required",
    ];
    for part in want {
        assert!(errors.iter().any(|error| error.contains(part)), "{part}\n{errors:#?}");
    }
    assert_eq!(errors.len(), want.len(), "{errors:#?}");
}

#[test]
fn a_wrong_required_value_is_reported_once() {
    let errors = bad("listen: nowhere\ncache: {parallel: x}\n", &[]);
    assert_eq!(errors.len(), 2, "{errors:#?}");
    assert!(errors[0].starts_with("1: listen: invalid socket address"), "{errors:#?}");
}

#[test]
fn wrong_shapes_are_explained() {
    let errors = bad("listen: [1]\ncache: 5\nhosts: {a: 1}\nnames: x\nlabel: {a: 1}\n", &[]);
    assert!(errors[0].contains("listen: expected socket address, found a list"), "{errors:#?}");
    assert!(
        errors.iter().any(|error| error.contains("cache: ") && error.contains("indented lines")),
        "{errors:#?}"
    );
    assert!(
        errors.iter().any(|error| error.contains("names: ") && error.contains("write a list")),
        "{errors:#?}"
    );
    assert_eq!(errors.len(), 5, "{errors:#?}");
}

#[test]
fn broken_yaml_and_duplicates_name_the_line() {
    let errors = bad("listen: 127.0.0.1:80\n  cache: [\n", &[]);
    assert!(errors[0].starts_with("2: not valid YAML"), "{errors:#?}");
    let errors = bad("listen: 127.0.0.1:80\nlisten: 127.0.0.1:81\nhostz: 1\n", &[]);
    assert!(errors[0].starts_with("2: listen: this key was given before"), "{errors:#?}");
    assert_eq!(errors.len(), 2, "{errors:#?}");
    let errors = bad("listen: 127.0.0.1:80\n---\nlisten: 127.0.0.1:80\n", &[]);
    assert!(errors[0].contains("one YAML document"), "{errors:#?}");
}

#[test]
fn aliases_are_copied_within_bounds() {
    let config = good("listen: 127.0.0.1:80\nhosts: [&h {host: a, port: 1}, *h]\n", &[]);
    assert_eq!(config.hosts[0], config.hosts[1]);
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..9 {
        bomb += &format!("a{level}: &a{level} [{}]\n", vec![format!("*a{}", level - 1); 10].join(", "));
    }
    assert!(bad(&bomb, &[])[0].contains("too large"));
}

#[test]
fn a_missing_file_is_one_clear_error() {
    let sources = Sources { file: Some("/nonexistent/agent.yaml".into()), ..Sources::default() };
    let errors = load::<Config>(&sources).unwrap_err().to_string();
    assert!(errors.contains("/nonexistent/agent.yaml: cannot be read"), "{errors}");
}

#[test]
fn interpolates_plain_and_quoted_and_never_in_comments() {
    let config = good(
        "# ${UNSET:?not evaluated} ${ALSO_UNSET}\nlisten: ${HOST:-127.0.0.1}:${PORT}\ncache: {parallel: \"${N:-7}\"}\n\
         label: '$${HOST} costs $$5 $x'   # ${UNSET}\nnames: [${A:-a, b}, \"${B:-${C:-deep}}\"]\non: ${ON:-true}\n",
        &[("PORT", "8080")],
    );
    assert_eq!(config.listen.port(), 8080);
    assert_eq!(config.cache.parallel, 7);
    assert_eq!(config.label.as_deref(), Some("${HOST} costs $5 $x"));
    assert_eq!(config.names, ["a, b", "deep"]);
    assert!(config.on);
}

#[test]
fn a_value_never_adds_structure() {
    let evil = "x\nlisten: 0.0.0.0:1\n# \"'{[";
    let config = good("listen: 127.0.0.1:80\nlabel: ${EVIL}\nnames: [\"${EVIL}\"]\n", &[("EVIL", evil)]);
    assert_eq!(config.label.as_deref(), Some(evil));
    assert_eq!(config.names, [evil]);
    assert_eq!(config.listen.port(), 80);
}

#[test]
fn unset_variables_are_reported_with_the_rest() {
    let errors = bad("listen: ${L:?where to listen}\nlabel: ${X}\ncache: {every: ${}}\nbad: 1\n", &[]);
    assert!(
        errors[0].contains("1: listen: the environment variable L is not set: where to listen; set L"),
        "{errors:#?}"
    );
    assert!(errors[1].contains("2: label: the environment variable X is not set"), "{errors:#?}");
    assert!(errors[2].contains("3: cache.every: `${}` is not understood"), "{errors:#?}");
    assert!(errors[3].contains("bad: unknown key"), "{errors:#?}");
    assert_eq!(errors.len(), 4, "{errors:#?}");
}

#[test]
fn environment_over_file_and_flags_over_both() {
    let yaml = "listen: 127.0.0.1:80\ncache: {capacity: 1GiB, parallel: 2}\n";
    let environment = [
        ("SHOAL_CACHE__CAPACITY", "3GiB"),
        ("SHOAL_NAMES", "a, b"),
        ("SHOAL_HOSTS", "[{host: h, port: 5}]"),
        ("SHOAL_ON", "true"),
        ("SHOAL_CONFIG", "ignored"),
        ("OTHER", "x"),
    ];
    let mut case = case(yaml, &environment);
    case.sources.flags = vec![("cache.parallel".into(), "9".into()), ("level".into(), "debug".into())];
    let config: Config = load(&case.sources).unwrap();
    assert_eq!(config.cache.capacity, ByteSize::gib(3));
    assert_eq!(config.cache.parallel, 9);
    assert_eq!(config.names, ["a", "b"]);
    assert_eq!(config.hosts, [Host { host: "h".into(), port: 5 }]);
    assert_eq!(config.level, Level::Debug);
    assert!(config.on);
}

#[test]
fn variables_that_look_like_keys_are_errors() {
    let errors = bad(
        "listen: 127.0.0.1:80\n",
        &[
            ("SHOAL_CACHE_CAPACITY", "1GiB"),
            ("SHOAL_CACH__CAPACITY", "1GiB"),
            ("SHOAL_CACHE__CAPCITY", "1GiB"),
            ("SHOAL_NOWHERE__X", "1"),
            ("SHOAL_CACHE__PARALLEL", "x"),
            ("SHOAL_CACHE_SERVICE_HOST", "10.0.0.1"),
            ("SHOAL_CACHE_PORT_15000_TCP_ADDR", "10.0.0.1"),
            ("SHOAL_SOMETHING_ELSE", "1"),
        ],
    );
    let want = [
        "SHOAL_CACHE_CAPACITY: this variable names no key; a dot in a key is written as two underscores; did you mean SHOAL_CACHE__CAPACITY?",
        "SHOAL_CACH__CAPACITY: this variable names no key; did you mean SHOAL_CACHE__CAPACITY?",
        "SHOAL_CACHE__CAPCITY: cache.capcity: unknown key; did you mean `capacity`?",
        "SHOAL_NOWHERE__X: this variable names no key",
        "SHOAL_CACHE__PARALLEL: cache.parallel: expected u16",
    ];
    for part in want {
        assert!(errors.iter().any(|error| error.contains(part)), "{part}\n{errors:#?}");
    }
    assert_eq!(errors.len(), want.len(), "{errors:#?}");
}

#[test]
fn variables_that_the_file_names_are_no_keys() {
    let config = good("listen: ${SHOAL_CACHE_HOST}:80\n", &[("SHOAL_CACHE_HOST", "127.0.0.1")]);
    assert_eq!(config.listen.port(), 80);
}

#[test]
fn secrets_come_from_values_and_files_and_do_not_show() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"hunter2\n").unwrap();
    let path = file.path().display();
    let config = good(&format!("listen: 127.0.0.1:80\nkey: {{file: {path}}}\n"), &[]);
    assert_eq!(config.key.as_ref().unwrap().reveal(), "hunter2");
    assert!(!format!("{config:?}").contains("hunter2"));
    assert!(render(&config).contains("key: \"<redacted>\""));
    let config = good("listen: 127.0.0.1:80\nkey: 12345\n", &[]);
    assert_eq!(config.key.as_ref().unwrap().reveal(), "12345");
    let errors = bad("listen: 127.0.0.1:80\nkey: {file: /nonexistent}\non: 5\n", &[]);
    assert!(errors[0].contains("key: the secret file /nonexistent cannot be read"), "{errors:#?}");
    assert_eq!(errors.len(), 2, "{errors:#?}");
    assert!(bad("listen: 127.0.0.1:80\nkey: <redacted>\n", &[])[0].contains("--print-config"));
}

#[test]
fn what_is_rendered_reads_back_the_same() {
    let config = Config {
        listen: "[::1]:80".parse().unwrap(),
        cache: Cache::default(),
        hosts: vec![Host { host: "a:1".into(), port: 2 }, Host { host: "true".into(), port: 3 }],
        names: vec!["".into(), "${X}".into(), "a: b #c".into(), "ä\n\"\\".into(), "12".into(), "- x".into()],
        level: Level::Debug,
        key: None,
        label: Some("null".into()),
        on: false,
    };
    let yaml = render(&config);
    assert_eq!(good(&yaml, &[]), config, "{yaml}");
    assert!(yaml.contains("cache:\n  directory: /var/lib/x\n  capacity: 1GiB\n  every: 30s\n"), "{yaml}");
    assert!(yaml.contains("hosts:\n  - host: a:1\n    port: 2\n"), "{yaml}");
}

#[test]
fn mistakes_of_meaning_come_with_the_others() {
    let flags = [
        ("listen", "127.0.0.1:1"),
        ("cache.directory", ""),
        ("cache.capacity", "much"),
        ("cache.parallel", "0"),
    ];
    let flags = flags.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
    let sources = Sources { flags, environment: BTreeMap::new(), ..Sources::default() };
    let meaning = |config: &Config| {
        let mut found = Vec::new();
        for (path, wrong) in [
            ("cache.directory", config.cache.directory.is_empty()),
            ("cache.parallel", config.cache.parallel == 0),
            ("cache.capacity", true),
        ] {
            if wrong {
                found.push(ConfigError::semantic(path, "cannot be", "change it"));
            }
        }
        found
    };
    let errors = load_checked(&sources, meaning).unwrap_err();
    let paths: Vec<_> = errors.errors().iter().map(|error| error.path.as_str()).collect();
    // What was unreadable is not judged a second time.
    assert_eq!(paths, ["cache.capacity", "cache.directory", "cache.parallel"]);
}
