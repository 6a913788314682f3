//! Holds a job while it runs: renews the lease and writes the transcript so far.
//!
//! Both happen beside the run, which never waits for them. If the job is lost (claimed by another process, deleted or
//! ended), the run is dropped at once.

use std::time::Duration;

use agent::Transcript;
use jiff::Timestamp;
use jobs::{Claim, JobError};
use tokio::time::{sleep, timeout};

/// Interval for writing the transcript so far. The page polls once a second.
const RECORD_EVERY: Duration = Duration::from_secs(1);

/// Runs `work` while it renews the lease of `claim` and writes `transcript` to the job.
///
/// # Errors
/// [`JobError::Lost`] if the job is lost, [`JobError::Lapsed`] if the lease could not be renewed in time. `work` is not
/// finished then.
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

/// Renews the lease again and again. Returns only if the job is lost or the lease has expired. After another failure,
/// the next renewal follows at its usual time.
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

/// Writes the transcript so far again and again. Returns only if the job is lost. After another failure, the next write
/// contains the missing messages.
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
