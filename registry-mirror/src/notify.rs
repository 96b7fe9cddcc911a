//! What the agent and the service manager say to each other: systemd's notification protocol (`sd_notify(3)`), and signs of life.
//!
//! A process that hangs is worse than one that is gone: runtimes wait for it without an end. So the sign of life is not that a timer
//! still runs, but that the mirror's own port answers: a request goes through the real listener every time, and the manager ends and
//! starts a process that gives no sign in time. Without a manager (`NOTIFY_SOCKET` unset) nothing is said.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram};
use std::time::Duration;

use shoal_http::{Body, Client, StatusCode};
use shoal_telemetry::Health;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How often readiness is looked at after the start: it comes with the first answer of a tracker.
const READY_INTERVAL: Duration = Duration::from_millis(50);

/// How often the line that `systemctl status` shows is brought up to date, when there is no watchdog that asks for more.
const STATUS_INTERVAL: Duration = Duration::from_secs(10);

/// Signs of life for each period of the watchdog: one may be late and one lost.
const SIGNS: u32 = 3;

/// Whoever started this process and wants to know how it is.
pub struct Manager {
    socket: Option<(UnixDatagram, UnixAddr)>,
    /// The longest silence that the manager allows.
    watchdog: Option<Duration>,
}

impl Manager {
    /// The one that the environment names (`NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`); nobody when there is none.
    pub fn from_environment() -> Self {
        let variable = |name: &str| std::env::var(name).ok();
        let socket = variable("NOTIFY_SOCKET").and_then(|name| match connect(&name) {
            Ok(socket) => Some(socket),
            Err(error) => {
                tracing::warn!(%error, name, "the service manager cannot be told anything");
                None
            }
        });
        let micros =
            variable("WATCHDOG_USEC").and_then(|text| text.parse().ok()).filter(|micros| *micros > 0);
        let ours = variable("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().to_string());
        Self { socket, watchdog: micros.filter(|_| ours).map(Duration::from_micros) }
    }

    /// Says that the agent is ready once it is, then gives signs of life for as long as the mirror on `mirror` answers. Never returns.
    pub async fn attend(&self, mirror: SocketAddr, health: &Health) {
        if self.socket.is_none() {
            std::future::pending::<()>().await;
        }
        let asked = Instant::now();
        while !health.is_ready() {
            self.alive_if(asked.elapsed() < STATUS_INTERVAL);
            tokio::time::sleep(READY_INTERVAL).await;
        }
        self.say(&format!("READY=1\nSTATUS={}", status(health)));
        let interval = self.watchdog.map_or(STATUS_INTERVAL, |period| period / SIGNS);
        let mut ticks = tokio::time::interval(interval);
        // One that is late does not hold up the next: a machine with too much to do answers late, and is no dead one.
        let mut tests = JoinSet::new();
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    if tests.len() < SIGNS as usize {
                        tests.spawn(self_test(mirror, interval * (SIGNS - 1)));
                    }
                }
                Some(answers) = tests.join_next() => self.tell(answers.unwrap_or(false), health),
            }
        }
    }

    /// Says that the configuration is being read again.
    pub fn reloading(&self) {
        let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).map(Duration::from);
        self.say(&format!("RELOADING=1\nMONOTONIC_USEC={}", now.unwrap_or_default().as_micros()));
    }

    /// Says that it was read.
    pub fn reloaded(&self, words: &str) {
        self.say(&format!("READY=1\nSTATUS={words}"));
    }

    /// Says that the agent is about to end.
    pub fn stopping(&self) {
        self.say("STOPPING=1\nSTATUS=draining");
    }

    /// What a test of the mirror has shown.
    fn tell(&self, answers: bool, health: &Health) {
        self.alive_if(answers);
        let words = if answers { status(health) } else { "the mirror does not answer itself".to_owned() };
        self.say(&format!("STATUS={words}"));
    }

    fn alive_if(&self, alive: bool) {
        if alive && self.watchdog.is_some() {
            self.say("WATCHDOG=1");
        }
    }

    fn say(&self, words: &str) {
        let Some((socket, manager)) = &self.socket else { return };
        if let Err(error) = socket.send_to_addr(words.as_bytes(), manager) {
            tracing::debug!(%error, words, "the service manager did not take a word");
        }
    }
}

