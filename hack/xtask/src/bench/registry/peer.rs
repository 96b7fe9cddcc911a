//! The registries that can be measured, and how each kind is told its directory and its port.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use shoal_e2e::Program;

/// One registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// In names of measurements.
    pub(super) name: String,
    pub(super) kind: Kind,
}

/// How it is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Ours, from a directory with programs.
    Shoal(PathBuf),
    /// Docker's and CNCF's registry, versions 2 and 3.
    Distribution(PathBuf),
    Olareg(PathBuf),
    Zot(PathBuf),
    /// Words with `{port}` and `{dir}`.
    Command(Vec<String>),
}

/// The name of our own.
pub(super) const SHOAL: &str = "shoal";
/// The peer that some bars are relative to.
pub(super) const OLAREG: &str = "olareg";

impl Peer {
    pub(super) fn shoal(bin_dir: PathBuf) -> Self {
        Self { name: SHOAL.to_owned(), kind: Kind::Shoal(bin_dir) }
    }

    /// The one that Debian has.
    pub(super) fn debian(path: PathBuf) -> Self {
        Self { name: "docker_registry".to_owned(), kind: Kind::Distribution(path) }
    }

    /// `NAME=PATH` or `NAME=COMMAND`. The beginning of the name decides the kind; words behind a program make it a command.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let (name, words) = text.split_once('=').context("a peer is written as NAME=PATH_OR_COMMAND")?;
        let fits = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
        ensure!(
            !name.is_empty() && name.chars().all(fits) && name != SHOAL,
            "the name of a peer is made of lower-case letters, digits and _, and is not {SHOAL}; got {name:?}"
        );
        let list: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        ensure!(!list.is_empty(), "the peer {name} has no program");
        let kind = match list.as_slice() {
            [path] if name.starts_with("distribution") => Kind::Distribution(path.into()),
            [path] if name.starts_with(OLAREG) => Kind::Olareg(path.into()),
            [path] if name.starts_with("zot") => Kind::Zot(path.into()),
            _ => {
                ensure!(
                    words.contains("{port}") && words.contains("{dir}"),
                    "{name} is not a kind that is known here, so its command has to say where {{port}} and {{dir}} go"
                );
                Kind::Command(list)
            }
        };
        Ok(Self { name: name.to_owned(), kind })
    }

    /// The program on a port, or nothing for ours, which chooses its ports.
    pub(super) fn program(&self, directory: &Path, port: u16) -> Result<Option<Program>> {
        let data = directory.join("data");
        fs::create_dir_all(&data)?;
        let program = match &self.kind {
            Kind::Shoal(_) => return Ok(None),
            Kind::Distribution(path) => {
                let file = directory.join("config.yml");
                fs::write(&file, distribution(&data, port))?;
                Program::new(path).arg("serve").arg(file)
            }
            Kind::Olareg(path) => {
                Program::new(path).args(["serve", "--port", &port.to_string(), "--dir"]).arg(&data)
            }
            Kind::Zot(path) => {
                let file = directory.join("config.json");
                fs::write(&file, zot(&data, port))?;
                Program::new(path).arg("serve").arg(file)
            }
            Kind::Command(words) => {
                let fill = |word: &String| {
                    word.replace("{port}", &port.to_string()).replace("{dir}", &data.display().to_string())
                };
                let words: Vec<String> = words.iter().map(fill).collect();
                Program::new(&words[0]).args(&words[1..])
            }
        };
        Ok(Some(program))
    }
}

/// The file-system driver and nothing else: no cache, no log of requests, as the figures that we compare with were taken.
fn distribution(data: &Path, port: u16) -> String {
    format!(
        "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
         storage: {{filesystem: {{rootdirectory: {:?}}}, delete: {{enabled: true}}}}\n\
         http: {{addr: \"127.0.0.1:{port}\"}}\n",
        data.display().to_string()
    )
}

fn zot(data: &Path, port: u16) -> String {
    serde_json::json!({
        "distSpecVersion": "1.1.1",
        "storage": { "rootDirectory": data.display().to_string(), "gc": false },
        "http": { "address": "127.0.0.1", "port": port.to_string() },
        "log": { "level": "error" },
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_follow_from_names() {
        let kind = |text: &str| Peer::parse(text).unwrap().kind;
        assert_eq!(kind("olareg=/opt/olareg"), Kind::Olareg("/opt/olareg".into()));
        assert_eq!(kind("distribution_v3=/opt/registry"), Kind::Distribution("/opt/registry".into()));
        assert_eq!(kind("zot=zot"), Kind::Zot("zot".into()));
        assert!(matches!(kind("mine=/bin/mine --at {port} {dir}"), Kind::Command(words) if words.len() == 4));
    }

    #[test]
    fn a_command_says_where_port_and_directory_go() {
        for bad in ["mine=/bin/mine", "mine", "=x {port} {dir}", "shoal=/x", "a b=/x", "mine="] {
            assert!(Peer::parse(bad).is_err(), "{bad}");
        }
        let directory = tempfile::tempdir().unwrap();
        let peer = Peer::parse("mine=serve --port {port} --in {dir}/x").unwrap();
        let command = peer.program(directory.path(), 1234).unwrap().unwrap().command();
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
        assert_eq!(words[..2], ["--port", "1234"]);
        assert!(words[3].ends_with("/data/x"));
    }
}
