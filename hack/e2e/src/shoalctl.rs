//! shoalctl as operators call it: with words, and passwords on its standard input.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};

use crate::process::Program;
use crate::programs;

/// `shoalctl WORDS` with `input` on its standard input. It must succeed; returns its standard output.
pub fn run(words: impl IntoIterator<Item = impl AsRef<OsStr>>, input: &str) -> Result<String> {
    run_from(&programs::bin_dir()?, words, input)
}

fn run_from(
    bin_dir: &Path,
    words: impl IntoIterator<Item = impl AsRef<OsStr>>,
    input: &str,
) -> Result<String> {
    let program = Program::new(bin_dir.join("shoalctl")).args(words);
    let mut command = program.command();
    let shown = format!("{command:?}");
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.context("there is no shoalctl: cargo build -p shoal-ctl")?;
    child.stdin.take().context("no standard input")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "{shown}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// A line of the password file for `name`, whose password is the name with `-secret`.
pub fn password_line(name: &str) -> Result<String> {
    run(["password", name], &format!("{name}-secret\n"))
}

/// A private authority in a directory, made by `shoalctl ca`.
#[derive(Debug)]
pub struct Authority {
    bin_dir: PathBuf,
    directory: PathBuf,
}

/// The files that an authority gives a node.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The authority's certificate.
    pub ca: PathBuf,
    /// The node's certificate.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Authority {
    /// Makes an authority in `directory/ca`; nodes get directories beside it.
    pub fn new(directory: &Path) -> Result<Self> {
        Self::with_programs(&programs::bin_dir()?, directory)
    }

    /// The same by the `shoalctl` in `bin_dir`.
    pub fn with_programs(bin_dir: &Path, directory: &Path) -> Result<Self> {
        run_from(bin_dir, [OsStr::new("ca"), OsStr::new("init"), directory.join("ca").as_os_str()], "")?;
        Ok(Self { bin_dir: bin_dir.to_owned(), directory: directory.to_owned() })
    }

    /// Makes the certificate of a node, or renews it; `kind` is `server`, `agent` or `client`.
    pub fn issue(&self, name: &str, kind: &str, hosts: &[&str]) -> Result<Identity> {
        let (authority, out) = (self.directory.join("ca"), self.directory.join(name));
        let hosts = hosts.iter().flat_map(|host| ["--host", host]).map(OsStr::new);
        let words = ["ca", "issue"].map(OsStr::new).into_iter().chain([authority.as_os_str()]);
        let words = words.chain([name, "--as", kind, "--out"].map(OsStr::new)).chain([out.as_os_str()]);
        run_from(&self.bin_dir, words.chain(hosts), "")?;
        Ok(Identity {
            ca: out.join("ca.pem"),
            certificate: out.join(format!("{name}.pem")),
            key: out.join(format!("{name}-key.pem")),
        })
    }
}

impl Identity {
    /// As the section `cluster_tls` of a server or an agent.
    pub fn section(&self) -> String {
        let Self { ca, certificate, key } = self;
        format!("{{ca: {}, certificate: {}, key: {}}}", ca.display(), certificate.display(), key.display())
    }
}
