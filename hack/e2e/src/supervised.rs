//! An agent as systemd runs it: its sockets are kept open, it is started again when it ends, and killed when it gives no sign of life.
//!
//! What `hack/deploy/systemd` says in units is done here by a thread, because a test has no service manager: one process, three sockets
//! that belong to us (`LISTEN_FDS`), a socket for its words (`NOTIFY_SOCKET`), the watchdog's patience, the pause before a new start.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::metrics::Metrics;
use crate::process::Program;
use crate::wait::wait_until;

/// The longest silence: `WatchdogSec` of the units.
const WATCHDOG: Duration = Duration::from_secs(10);
/// Before a process that ended is started again: `RestartSec`.
const RESTART_PAUSE: Duration = Duration::from_millis(500);
/// How often the process is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How long a start may take on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Puts standard input, which is the socket that we hand over, where the protocol wants it, and says whose it is.
const HAND_OVER: &str = "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\"";

/// An agent and its manager. Dropped, it is killed and not started again.
#[derive(Debug)]
pub struct Supervised {
    shared: Arc<Shared>,
    manager: Option<JoinHandle<()>>,
    /// The mirror's address, which never changes.
    pub mirror: SocketAddr,
    /// The admin port, which is bound anew by each process.
    pub admin: SocketAddr,
    data: PathBuf,
}

#[derive(Debug)]
struct Shared {
    program: Program,
    /// Nothing while the agent is away for good.
    socket: Mutex<Option<TcpListener>>,
    log: PathBuf,
    child: Mutex<Option<Child>>,
    /// Whether a process that ends is started again.
    kept: AtomicBool,
    over: AtomicBool,
    starts: AtomicU32,
    ready: AtomicBool,
}

impl Supervised {
    /// Starts `bin` with a configuration whose mirror listens on `socket`, and waits until it says that it is ready.
    pub fn start(directory: &Path, bin: &Path, configuration: &str, socket: TcpListener) -> Result<Self> {
        fs::create_dir_all(directory)?;
        let mirror = socket.local_addr()?;
        let admin = free_address()?;
        let file = directory.join("config.yaml");
        fs::write(&file, format!("{configuration}admin: {{listen: \"{admin}\"}}\n"))?;
        let words = directory.join("notify");
        let manager = UnixDatagram::bind(&words)?;
        manager.set_nonblocking(true)?;
        let program = Program::new("sh")
            .args(["-c", HAND_OVER, "sh"])
            .arg(bin)
            .arg("--config")
            .arg(&file)
            .env("NOTIFY_SOCKET", &words)
            .env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string());
        let shared = Arc::new(Shared {
            program,
            socket: Mutex::new(Some(socket)),
            log: directory.join("log"),
            child: Mutex::default(),
            kept: AtomicBool::new(true),
            over: AtomicBool::new(false),
            starts: AtomicU32::new(0),
            ready: AtomicBool::new(false),
        });
        let managed = Arc::clone(&shared);
        let thread = std::thread::spawn(move || managed.manage(&manager));
        let supervised = Self { shared, manager: Some(thread), mirror, admin, data: directory.join("data") };
        supervised.wait_ready()?;
        Ok(supervised)
    }

    /// Waits until the process that runs now has said that it is ready.
    pub fn wait_ready(&self) -> Result<()> {
        let ready = wait_until(START_TIMEOUT, || self.shared.ready.load(Ordering::Relaxed).then_some(()));
        match ready {
            Some(()) => Ok(()),
            None => bail!("the agent is not ready\n{}", self.log_tail()),
        }
    }

    /// Sends a signal to the process, as an accident or an operator would.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let child = self.shared.child();
        let id = child.as_ref().context("no agent runs")?.id();
        if matches!(signal, Signal::SIGKILL | Signal::SIGTERM) {
            self.shared.ready.store(false, Ordering::Relaxed);
        }
        Ok(kill(Pid::from_raw(id.cast_signed()), signal)?)
    }

    /// Kills the process and closes its port for good, until [`Self::bring_back`].
    pub fn take_away(&self) -> Result<()> {
        self.shared.kept.store(false, Ordering::Relaxed);
        self.signal(Signal::SIGKILL)?;
        *self.shared.socket() = None;
        Ok(())
    }

    /// Lets the process be started again.
    pub fn bring_back(&self) -> Result<()> {
        {
            let mut socket = self.shared.socket();
            if socket.is_none() {
                *socket = Some(TcpListener::bind(self.mirror)?);
            }
        }
        self.shared.kept.store(true, Ordering::Relaxed);
        self.wait_ready()
    }

    /// How often it was started.
    pub fn starts(&self) -> u32 {
        self.shared.starts.load(Ordering::Relaxed)
    }

    /// Its counters now.
    pub async fn metrics(&self) -> Result<Metrics> {
        Metrics::scrape(self.admin).await
    }

    /// Where it keeps its cache.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The last lines it wrote.
    pub fn log_tail(&self) -> String {
        let text = fs::read(&self.shared.log).unwrap_or_default();
        String::from_utf8_lossy(&text[text.len().saturating_sub(4096)..]).into_owned()
    }
}

