//! Compares a registry with the journal, and writes down what was seen, so that it has to stay so.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Result;
use shoal_oci::Digest;
use tokio::task::JoinSet;

use super::journal::{Item, Journal, Kind, State, TagName, Value};
use super::session::Session;

/// Connections that verify at once.
const SESSIONS: usize = 4;

/// What a comparison found.
#[derive(Debug, Default)]
pub struct Found {
    /// Items and tags that were compared.
    pub checked: usize,
    /// A sentence for everything that is not as it has to be.
    pub faults: Vec<String>,
}

impl Found {
    /// Both together.
    pub fn add(&mut self, other: Self) {
        self.checked += other.checked;
        self.faults.extend(other.faults);
    }
}

/// Compares these items, byte for byte.
pub async fn items(address: SocketAddr, journal: &Arc<Journal>, items: Vec<(Item, State)>) -> Result<Found> {
    let mut tasks = JoinSet::new();
    let part_len = items.len().div_ceil(SESSIONS).max(1);
    for part in items.chunks(part_len) {
        let (part, journal) = (part.to_vec(), Arc::clone(journal));
        tasks.spawn(async move {
            let mut session = Session::connect(address).await?;
            let mut found = Found::default();
            for (item, state) in part {
                found.checked += 1;
                found.faults.extend(check(&mut session, &journal, &item, state).await?);
            }
            anyhow::Ok(found)
        });
    }
    let mut found = Found::default();
    while let Some(part) = tasks.join_next().await {
        found.add(part??);
    }
    Ok(found)
}

/// Compares all tags of `repositories`, one by one and in the listing, and what refers to manifests.
pub async fn tags(address: SocketAddr, journal: &Journal, repositories: &[&str]) -> Result<Found> {
    let mut session = Session::connect(address).await?;
    let mut found = Found::default();
    let known = journal.tags();
    for (name, allowed) in &known {
        found.checked += 1;
        found.faults.extend(check_tag(&mut session, journal, name, allowed).await?);
    }
    for repository in repositories {
        let listed: BTreeSet<String> = session.tags(repository).await?.into_iter().collect();
        // What was seen one by one is now the only value of each tag, and the listing has to agree.
        for (name, allowed) in journal.tags().iter().filter(|(name, _)| name.repository == *repository) {
            let exists = !allowed.contains(&None);
            if exists != listed.contains(&name.tag) {
                found
                    .faults
                    .push(format!("{repository}:{} exists: {exists}; the listing disagrees", name.tag));
            }
        }
        let names: BTreeSet<&str> = known.iter().map(|(name, _)| name.tag.as_str()).collect();
        found.faults.extend(
            listed
                .iter()
                .filter(|tag| !names.contains(tag.as_str()))
                .map(|tag| format!("the listing of {repository} has {tag}, which nobody wrote")),
        );
        found.faults.extend(check_subjects(&mut session, journal, repository).await?);
    }
    Ok(found)
}

/// Compares one item. Whoever sees it absent or present has seen it: it must stay so.
async fn check(
    session: &mut Session,
    journal: &Journal,
    item: &Item,
    state: State,
) -> Result<Option<String>> {
    let Item { kind, repository, digest } = item;
    let (status, bytes) = match kind {
        Kind::Blob => session.blob(repository, digest).await?,
        Kind::Manifest => session.manifest(repository, digest).await?,
    };
    let place = format!("{kind:?} {digest} in {repository}");
    let seen = match status {
        200 => State::Present,
        404 => State::Absent,
        other => return Ok(Some(format!("{place} is answered {other}"))),
    };
    let expected: Digest = digest.parse()?;
    if seen == State::Present && Digest::of(expected.algorithm(), &bytes) != expected {
        return Ok(Some(format!("{place} has wrong bytes: {} of them", bytes.len())));
    }
    match state {
        State::Open => {
            journal.settle(item, seen);
            return Ok(None);
        }
        State::Loose => return Ok(None),
        State::Present | State::Absent => {}
    }
    let what = match state {
        State::Present => "was acknowledged and is lost",
        _ => "was deleted and is there again",
    };
    Ok((seen != state).then(|| format!("{place} {what}")))
}

async fn check_tag(
    session: &mut Session,
    journal: &Journal,
    name: &TagName,
    allowed: &BTreeSet<Value>,
) -> Result<Option<String>> {
    let (status, bytes) = session.manifest(&name.repository, &name.tag).await?;
    let place = format!("{}:{}", name.repository, name.tag);
    let seen = match status {
        200 => Some(Digest::sha256(&bytes).to_string()),
        404 => None,
        other => return Ok(Some(format!("{place} is answered {other}"))),
    };
    if !allowed.contains(&seen) {
        return Ok(Some(format!("{place} is {seen:?}; it may be one of {allowed:?}")));
    }
    journal.settle_tag(name, seen);
    Ok(None)
}

/// Every manifest that is there refers to its subject in the listing, and none that is not.
async fn check_subjects(session: &mut Session, journal: &Journal, repository: &str) -> Result<Vec<String>> {
    let referring = journal.subjects(repository);
    let subjects: BTreeSet<&String> = referring.iter().map(|(_, subject)| subject).collect();
    let mut faults = Vec::new();
    for subject in subjects {
        let listed: BTreeSet<String> =
            session.referrers(repository, &subject.parse()?).await?.into_iter().collect();
        for (item, _) in referring.iter().filter(|(_, other)| other == subject) {
            let is_listed = listed.contains(&item.digest);
            let wrong = match journal.state(item) {
                Some(State::Present) => !is_listed,
                Some(State::Absent) => is_listed,
                _ => false,
            };
            if wrong {
                faults.push(format!(
                    "{} refers to {subject} in {repository}; listed: {is_listed}",
                    item.digest
                ));
            }
        }
    }
    Ok(faults)
}