/// The manager's socket: a path, or an abstract name behind `@`.
fn connect(name: &str) -> io::Result<(UnixDatagram, UnixAddr)> {
    let manager = match name.strip_prefix('@') {
        Some(name) => UnixAddr::from_abstract_name(name)?,
        None => UnixAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    // A manager that does not listen must not hold us up.
    socket.set_nonblocking(true)?;
    Ok((socket, manager))
}

fn status(health: &Health) -> String {
    let report = health.report();
    let about = |(name, check): (&&str, &shoal_telemetry::Check)| match check {
        shoal_telemetry::Check::Ok => None,
        shoal_telemetry::Check::Pending => Some(format!("{name}: not known yet")),
        shoal_telemetry::Check::Degraded(why) | shoal_telemetry::Check::Failed(why) => {
            Some(format!("{name}: {why}"))
        }
    };
    let troubles: Vec<_> = report.checks.iter().filter_map(about).collect();
    // A line of the protocol ends at a line's end.
    [vec![report.status.to_owned()], troubles].concat().join("; ").replace('\n', " ")
}

/// Whether the mirror answers within `patience`, asked over a connection of its own as any client would.
async fn self_test(mirror: SocketAddr, patience: Duration) -> bool {
    let url = format!("http://{}/v2/", reachable(mirror));
    let Ok(request) = http::Request::get(&url).header("connection", "close").body(Body::empty()) else {
        return false;
    };
    match Client::default().send(request, patience).await {
        Ok(answer) => answer.status() == StatusCode::OK,
        Err(error) => {
            tracing::warn!(%error, "the mirror does not answer itself");
            false
        }
    }
}

/// An address at which a listener on `addr` is reached from here.
fn reachable(addr: SocketAddr) -> SocketAddr {
    let ip = match addr {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        other => other.ip(),
    };
    SocketAddr::new(ip, addr.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manager(watchdog: Option<Duration>) -> (Manager, UnixDatagram, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let listening = UnixDatagram::bind(&path).unwrap();
        listening.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let socket = Some(connect(path.to_str().unwrap()).unwrap());
        (Manager { socket, watchdog }, listening, directory)
    }

    fn heard(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 4096];
        let len = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..len]).into_owned()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn ready_is_said_once_it_is_and_life_only_while_the_mirror_answers() {
        let (manager, socket, _directory) = manager(Some(Duration::from_millis(300)));
        let health = Health::new();
        health.expect("tracker");
        // Nobody answers at this address: the listener takes connections and never accepts.
        let wedged = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = wedged.local_addr().unwrap();
        let other = health.clone();
        let task = tokio::spawn(async move { manager.attend(addr, &other).await });
        assert_eq!(heard(&socket), "WATCHDOG=1", "a slow start is no hang");
        health.degraded("tracker", "away\nfar");
        let ready = std::iter::repeat_with(|| heard(&socket)).find(|words| words != "WATCHDOG=1");
        assert_eq!(ready.unwrap(), "READY=1\nSTATUS=degraded; tracker: away far");
        assert_eq!(heard(&socket), "STATUS=the mirror does not answer itself");
        assert_eq!(heard(&socket), "STATUS=the mirror does not answer itself", "and no sign of life between");
        task.abort();
    }

    #[test]
    fn without_a_manager_nothing_is_said() {
        let manager = Manager { socket: None, watchdog: None };
        manager.stopping();
        assert_eq!(reachable("0.0.0.0:5".parse().unwrap()).to_string(), "127.0.0.1:5");
        assert_eq!(reachable("[::]:5".parse().unwrap()).to_string(), "[::1]:5");
        assert_eq!(reachable("10.0.0.1:5".parse().unwrap()).to_string(), "10.0.0.1:5");
    }
}
