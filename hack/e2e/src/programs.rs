//! How our programs are started: the one place that spells their flags and configuration keys.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::process::Program;
use crate::ready::Ready;

/// Names the directory with the programs under test. `cargo xtask test` sets it to the release programs.
pub const BIN_DIR_VARIABLE: &str = "SHOAL_BIN_DIR";

/// The directory with the programs under test.
pub fn bin_dir() -> Result<PathBuf> {
    let directory = std::env::var_os(BIN_DIR_VARIABLE).map(PathBuf::from).with_context(|| {
        format!("{BIN_DIR_VARIABLE} does not say where shoal-server and shoal-agent are: run cargo xtask test --tier e2e")
    })?;
    for program in ["shoal-server", "shoal-agent"] {
        let path = directory.join(program);
        ensure!(path.is_file(), "there is no {}: cargo build --release", path.display());
    }
    Ok(directory)
}

/// Where one program lives: its directory, its address, and words that its command line stands behind.
#[derive(Clone, Debug)]
pub struct Place {
    /// Everything that it writes is in here.
    pub directory: PathBuf,
    /// All listeners bind this address.
    pub ip: IpAddr,
    /// Such as `ip netns exec NAME`; empty on this machine's own network.
    pub prefix: Vec<String>,
    /// Settings beside the addresses, such as `("registry.sparse", "true")`; they go through the environment.
    pub settings: Vec<(String, String)>,
}

impl Place {
    /// On the loopback address.
    pub fn loopback(directory: PathBuf) -> Self {
        Self { directory, ip: Ipv4Addr::LOCALHOST.into(), prefix: Vec::new(), settings: Vec::new() }
    }

    /// The same with one more setting: its path in the configuration, and its value in YAML.
    #[must_use]
    pub fn with(mut self, path: &str, value: &str) -> Self {
        self.settings.push((path.to_owned(), value.to_owned()));
        self
    }

    /// Where the program writes its addresses.
    pub fn ready_file(&self) -> PathBuf {
        self.directory.join("ready.json")
    }

    /// Where the program writes its log.
    pub fn log_file(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// Where the program keeps its data.
    pub fn data(&self) -> PathBuf {
        self.directory.join("data")
    }
}

/// The server. With `former` addresses it takes them again, else the kernel chooses.
pub fn server(bin_dir: &Path, place: &Place, former: Option<&Ready>) -> Result<Program> {
    let listen = |name| listen(place, name, former);
    let configuration = format!(
        "data_directory: {}\nregistry: {{listen: {}}}\norigin: {{peer_listen: {}, listen: {}}}\n\
         tracker: {{listen: {}}}\ntags: {{listen: {}}}\nadmin: {{listen: {}}}\n",
        place.data().display(),
        listen("registry")?,
        listen("peer")?,
        listen("origin")?,
        listen("tracker")?,
        listen("tags")?,
        listen("admin")?,
    );
    program(&bin_dir.join("shoal-server"), place, &configuration)
}

/// An agent of the server with these addresses.
pub fn agent(bin_dir: &Path, place: &Place, server: &Ready, former: Option<&Ready>) -> Result<Program> {
    let listen = |name| listen(place, name, former);
    let configuration = format!(
        "server: {{registry: \"http://{}\", trackers: [\"http://{}\"]}}\ncache: {{directory: {}}}\n\
         registry: {{listen: {}}}\npeer: {{listen: {}}}\nadmin: {{listen: {}}}\n",
        server.listener("registry")?,
        server.listener("tracker")?,
        place.data().display(),
        listen("registry")?,
        listen("peer")?,
        listen("admin")?,
    );
    program(&bin_dir.join("shoal-agent"), place, &configuration)
}

/// A listener's address as a YAML string: the former port, or 0.
fn listen(place: &Place, name: &str, former: Option<&Ready>) -> Result<String> {
    let port = former.map_or(Ok(0), |ready| ready.listener(name).map(|address| address.port()))?;
    Ok(format!("\"{}\"", SocketAddr::new(place.ip, port)))
}

fn program(path: &Path, place: &Place, configuration: &str) -> Result<Program> {
    fs::create_dir_all(&place.directory)?;
    let file = place.directory.join("config.yaml");
    fs::write(&file, configuration).with_context(|| format!("cannot write {}", file.display()))?;
    let mut program =
        Program::new(path).arg("--config").arg(file).arg("--ready-file").arg(place.ready_file());
    for (path, value) in &place.settings {
        program = program.env(variable(path), value);
    }
    Ok(program.behind(&place.prefix))
}

/// The variable that sets `store.free_min`: `SHOAL_STORE__FREE_MIN`.
fn variable(path: &str) -> String {
    format!("SHOAL_{}", path.replace('.', "__").to_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_become_variables() {
        assert_eq!(variable("store.free_min"), "SHOAL_STORE__FREE_MIN");
        let place = Place::loopback("here".into()).with("registry.sparse", "true");
        assert_eq!(place.settings, [("registry.sparse".to_owned(), "true".to_owned())]);
    }
}