impl Shared {
    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn socket(&self) -> MutexGuard<'_, Option<TcpListener>> {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spawn(&self) -> Result<Child> {
        let log = fs::File::options().create(true).append(true).open(&self.log)?;
        let socket = self.socket().as_ref().context("the agent is away")?.try_clone()?;
        let socket = OwnedFd::from(socket);
        let mut command = self.program.command();
        command.stdin(Stdio::from(socket)).stdout(log.try_clone()?).stderr(log);
        self.starts.fetch_add(1, Ordering::Relaxed);
        Ok(command.spawn()?)
    }

    fn manage(&self, words: &UnixDatagram) {
        let mut heard = Instant::now();
        let mut ended: Option<Instant> = None;
        // Who is about to end gives no signs of life, and may take its time.
        let mut stopping = false;
        let mut buffer = [0; 4096];
        while !self.over.load(Ordering::Relaxed) {
            while let Ok(len) = words.recv(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..len]);
                if text.contains("READY=1") {
                    self.ready.store(true, Ordering::Relaxed);
                }
                stopping |= text.contains("STOPPING=1");
                if text.contains("WATCHDOG=1") {
                    heard = Instant::now();
                }
            }
            let mut child = self.child();
            let running = child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)));
            if running && !stopping && heard.elapsed() > WATCHDOG {
                // As `WatchdogSignal=SIGKILL` has it: a frozen process hears nothing else.
                drop(child.as_mut().map(Child::kill));
            }
            if !running {
                self.ready.store(false, Ordering::Relaxed);
                let since = *ended.get_or_insert_with(Instant::now);
                let first = child.is_none();
                if self.kept.load(Ordering::Relaxed) && (first || since.elapsed() >= RESTART_PAUSE) {
                    *child = self.spawn().ok();
                    (heard, ended, stopping) = (Instant::now(), None, false);
                }
            }
            drop(child);
            std::thread::sleep(LOOK);
        }
        if let Some(child) = self.child().as_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        if let Some(manager) = self.manager.take() {
            // It does not panic.
            let _ = manager.join();
        }
    }
}

/// An address of this machine that nobody listens on now.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_units_say_what_is_done_here() {
        let unit = include_str!("../../deploy/systemd/shoal-agent.service");
        let is_said = |line: &str| unit.lines().any(|found| found == line);
        assert!(is_said(&format!("WatchdogSec={}", WATCHDOG.as_secs())));
        assert!(is_said("WatchdogSignal=SIGKILL"), "what is frozen hears nothing else");
        assert!(is_said(&format!("RestartSec={}ms", RESTART_PAUSE.as_millis())));
        assert!(is_said("Restart=always") && is_said("Sockets=shoal-agent.socket"));
    }
}
