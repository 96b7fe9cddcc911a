//! Every client against every fault: one small engine, a list of clients, a list of faults.
//!
//! The rule is one sentence: no pull fails while any source still has the bytes. Each client has an agent of its own, run as systemd
//! would run it, and the clients pull the same image at the same time; the fault is done to all of them at once. So a fault costs as long
//! as its slowest client. Nobody has the image before its fault begins, unless the fault is about what is cached.
//!
//! A client has the agent first and the server's registry behind it, as on a machine that is set up by hand. What came through
//! the agent is measured and shown: a pull that went around it counts as a pull, and as a fault of ours where the agent could
//! have given everything.

pub mod client;
pub mod fault;
pub mod stage;

use std::fmt::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use client::Client;
use fault::{Fault, Middle, Outcome, Through};
use stage::{Case, Stage};

/// What became of one pull.
#[derive(Debug)]
pub struct Cell {
    /// The client.
    pub client: &'static str,
    /// The fault.
    pub fault: &'static str,
    /// How long it took.
    pub took: Duration,
    /// Which part of the image's bytes came through the agent.
    pub through_agent: f64,
    /// Whether it took a second call of the client, whose first one cannot outlive a connection that is cut.
    pub second_call: bool,
    /// What is wrong with it, if anything.
    pub trouble: Option<String>,
    /// What its agent says of that.
    pub words: String,
}

/// Runs every client against each of `faults`.
pub async fn run(stage: &mut Stage, clients: &[Box<dyn Client>], faults: &[Fault]) -> Result<Vec<Cell>> {
    let mut cells = Vec::new();
    for fault in faults {
        let done = against(stage, clients, fault).await;
        cells.extend(done.with_context(|| format!("the stage of {} fell over", fault.name))?);
    }
    Ok(cells)
}

async fn against(stage: &mut Stage, clients: &[Box<dyn Client>], fault: &Fault) -> Result<Vec<Cell>> {
    let case = stage.prepare(fault).await?;
    (fault.begin)(stage, &case).await.context("begin")?;
    let before = stage.given(clients.len()).await;
    let begun = Instant::now();
    let (reference, registry, limit) = (case.reference.clone(), case.registry, fault.limit);
    let mut cells: Vec<Cell> = std::thread::scope(|scope| {
        let pulls: Vec<_> = clients
            .iter()
            .map(|client| {
                let reference = reference.clone();
                let patient = fault.cuts && !client.resumes();
                scope.spawn(move || {
                    let first = client.pull(registry, &reference, limit);
                    let again = patient && first.is_err();
                    let outcome = if again { client.pull(registry, &reference, limit) } else { first };
                    (outcome, begun.elapsed(), again)
                })
            })
            .collect();
        let meanwhile = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(meanwhile(stage, fault, &case, &before))
        });
        let cells = pulls.into_iter().zip(clients).map(|(pull, client)| {
            let panicked = |_| (Err(anyhow::anyhow!("panicked")), limit, false);
            let (outcome, took, second_call) = pull.join().unwrap_or_else(panicked);
            let trouble = judge(fault, &outcome, took);
            let (client, fault, words) = (client.name(), fault.name, String::new());
            Cell { client, fault, took, through_agent: 0.0, second_call, trouble, words }
        });
        let cells = cells.collect();
        meanwhile.map(|()| cells)
    })?;
    (fault.end)(stage, &case).await.context("end")?;
    stage.settle().await?;
    let after = stage.given(clients.len()).await;
    for (index, cell) in cells.iter_mut().enumerate() {
        if cell.trouble.is_some() {
            cell.words = stage.words(index).await;
        }
        // A counter that was lost with its process cannot be compared.
        let (Some(before), Some(after)) = (before[index], after[index]) else { continue };
        cell.through_agent = (after - before).max(0.0) / case.size as f64;
        let short = matches!(fault.through, Through::Agent) && cell.through_agent < 0.9;
        if short && cell.trouble.is_none() {
            cell.trouble = Some(format!("only {:.0} % came through the agent", cell.through_agent * 100.0));
            cell.words = stage.words(index).await;
        }
    }
    Ok(cells)
}

/// Does what happens in the middle of the pulls.
async fn meanwhile(stage: &mut Stage, fault: &Fault, case: &Case, before: &[Option<f64>]) -> Result<()> {
    match fault.middle {
        Middle::Nothing => Ok(()),
        Middle::Stage(after, act) => {
            tokio::time::sleep(after).await;
            act(stage, case).await.context("in the middle")
        }
        Middle::Flowing(act) => {
            stage.each_flowing(before, |_| Ok(())).await?;
            act(stage, case).await.context("in the middle")
        }
        Middle::Agents(act) => stage.each_flowing(before, act).await.context("in the middle"),
    }
}

/// What is wrong with an outcome.
fn judge(fault: &Fault, outcome: &Result<()>, took: Duration) -> Option<String> {
    if took > fault.limit {
        return Some(format!(
            "took {:.1} s, and may take {:.0}",
            took.as_secs_f64(),
            fault.limit.as_secs_f64()
        ));
    }
    match (outcome, fault.outcome) {
        (Ok(()), Outcome::Pulled) | (Err(_), Outcome::Refused) => None,
        (Ok(()), Outcome::Refused) => Some("pulled what does not exist".to_owned()),
        (Err(error), Outcome::Pulled) => Some(format!("{error:#}")),
    }
}

/// The matrix as a table: seconds, a star where the client had to be called twice, and the part that came through the agent; `FAIL`
/// where a cell does not hold.
pub fn table(cells: &[Cell]) -> String {
    let mut clients: Vec<&str> = Vec::new();
    let mut faults: Vec<&str> = Vec::new();
    for cell in cells {
        if !clients.contains(&cell.client) {
            clients.push(cell.client);
        }
        if !faults.contains(&cell.fault) {
            faults.push(cell.fault);
        }
    }
    let mut text = format!("{:<28}", "");
    for client in &clients {
        let _ = write!(text, "{client:>16}");
    }
    for fault in faults {
        let _ = write!(text, "\n{fault:<28}");
        for client in &clients {
            let cell = cells.iter().find(|cell| cell.fault == fault && cell.client == *client);
            let shown = cell.map_or_else(String::new, |cell| {
                let mark = if cell.trouble.is_some() { "FAIL " } else { "" };
                let again = if cell.second_call { "*" } else { "" };
                format!("{mark}{:.1}s{again} {:>3.0}%", cell.took.as_secs_f64(), cell.through_agent * 100.0)
            });
            let _ = write!(text, "{shown:>16}");
        }
    }
    text.push('\n');
    for cell in cells.iter().filter(|cell| cell.trouble.is_some()) {
        let _ =
            writeln!(text, "\n{} × {}: {}", cell.client, cell.fault, cell.trouble.as_deref().unwrap_or(""));
    }
    text
}
