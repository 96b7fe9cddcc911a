//! Before the two steps: tags and untagged manifests that the retention rules do not keep.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use shoal_api::audit::{AuditAction, AuditRecord};
use shoal_api::caller::{Caller, RequestId};
use shoal_api::events::{Action, Event, Subject};
use shoal_metadata::upkeep::STEP_LEN_MAX;
use shoal_metadata::{Cursor, ManifestRecord, TagRecord, Walk, clock};
use shoal_oci::Repository;

use crate::collector::Run;
use crate::report::{Dropped, ExpiredTag};
use crate::retention::{self, Rule, TagAge};

/// How often a repository is walked for untagged manifests: each pass frees what only the manifests of the last one needed, and
/// indexes that hold indexes are rarely three deep.
const PASSES_MAX: usize = 8;

/// Applies the rules to every repository that one of them is about.
pub(crate) async fn expire(run: &mut Run<'_>) {
    if run.options.rules.is_empty() && run.parts.kept.is_none() {
        return;
    }
    if let Err(error) = run.parts.upkeep.flush_pulled().await {
        // Without it, what was just pulled looks unused.
        return run.fault(format_args!("retention waits: the latest pulls could not be written: {error}"));
    }
    let mut at = None;
    while !run.is_over() {
        let step = match run.parts.upkeep.walk_repositories(at, STEP_LEN_MAX).await {
            Ok(step) => step,
            Err(error) => return run.fault(format_args!("the walk over repositories stopped: {error}")),
        };
        let (repositories, next) = opened(run, step);
        for repository in repositories {
            let rules = rules_of(run, &repository);
            if retention::concerns(&rules, &repository) && !run.is_over() {
                expire_tags(run, &rules, &repository).await;
                expire_manifests(run, &rules, &repository).await;
            }
        }
        at = next;
        if at.is_none() {
            return;
        }
    }
}

/// The rules for a repository: those of the configuration, and behind them what holds for it without any.
fn rules_of<'a>(run: &Run<'a>, repository: &Repository) -> Cow<'a, [Rule]> {
    let rules = &run.options.rules;
    match run.parts.kept.as_ref().and_then(|kept| kept(repository)) {
        None => Cow::Borrowed(rules),
        Some(kept) => rules.iter().cloned().chain([Rule::of_unused(kept)]).collect(),
    }
}

/// The items of a step; its faults go into the report.
fn opened<T>(run: &mut Run<'_>, step: Walk<T>) -> (Vec<T>, Option<Cursor>) {
    for fault in step.faults {
        run.fault(format_args!("{}: {}", fault.row, fault.why));
    }
    (step.items, step.next)
}

async fn expire_tags(run: &mut Run<'_>, rules: &[Rule], repository: &Repository) {
    let now = clock::now();
    let mut records = Vec::new();
    let mut at = None;
    loop {
        let step = match run.parts.upkeep.walk_tags(repository, at, STEP_LEN_MAX).await {
            Ok(step) => step,
            Err(error) => {
                return run.fault(format_args!("the tags of {repository} cannot be listed: {error}"));
            }
        };
        let (tags, next) = opened(run, step);
        records.extend(tags);
        at = next;
        if at.is_none() {
            break;
        }
    }
    let ages: Vec<TagAge<'_>> = records.iter().map(|record| age_of(record, now)).collect();
    for gone in retention::expired(rules, repository, &ages) {
        let record = &records[gone.at];
        if !(run.parts.immutable)(repository, &record.tag) {
            remove_tag(run, repository, record, gone.rule).await;
        }
    }
}

fn age_of(record: &TagRecord, now: u64) -> TagAge<'_> {
    let since = |then: u64| Duration::from_millis(now.saturating_sub(then));
    TagAge { tag: &record.tag, pushed: since(record.moved_at), pulled: record.pulled_at.map(since) }
}

