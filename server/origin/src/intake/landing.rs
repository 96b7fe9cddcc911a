//! One blob on its way in, from its body to the store.

use std::sync::Arc;

use shoal_http::Body;
use shoal_oci::Digest;
use shoal_store::{ErrorKind, Inflow, SMALL_SIZE_MAX};
use tokio::sync::watch;

use super::arrival::{Arrival, End};
use super::fill::{self, Sink};
use super::{Held, Intake, LABEL, Outcome, PATIENCE, RESUME_MAX, TakeInError, Taken, blocking};

/// Ends the flight of a blob, in whatever way its task ends.
pub(super) struct Landing {
    intake: Intake,
    digest: Digest,
    outcome: watch::Sender<Outcome>,
}

impl Landing {
    pub(super) const fn new(intake: Intake, digest: Digest, outcome: watch::Sender<Outcome>) -> Self {
        Self { intake, digest, outcome }
    }

    pub(super) async fn fly(self, size: Option<u64>, from: u64, body: Body) {
        let outcome = self.take_in(size, from, body).await;
        if let Err(error) = &outcome {
            tracing::warn!(digest = %self.digest, %error, "a blob did not come in");
        }
        self.outcome.send_replace(Some(outcome));
    }

    async fn take_in(&self, size: Option<u64>, from: u64, body: Body) -> Result<Taken, TakeInError> {
        let inner = &self.intake.0;
        // The semaphore is never closed.
        let _turn = inner.turns.acquire().await.map_err(|_closed| TakeInError::Stopped)?;
        if let Some(size) = inner.store.stat(&self.digest)? {
            // It came while we waited.
            return Ok(Taken { size });
        }
        let (sink, arrival) = self.begin(size).await?;
        if let Some(arrival) = &arrival
            && let Some(flight) = self.intake.lock().flights.get(&self.digest)
        {
            flight.arrival.send_replace(Some(Arc::clone(arrival)));
        }
        let size = size.or_else(|| arrival.as_ref().map(|arrival| arrival.size()));
        let source = fill::Source::new(body, from, size);
        match fill::fill(sink, source, arrival.clone()).await {
            Ok(sink) => self.settle(sink, arrival).await,
            Err((sink, error)) => {
                self.give_up(sink, arrival, &error).await?;
                Err(error)
            }
        }
    }

    /// Where the bytes go: to what has come of an earlier body, or to something new.
    async fn begin(&self, size: Option<u64>) -> Result<(Sink, Option<Arc<Arrival>>), TakeInError> {
        let held = self.intake.lock().held.remove(&self.digest);
        if let Some(Held { inflow, arrival }) = held {
            if size.is_none_or(|size| size == arrival.size()) {
                let arrival = if arrival.has_ended() { self.show(&inflow) } else { arrival };
                return Ok((Sink::Inflow(Box::new(inflow)), Some(arrival)));
            }
            // The two sources do not agree; the digest will tell who is right.
            arrival.end(End::Gone);
            blocking(move || {
                drop(inflow);
                Ok(())
            })
            .await?;
        }
        let (store, digest) = (self.intake.0.store.clone(), self.digest);
        if let Some(size) = size.filter(|size| *size > SMALL_SIZE_MAX) {
            let begun = blocking({
                let store = store.clone();
                move || store.inflow(&digest, size)
            });
            match begun.await {
                Ok(inflow) => {
                    let arrival = self.show(&inflow);
                    return Ok((Sink::Inflow(Box::new(inflow)), Some(arrival)));
                }
                // Somebody mends it from agents, so they have it.
                Err(TakeInError::Store(error)) if error.kind() == ErrorKind::Invalid => {}
                Err(error) => return Err(error),
            }
        }
        let label = format!("{LABEL}{digest}");
        let upload = blocking(move || store.open_upload(&store.create_upload(&label)?)).await?;
        Ok((Sink::Upload(Box::new(upload)), None))
    }

    /// Lets others have what comes.
    fn show(&self, inflow: &Inflow) -> Arc<Arrival> {
        let arrival = Arrival::begin(inflow.partial().clone(), self.intake.0.swarm.clone());
        arrival.note(inflow.size());
        Arc::new(arrival)
    }

