//! Second step: content that no repository has.

use std::time::{Duration, SystemTime};

use futures_util::{StreamExt, stream};
use shoal_metadata::upkeep::STEP_LEN_MAX;
use shoal_store::Listed;

use crate::collector::{Parts, REMOVALS_MAX, Run};
use crate::links::Removal;
use crate::report::Freed;

/// Removes what can go. A run that is killed has removed some of it.
pub(crate) async fn free(run: &mut Run<'_>) {
    let mut after = None;
    while !run.is_over() {
        let store = run.parts.store.clone();
        let page = tokio::task::spawn_blocking(move || store.each_digest(after, STEP_LEN_MAX)).await;
        let page = page.unwrap_or_default();
        let Some(last) = page.last() else { return };
        after = Some(last.digest);
        let (grace, dry, parts) = (run.options.grace, run.report.dry_run, run.parts);
        let old = page.into_iter().filter(|listed| is_old(listed, grace));
        let mut removals =
            stream::iter(old).map(|listed| one(parts, listed, dry)).buffer_unordered(REMOVALS_MAX);
        while let Some(removal) = removals.next().await {
            match removal {
                Some(Removal::Gone(freed)) => {
                    run.report.bytes_freed += freed.size;
                    run.report.blobs.push(freed);
                }
                Some(Removal::Busy) => run.report.busy += 1,
                Some(Removal::Fault(what)) => run.fault(what),
                None => {}
            }
        }
    }
}

/// Whether content came long enough ago. What claims to come from the future is new.
fn is_old(listed: &Listed, grace: Duration) -> bool {
    SystemTime::now().duration_since(listed.modified).is_ok_and(|age| age >= grace)
}

/// `None` when somebody needs it.
async fn one(parts: &Parts, listed: Listed, dry: bool) -> Option<Removal<Freed>> {
    let Listed { digest, size, .. } = listed;
    let fault = |error: &dyn std::fmt::Display| {
        Some(Removal::Fault(format!("the content of {digest} stays: {error}")))
    };
    // Most content is needed, so the question comes before the claim, and again inside it, where the answer counts.
    match parts.upkeep.is_linked(&digest).await {
        Ok(true) => return None,
        Ok(false) => {}
        Err(error) => return fault(&error),
    }
    let Some(claim) = parts.leases.claim(&digest) else { return Some(Removal::Busy) };
    match parts.upkeep.is_linked(&digest).await {
        Ok(true) => return None,
        Ok(false) if dry => return Some(Removal::Gone(Freed { digest, size })),
        Ok(false) => {}
        Err(error) => return fault(&error),
    }
    let store = parts.store.clone();
    let removing = tokio::task::spawn_blocking(move || {
        let removed = store.remove(&digest);
        drop(claim);
        removed
    });
    match removing.await {
        Ok(Ok(true)) => Some(Removal::Gone(Freed { digest, size })),
        Ok(Ok(false)) => None,
        Ok(Err(error)) => fault(&error),
        Err(error) => fault(&error),
    }
}
