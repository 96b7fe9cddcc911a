//! Follows files that change under a running program.
//!
//! Polling, because it works on every file system and through the symbolic links that Kubernetes swaps, and because a certificate
//! that is seconds late does no harm.

use std::time::Duration;

use super::TlsError;
use super::files::Stamps;
use crate::Shutdown;

/// How often the files are looked at: a `stat` each, so often costs nothing, and a test of a rotation need not wait long.
const PERIOD: Duration = Duration::from_secs(5);

/// Calls `reload` after every change, until `shutdown`. While it fails it is called every period, since a file that is half
/// written when it is first seen need not look different when it is complete (coarse clocks).
pub(super) async fn follow(
    stamps: &Stamps,
    shutdown: &Shutdown,
    subject: &str,
    reload: impl Fn() -> Result<(), TlsError>,
) {
    let mut failed = false;
    loop {
        tokio::select! {
            () = shutdown.wait() => return,
            () = tokio::time::sleep(PERIOD) => {}
        }
        let changed = stamps.changed();
        if !changed && !failed {
            continue;
        }
        let outcome = reload();
        failed = outcome.is_err();
        match outcome {
            Ok(()) => tracing::info!(subject, "TLS files changed and are in use"),
            // Once for each change, not every period.
            Err(error) if changed => {
                tracing::error!(subject, %error, "TLS files changed and cannot be used; the old ones stay in use");
            }
            Err(_) => {}
        }
    }
}