async fn remove_tag(run: &mut Run<'_>, repository: &Repository, record: &TagRecord, rule: usize) {
    let TagRecord { tag, digest, .. } = record;
    let expired = ExpiredTag { repository: repository.clone(), tag: tag.clone(), digest: *digest, rule };
    if run.report.dry_run {
        return run.report.tags.push(expired);
    }
    let outbox = payloads(run, repository, Subject::GoneTag(tag.clone()));
    match run.parts.upkeep.remove_tag_if_unchanged(repository, record, outbox).await {
        Ok(true) => {
            note(run, repository, tag.as_str()).await;
            run.report.tags.push(expired);
        }
        Ok(false) => run.report.busy += 1,
        Err(error) => run.fault(format_args!("{repository}:{tag} stays: {error}")),
    }
}

async fn expire_manifests(run: &mut Run<'_>, rules: &[Rule], repository: &Repository) {
    let Some(after) = retention::untagged_after(rules, repository) else { return };
    let older_than = Run::ago(after.max(run.options.grace));
    for _ in 0..PASSES_MAX {
        let before = run.report.manifests.count;
        pass_over_manifests(run, repository, older_than).await;
        if run.report.dry_run || run.report.manifests.count == before || run.is_over() {
            return;
        }
    }
}

async fn pass_over_manifests(run: &mut Run<'_>, repository: &Repository, older_than: u64) {
    let mut at = None;
    loop {
        let step = match run.parts.upkeep.walk_manifests(repository, at, STEP_LEN_MAX).await {
            Ok(step) => step,
            Err(error) => {
                return run.fault(format_args!("the manifests of {repository} cannot be listed: {error}"));
            }
        };
        let (manifests, next) = opened(run, step);
        for manifest in manifests.iter().filter(|manifest| is_unused(manifest, older_than)) {
            remove_manifest(run, repository, manifest).await;
        }
        at = next;
        if at.is_none() {
            return;
        }
    }
}

fn is_unused(manifest: &ManifestRecord, older_than: u64) -> bool {
    let used_at = manifest.pulled_at.unwrap_or(0).max(manifest.pushed_at);
    !manifest.tagged && !manifest.referenced && !manifest.subject_present && used_at < older_than
}

async fn remove_manifest(run: &mut Run<'_>, repository: &Repository, record: &ManifestRecord) {
    let digest = record.digest;
    let Some(_claim) = run.parts.leases.claim(&digest) else {
        run.report.busy += 1;
        return;
    };
    if run.parts.leases.touched(repository, &digest) {
        run.report.busy += 1;
        return;
    }
    let dropped = Dropped { repository: repository.clone(), digest };
    if run.report.dry_run {
        return run.report.manifests.push(dropped);
    }
    let outbox = payloads(run, repository, Subject::Gone(digest));
    match run.parts.upkeep.remove_manifest_if_unused(repository, record, outbox).await {
        Ok(true) => {
            note(run, repository, &digest.to_string()).await;
            run.report.manifests.push(dropped);
        }
        Ok(false) => run.report.busy += 1,
        Err(error) => run.fault(format_args!("{repository}@{digest} stays: {error}")),
    }
}

/// The collector as others are told of it: nobody asked for these deletions by name, the rules did.
fn caller() -> Caller {
    Caller {
        request: RequestId(0),
        address: ([0, 0, 0, 0], 0).into(),
        host: String::new(),
        method: String::new(),
        user_agent: String::new(),
        actor: "retention".to_owned(),
        secure: false,
    }
}

/// The messages about one deletion.
fn payloads(run: &Run<'_>, repository: &Repository, subject: Subject) -> Vec<Bytes> {
    let events = &run.parts.events;
    if !events.wants(Action::Delete) {
        return Vec::new();
    }
    events.payloads(Event { action: Action::Delete, repository: repository.clone(), subject }, &caller())
}

/// Leaves a line in the audit log.
async fn note(run: &mut Run<'_>, repository: &Repository, reference: &str) {
    if !run.parts.audit.is_on() {
        return;
    }
    let record = AuditRecord {
        caller: caller(),
        action: AuditAction::Delete,
        repository: Some(repository.as_str().to_owned()),
        reference: Some(reference.to_owned()),
        digest: None,
        bytes: 0,
        status: 202,
        denied: None,
        duration: Duration::ZERO,
    };
    if let Err(error) = run.parts.audit.write(record).await {
        run.fault(format_args!(
            "{repository} {reference} was removed without a line in the audit log: {error}"
        ));
    }
}
