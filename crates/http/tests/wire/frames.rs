//! HTTP/2 frames that no honest client sends, as a table. Whatever they are: the connection or the stream ends within the limits, no
//! handler sees a request that was never whole, memory stays bounded, and other clients are served all the while.

mod cases;

use std::sync::Arc;
use std::time::Duration;

use shoal_http::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::harness::{PATIENCE, Site};
use cases::{Case, End};

/// The connection preface of RFC 9113 §3.4, without the SETTINGS that follow.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How much all floods together may add to the program's memory; other tests of this program run beside it.
const GROWTH_MAX: usize = 512 << 20;

/// Limits of less than a second, so that what is merely silent ends soon.
fn limits() -> Limits {
    let moment = Duration::from_millis(600);
    Limits {
        header_timeout: moment,
        idle_timeout: moment,
        stall_timeout: moment,
        header_len_max: 8192,
        ..Limits::default()
    }
}

/// What a server said.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    /// Error codes of GOAWAY, without the one that only says goodbye.
    goaways: Vec<u32>,
    /// Error codes of RST_STREAM.
    resets: Vec<u32>,
    /// First bytes of header blocks: the status, when it is one of the static table.
    answers: Vec<u8>,
}

impl Said {
    fn parse(mut bytes: &[u8]) -> Self {
        let mut said = Self::default();
        while let Some((head, rest)) = bytes.split_first_chunk::<9>() {
            let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let payload = &rest[..len.min(rest.len())];
            let code =
                |at: usize| payload.get(at..at + 4).map(|code| u32::from_be_bytes(code.try_into().unwrap()));
            match head[3] {
                1 => said.answers.extend(payload.first()),
                3 => said.resets.extend(code(0)),
                7 => said.goaways.extend(code(4).filter(|code| *code != 0)),
                _ => {}
            }
            bytes = &rest[payload.len()..];
        }
        said
    }

    /// Whether a request was answered with success (index 8 of the static table: 200).
    fn is_ok(&self) -> bool {
        self.answers.contains(&0x88)
    }

    fn fits(&self, end: End) -> bool {
        match end {
            End::Connection => !self.goaways.is_empty() && !self.is_ok(),
            End::Stream => (!self.resets.is_empty() || !self.answers.is_empty()) && !self.is_ok(),
            End::Silence => !self.is_ok(),
            End::Served | End::Lenient => self.is_ok() && self.resets.is_empty() && self.goaways.is_empty(),
            End::Any => true,
        }
    }
}

/// Sends a case and reads until the server closes; `None` when it does not.
async fn play(site: &Site, case: &Case) -> Option<Said> {
    let (mut reading, mut writing) = site.connect().await.into_split();
    let (start, frames, times) = (case.start.clone(), case.frames.clone(), case.times);
    let flood = async move {
        // The server may have closed already, which is the point of most cases.
        _ = writing.write_all(&start).await;
        for _ in 0..times {
            if writing.write_all(&frames).await.is_err() {
                break;
            }
        }
        writing
    };
    let mut answer = Vec::new();
    let reads = async {
        _ = reading.read_to_end(&mut answer).await;
    };
    // What it sends stays open, so that only the server can end it.
    let (_writing, ()) = timeout(PATIENCE, async { tokio::join!(flood, reads) }).await.ok()?;
    Some(Said::parse(&answer))
}

fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_frames_end_their_connection_or_stream_and_nobody_elses() {
    let site = Arc::new(Site::plain(limits()).await);
    let before = resident();
    let mut tasks = tokio::task::JoinSet::new();
    for case in cases::all() {
        let site = Arc::clone(&site);
        tasks.spawn(async move {
            let said = play(&site, &case).await;
            let fits = said.as_ref().is_some_and(|said| said.fits(case.end));
            (!fits).then(|| format!("{}: {said:?} is not {:?}", case.name, case.end))
        });
    }
    let mut faults = Vec::new();
    while !tasks.is_empty() {
        // In the middle of all that.
        let good = site.exchange(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
        assert!(good.ends_with(b"ok"), "{}", String::from_utf8_lossy(&good));
        faults.extend(tasks.join_next().await.unwrap().unwrap());
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    let growth = resident().saturating_sub(before);
    assert!(growth < GROWTH_MAX, "{growth} bytes");
}
