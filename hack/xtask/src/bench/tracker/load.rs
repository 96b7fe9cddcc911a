//! Ten thousand agents on two hundred machines that pull one image again and again, as fast as the tracker answers.
//!
//! An agent's pull is five announces: it starts (and is told metainfo, owners and fifty peers), comes twice content with the neighbours it
//! has, comes once for newcomers, and is complete. Each machine is an address of its own on loopback with one connection, on which
//! its agents take turns.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::Arguments;
use super::room::{BLOBS, digest};

/// Machines with an address and a connection each.
const MACHINES: usize = 200;

/// What came of it.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Answered {
    pub(super) requests: u64,
    pub(super) failed: u64,
    pub(super) seconds: f64,
}

/// Where an agent is in its pull.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Start,
    Content,
    Newcomers,
    ContentStill,
    Complete,
}

impl Step {
    const fn next(self) -> Self {
        match self {
            Self::Start => Self::Content,
            Self::Content => Self::Newcomers,
            Self::Newcomers => Self::ContentStill,
            Self::ContentStill => Self::Complete,
            Self::Complete => Self::Start,
        }
    }
}

struct Agent {
    number: usize,
    step: Step,
    /// The version that it knows of each blob.
    known: Vec<u64>,
}

/// Announces until the time is over.
pub(super) fn run(server: SocketAddr, arguments: &Arguments) -> Result<Answered> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (agents, blobs) = (arguments.agents, arguments.blobs.clamp(1, BLOBS as usize));
    let until = Duration::from_secs(arguments.seconds);
    runtime.block_on(async {
        let start = Instant::now();
        let machine = |number: usize| {
            let agents = (number..agents).step_by(MACHINES).map(|number| Agent {
                number,
                step: Step::Start,
                known: vec![0; blobs],
            });
            machine(server, number, agents.collect(), start, until)
        };
        let tasks: Vec<_> = (0..MACHINES.min(agents)).map(|number| tokio::spawn(machine(number))).collect();
        let mut all = Answered::default();
        for task in tasks {
            let one = task.await??;
            all.requests += one.requests;
            all.failed += one.failed;
        }
        all.seconds = start.elapsed().as_secs_f64();
        Ok(all)
    })
}

async fn machine(
    server: SocketAddr,
    number: usize,
    mut agents: Vec<Agent>,
    start: Instant,
    until: Duration,
) -> Result<Answered> {
    let socket = TcpSocket::new_v4()?;
    let (high, low) = (number / 250, number % 250);
    socket.bind(SocketAddr::from(([127, 0, 1 + high as u8, 1 + low as u8], 0)))?;
    let mut stream = socket.connect(server).await.context("connect to the tracker")?;
    stream.set_nodelay(true)?;
    let (mut answered, mut buffer) = (Answered::default(), Vec::with_capacity(256 * 1024));
    loop {
        for agent in &mut agents {
            if start.elapsed() >= until {
                return Ok(answered);
            }
            stream.write_all(request(agent).as_bytes()).await?;
            let body = answer(&mut stream, &mut buffer).await?;
            answered.requests += 1;
            answered.failed += u64::from(!remember(agent, body));
            agent.step = agent.step.next();
        }
    }
}

fn request(agent: &Agent) -> String {
    let (event, complete, need_metainfo, wanted) = match agent.step {
        Step::Start => ("started", false, true, 50),
        Step::Content | Step::ContentStill => ("periodic", false, false, 0),
        Step::Newcomers => ("periodic", false, false, 20),
        Step::Complete => ("completed", true, false, 0),
    };
    let item = |(blob, known): (usize, &u64)| {
        // Agents do not all pull the same layer.
        let digest = digest((agent.number + blob) as u32 % BLOBS);
        let known = if agent.step == Step::Start { 0 } else { *known };
        format!(
            r#"{{"digest":"{digest}","event":"{event}","complete":{complete},"need_metainfo":{need_metainfo},"known":{known},"peers_wanted":{wanted}}}"#
        )
    };
    let items: Vec<_> = agent.known.iter().enumerate().map(item).collect();
    let body = format!(
        r#"{{"peer_id":"{:040x}","port":{},"zone":"zone-{}","items":[{}]}}"#,
        agent.number + 1,
        16_000 + agent.number / MACHINES,
        agent.number % 10,
        items.join(",")
    );
    let len = body.len();
    format!(
        "POST /announce HTTP/1.1\r\nhost: tracker\r\ncontent-type: application/json\r\ncontent-length: {len}\r\n\r\n{body}"
    )
}

/// The body of the next answer.
async fn answer<'a>(stream: &mut TcpStream, buffer: &'a mut Vec<u8>) -> Result<&'a [u8]> {
    buffer.clear();
    let (head, len) = loop {
        if stream.read_buf(buffer).await? == 0 {
            bail!("the tracker hung up");
        }
        if let Some(found) = head(buffer)? {
            break found;
        }
    };
    while buffer.len() < head + len {
        if stream.read_buf(buffer).await? == 0 {
            bail!("the tracker hung up");
        }
    }
    Ok(&buffer[head..head + len])
}

/// Length of the head, once it is whole, and of the body.
fn head(buffer: &[u8]) -> Result<Option<(usize, usize)>> {
    let Some(end) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&buffer[..end])?;
    if !text.starts_with("HTTP/1.1 200") {
        bail!("the tracker answers {}", text.lines().next().unwrap_or_default());
    }
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
    Ok(Some((end + 4, length.context("an answer without a length")?.trim().parse()?)))
}

/// Takes the versions out of an answer; false when it is not what it should be.
fn remember(agent: &mut Agent, body: &[u8]) -> bool {
    let text = std::str::from_utf8(body).unwrap_or_default();
    let good = text.matches(r#"{"ok":"#).count() == agent.known.len();
    let versions = text.split(r#""version":"#).skip(1);
    for (known, rest) in agent.known.iter_mut().zip(versions) {
        let digits = rest.split(|char: char| !char.is_ascii_digit()).next().unwrap_or_default();
        *known = digits.parse().unwrap_or(0);
    }
    good && (agent.step != Step::Start || text.contains("metainfo"))
}
