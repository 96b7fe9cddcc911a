//! First step: links to blobs that no manifest of their repository needs.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use shoal_api::leases::Leases;
use shoal_metadata::Upkeep;
use shoal_metadata::upkeep::STEP_LEN_MAX;
use shoal_oci::Repository;

use crate::collector::{REMOVALS_MAX, Run};
use crate::report::Dropped;

/// What became of one removal.
pub(crate) enum Removal<T> {
    /// It is gone, or would be.
    Gone(T),
    /// Somebody uses it, or began to need it.
    Busy,
    /// It could not be removed.
    Fault(String),
}

/// Removes what can go. A run that is killed has removed some of it.
pub(crate) async fn unlink(run: &mut Run<'_>) {
    let older_than = Run::ago(run.options.grace);
    let mut at = None;
    while !run.is_over() {
        let step = match run.parts.upkeep.unreferenced_links(at, older_than, STEP_LEN_MAX).await {
            Ok(step) => step,
            Err(error) => return run.fault(format_args!("the walk over links stopped: {error}")),
        };
        for fault in step.faults {
            run.fault(format_args!("{}: {}", fault.row, fault.why));
        }
        let uploading = (run.parts.uploading)();
        let dry = run.report.dry_run;
        let parts = run.parts;
        let removals = stream::iter(step.items).map(|link| {
            let found = Dropped { repository: link.repository, digest: link.digest };
            one(&parts.upkeep, &parts.leases, &uploading, found, older_than, dry)
        });
        let mut removals = removals.buffer_unordered(REMOVALS_MAX);
        while let Some(removal) = removals.next().await {
            match removal {
                Removal::Gone(link) => run.report.links.push(link),
                Removal::Busy => run.report.busy += 1,
                Removal::Fault(what) => run.fault(what),
            }
        }
        at = step.next;
        if at.is_none() {
            return;
        }
    }
}

async fn one(
    upkeep: &Arc<dyn Upkeep>,
    leases: &Leases,
    uploading: &HashSet<Repository>,
    link: Dropped,
    older_than: u64,
    dry: bool,
) -> Removal<Dropped> {
    if uploading.contains(&link.repository) {
        return Removal::Busy;
    }
    // From here on nobody is told that the blob is there without waiting for the end of this.
    let Some(_claim) = leases.claim(&link.digest) else { return Removal::Busy };
    if leases.touched(&link.repository, &link.digest) {
        return Removal::Busy;
    }
    if dry {
        return Removal::Gone(link);
    }
    match upkeep.remove_link_if_unreferenced(&link.repository, &link.digest, older_than).await {
        Ok(true) => Removal::Gone(link),
        Ok(false) => Removal::Busy,
        Err(error) => {
            Removal::Fault(format!("the link of {} in {} stays: {error}", link.digest, link.repository))
        }
    }
}
