//! Requests that no honest client sends, byte by byte over raw sockets. Whatever they are: an answer or a closed connection within
//! seconds, never a 5xx, never a panic, nothing of the request in the answer, and nothing on the disk outside its place.

#![allow(clippy::unwrap_used, reason = "clippy knows only the functions marked as tests, not their helpers")]

mod cases;
#[path = "../served/server.rs"]
mod server;
mod wire;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use shoal_http::Limits;
use shoal_registry::RegistryOptions;

use cases::{Case, MARKER};
use server::Served;
use wire::Answer;

/// Panics on any thread of this program.
static PANICS: AtomicUsize = AtomicUsize::new(0);

/// Limits of seconds, so that slow attacks end soon. Far from what a busy machine needs for an honest request.
fn limits() -> Limits {
    let second = Duration::from_secs(1);
    Limits { header_timeout: second, idle_timeout: second, stall_timeout: second, ..Limits::default() }
}

fn options() -> RegistryOptions {
    RegistryOptions {
        body_stall_max: Duration::from_millis(700),
        manifest_time_max: Duration::from_secs(2),
        ..RegistryOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_requests_get_an_answer_or_a_closed_door() {
    count_panics();
    let served = Arc::new(Served::start(options(), limits()).await);
    let known = wire::push_image(served.address).await;
    let before = places(served.directory.path());
    let cases = cases::all();
    assert!(cases.len() >= 120, "{}", cases.len());
    let names: BTreeSet<_> = cases.iter().map(|case| case.name.clone()).collect();
    assert_eq!(names.len(), cases.len(), "two cases have one name");
    let tasks: Vec<_> = cases.into_iter().map(|case| tokio::spawn(run(Arc::clone(&served), case))).collect();
    let mut faults = Vec::new();
    for task in tasks {
        faults.extend(task.await.unwrap());
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    assert_eq!(PANICS.load(Ordering::SeqCst), 0, "a thread panicked");
    wire::assert_image(served.address, &known).await;
    assert_eq!(places(served.directory.path()), before, "something was made outside its place");
}

/// Sends one case; what is wrong with the answer.
async fn run(served: Arc<Served>, case: Case) -> Vec<String> {
    let bytes = wire::with_session(served.address, &case.bytes).await;
    let answer = wire::exchange(served.address, bytes).await;
    let name = &case.name;
    let mut faults = Vec::new();
    let mut fault = |what: String| faults.push(format!("{name}: {what}: {}", answer.shown()));
    match answer.statuses.first() {
        _ if answer.hung => fault("no end".to_owned()),
        None if !case.may_close => fault("closed without an answer".to_owned()),
        Some(status) if !case.accepted.contains(status) => fault(format!("{status} is not accepted")),
        _ => {}
    }
    if answer.statuses.len() > 1 {
        fault(format!("{} answers to one request", answer.statuses.len()));
    }
    if answer.statuses.iter().any(|status| *status >= 500) {
        fault("a fault of the server".to_owned());
    }
    if !case.may_echo && answer.text.to_ascii_lowercase().contains(MARKER) {
        fault("the request is in the answer".to_owned());
    }
    if !answer.is_in_oci_form() {
        fault("an error that is not in OCI form".to_owned());
    }
    faults
}

fn count_panics() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        // The test's own assertions are on the test's thread.
        if std::thread::current().name().is_some_and(|name| name.starts_with("tokio")) {
            PANICS.fetch_add(1, Ordering::SeqCst);
        }
        default(info);
    }));
}

/// Everything below `directory` that is no file of an upload, of a blob or of the database, whose names are the store's own: they are
/// looked at here, and left out.
fn places(directory: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut left = vec![directory.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(&directory).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            let tame = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
            assert!(tame && !name.contains(MARKER), "{name:?} came from the network");
            let kind = entry.file_type().unwrap();
            assert!(!kind.is_symlink(), "{name}");
            if kind.is_dir() {
                found.insert(entry.path());
                left.push(entry.path());
            }
        }
    }
    found
}

impl Answer {
    fn shown(&self) -> String {
        self.text.chars().take(300).collect::<String>().replace("\r\n", " | ")
    }
}