    /// All bytes are there: judges them, tells, and makes them a blob.
    async fn settle(&self, sink: Sink, arrival: Option<Arc<Arrival>>) -> Result<Taken, TakeInError> {
        let (size, digest) = (sink.size(), self.digest);
        match (sink, arrival) {
            (Sink::Inflow(inflow), Some(arrival)) => self.settle_arrival(*inflow, &arrival).await?,
            (Sink::Inflow(inflow), None) => drop(blocking(move || inflow.commit()).await?),
            (Sink::Upload(upload), _) => drop(blocking(move || upload.commit(&digest)).await?),
        }
        Ok(Taken { size })
    }

    async fn settle_arrival(&self, mut inflow: Inflow, arrival: &Arrival) -> Result<(), TakeInError> {
        let judging = blocking(move || {
            let verdict = inflow.judge();
            Ok((inflow, verdict))
        });
        let (inflow, verdict) = judging.await?;
        if let Err(error) = verdict {
            let is_wrong = error.kind() == ErrorKind::DigestMismatch;
            arrival.end(if is_wrong { End::Refuted } else { End::Gone });
            return Err(error.into());
        }
        // Agents need not wait for our disk.
        arrival.note(inflow.size());
        arrival.end(End::Whole);
        let stored = blocking(move || inflow.commit()).await;
        arrival.stored(stored.as_ref().ok().cloned());
        stored.map(drop)
    }

    /// The body did not bring everything: what it did bring is kept for another one, if one may bring the rest.
    async fn give_up(
        &self,
        sink: Option<Sink>,
        arrival: Option<Arc<Arrival>>,
        error: &TakeInError,
    ) -> Result<(), TakeInError> {
        match (sink, arrival) {
            (Some(Sink::Inflow(inflow)), Some(arrival)) if error.is_retryable() => {
                self.hold(*inflow, arrival);
            }
            (sink, arrival) => {
                if let Some(arrival) = arrival {
                    arrival.end(End::Gone);
                }
                let Some(sink) = sink else { return Ok(()) };
                blocking(move || {
                    sink.discard();
                    Ok(())
                })
                .await?;
            }
        }
        Ok(())
    }

    /// Keeps what has come for a while.
    fn hold(&self, inflow: Inflow, arrival: Arc<Arrival>) {
        let intake = self.intake.clone();
        {
            let mut state = intake.lock();
            if state.stopped {
                return;
            }
            state.held.insert(self.digest, Held { inflow, arrival: Arc::clone(&arrival) });
        }
        tokio::spawn(expire(intake, self.digest, arrival));
    }
}

/// Ends what is held unless somebody goes on with it: first for those who wait for it, then altogether.
async fn expire(intake: Intake, digest: Digest, arrival: Arc<Arrival>) {
    let at = arrival.bytes();
    // Somebody may have gone on with it, and failed in turn.
    let is_same = |held: &Held| Arc::ptr_eq(&held.arrival, &arrival) && arrival.bytes() == at;
    tokio::time::sleep(PATIENCE).await;
    if intake.lock().held.get(&digest).is_some_and(is_same) {
        arrival.end(End::Gone);
    }
    tokio::time::sleep(RESUME_MAX.saturating_sub(PATIENCE)).await;
    let held = {
        let mut state = intake.lock();
        if state.held.get(&digest).is_some_and(is_same) { state.held.remove(&digest) } else { None }
    };
    if held.is_some() {
        drop(tokio::task::spawn_blocking(move || drop(held)));
    }
}

impl Drop for Landing {
    /// Also when the task was aborted: whoever waits sees that nobody will tell.
    fn drop(&mut self) {
        let flight = {
            let mut state = self.intake.lock();
            let is_held = state.held.contains_key(&self.digest);
            state.flights.remove(&self.digest).filter(|_| !is_held)
        };
        if let Some(arrival) = flight.and_then(|flight| flight.arrival.borrow().clone()) {
            arrival.end(End::Gone);
        }
    }
}
