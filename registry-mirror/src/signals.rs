//! SIGTERM and SIGINT begin an orderly stop; a second one ends the process at once, for whoever cannot wait for the drain.

use std::io;

use shoal_http::Shutdown;
use tokio::signal::unix::{SignalKind, signal};

/// Triggers `shutdown` on the first SIGTERM or SIGINT.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn stop_on_signal(shutdown: Shutdown) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        for first in [true, false] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if first {
                tracing::info!("stopping; a second signal ends the process at once");
                shutdown.trigger();
            }
        }
        // 130 is what a shell reports for an interrupted program.
        #[expect(
            clippy::disallowed_methods,
            reason = "the operator asked twice; destructors have had their chance"
        )]
        std::process::exit(130);
    });
    Ok(())
}
