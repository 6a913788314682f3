//! Holding a job while its run goes: the lease renewed, the transcript shown.
//!
//! Both happen beside the run and never keep it waiting. When the job is lost (taken over, deleted,
//! ended) the run is dropped where it stands.

use std::time::Duration;

use agent::Transcript;
use jiff::Timestamp;
use jobs::{Claim, JobError};
use tokio::time::{sleep, timeout};

/// How often the stand of the transcript is written: the page polls once a second.
const RECORD_EVERY: Duration = Duration::from_secs(1);

/// Runs `work` while holding `claim`, showing what `transcript` gathers.
///
/// # Errors
/// [`JobError::Lost`] as soon as the job is found to be lost, [`JobError::Lapsed`] when its lease could not be
/// renewed in time; `work` is then not finished.
pub(crate) async fn hold<T>(
    claim: &Claim,
    transcript: &Transcript,
    clock: fn() -> Timestamp,
    work: impl Future<Output = T>,
) -> Result<T, JobError> {
    tokio::select! {
        biased;
        done = work => Ok(done),
        lost = renew(claim, clock) => Err(lost),
        lost = record(claim, transcript) => Err(lost),
    }
}

/// Ends only when the job is lost, or its lease has run out. A renewal that fails otherwise is tried again with the
/// next.
async fn renew(claim: &Claim, clock: fn() -> Timestamp) -> JobError {
    loop {
        sleep(claim.renew_every().min(claim.held_for(clock()))).await;
        match timeout(claim.held_for(clock()), claim.renew(clock())).await {
            Err(_) => return claim.lapsed(),
            Ok(Err(lost @ JobError::Lost { .. })) => return lost,
            Ok(Err(error)) => tracing::warn!(%error, "External MCP: the job's lease could not be renewed"),
            Ok(Ok(())) => {}
        }
    }
}

/// Ends only when the job is lost. A stand that could not be written is caught up by the next.
async fn record(claim: &Claim, transcript: &Transcript) -> JobError {
    let mut recorded = 0;
    loop {
        sleep(RECORD_EVERY).await;
        let length = transcript.count();
        if length == recorded {
            continue;
        }
        match claim.record(&transcript.messages()).await {
            Err(lost @ JobError::Lost { .. }) => return lost,
            Err(error) => tracing::warn!(%error, "External MCP: the transcript so far could not be recorded"),
            Ok(()) => recorded = length,
        }
    }
}
