//! The server as a process: started with port 0, found through its ready file, ended by signals.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;

/// How long a start or an end may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The ready file's content.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the test is that the file has exactly these")]
pub(crate) struct Ready {
    pub(crate) registry: SocketAddr,
    pub(crate) peer: SocketAddr,
    pub(crate) origin: SocketAddr,
    pub(crate) tracker: SocketAddr,
    pub(crate) tags: SocketAddr,
    pub(crate) admin: SocketAddr,
}

/// A running shoal-server; killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) ready: Ready,
}

impl Server {
    /// Starts a server over `dir` and waits until it answers.
    pub(crate) fn start(dir: &Path) -> Self {
        Self::start_with(dir, &[])
    }

    /// As [`Self::start`], with more arguments.
    pub(crate) fn start_with(dir: &Path, arguments: &[&str]) -> Self {
        let ready_file = dir.join("ready.json");
        let _ = std::fs::remove_file(&ready_file);
        let mut command = Self::command(dir);
        command.args(arguments).arg("--ready-file").arg(&ready_file);
        let mut child = command.spawn().unwrap();
        let ready = until(|| {
            assert!(child.try_wait().unwrap().is_none(), "the server ended at once");
            let text = std::fs::read_to_string(&ready_file).ok()?;
            Some(serde_json::from_str(&text).unwrap())
        });
        Self { child, ready }
    }

    /// What a server over `dir` says that does not start.
    pub(crate) fn refusal(dir: &Path) -> String {
        let output = Self::command(dir).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    }

    fn command(dir: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shoal-server"));
        for flag in [
            "--listen",
            "--peer-listen",
            "--origin-listen",
            "--tracker-listen",
            "--tags-listen",
            "--admin-listen",
        ] {
            command.args([flag, "127.0.0.1:0"]);
        }
        command.arg("--data").arg(dir.join("data"));
        command.env("SHOAL_STORE__FREE_MIN", "0").env("SHOAL_LOG__FILTER", "warn").stdin(Stdio::null());
        command
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; returns whether the server ended well.
    pub(crate) fn terminate(self) -> bool {
        self.signal();
        self.wait()
    }

    /// SIGTERM.
    pub(crate) fn signal(&self) {
        let sent = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for the end; returns whether it was a good one.
    pub(crate) fn wait(mut self) -> bool {
        until(|| self.child.try_wait().unwrap()).success()
    }

    /// Waits until the server says that it is stopping.
    pub(crate) async fn until_unready(&self) {
        let http = shoal_http::Client::default();
        let url = format!("http://{}/readyz", self.ready.admin);
        let start = Instant::now();
        while http.get_bytes(&url, 1024, PATIENCE).await.is_ok() {
            assert!(start.elapsed() < PATIENCE, "the server did not stop in time");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks until there is an answer: the other side is a process, and nothing here can wait for it.
fn until<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "the server did not get there in time");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn output(arguments: &[&str]) -> (bool, String) {
    let (code, text) = outcome(arguments);
    (code == 0, text)
}

fn outcome(arguments: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_shoal-server")).args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

#[test]
fn ends_well_on_a_signal() {
    let dir = tempfile::tempdir().unwrap();
    assert!(Server::start(dir.path()).terminate());
}

#[test]
fn the_printed_configuration_is_one_that_can_be_used() {
    let dir = tempfile::tempdir().unwrap();
    let (ok, printed) = output(&["--print-config", "--data", "/data"]);
    assert!(ok && printed.contains("data_directory: /data"), "{printed}");
    let file = dir.path().join("server.yaml");
    std::fs::write(&file, &printed).unwrap();
    let file = file.to_str().unwrap();
    assert_eq!(
        output(&["--check-config", "--config", file]),
        (true, "the configuration is valid\n".to_owned())
    );
    assert_eq!(output(&["--print-config", "--config", file]), (true, printed));
}

#[test]
fn every_mistake_is_reported_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("server.yaml");
    std::fs::write(&file, "registy: {}\nstore: {capacity: much}\ntracker: {listen: ${ABSENT:?set ABSENT}}\n")
        .unwrap();
    let (code, text) = outcome(&["--check-config", "--config", file.to_str().unwrap()]);
    assert!(code == 1 && text.starts_with("shoal-server: the configuration has "), "{code}: {text}");
    for word in ["registy", "store.capacity", "set ABSENT", "server.yaml:1"] {
        assert!(text.contains(word), "{word} is missing in {text}");
    }
}
