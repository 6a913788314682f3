//! Claims: the right to write to one job, with a lease and an attempt number.
//!
//! Of several claims for a job at the same time, one wins. The holder must renew the lease before it expires. After
//! that, another process can claim the job, which increases the attempt number. Every write has the attempt number as
//! a condition. A run whose job was claimed by another process, ended or deleted can therefore write nothing.
//!
//! The response to a write may be lost, and the SDK then repeats the request. Each claim therefore has an id: if a
//! repeated claim is refused because the item already has its id, the claim was won. In the same way, a write counts as
//! made if the item already has its changes.
//!
//! The job processor calls this. It renews the lease by itself; nothing here runs in the background.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    dynamodb::{Change, JobTable},
    error::JobError,
    job::{Job, JobStatus, timestamp},
    transcript::{self, MAX_ITEM_BYTES},
};

/// Size of an item without its long texts, in bytes: names, numbers, keys.
const ITEM_OVERHEAD_BYTES: usize = 4_000;
/// Largest size of the error on the item, in bytes, so that a job can always be ended.
const MAX_ERROR_BYTES: usize = 8_000;

/// Outcome of a claim.
#[derive(Debug)]
pub enum ClaimOutcome {
    /// The claim is won: the caller holds the job.
    Won(Claim, EarlierRun),
    /// The job is held by another process, or it has ended. The caller has nothing to do.
    Busy(Job),
    /// The user has no such job.
    Missing,
}

/// The effects of an earlier run of the job that was cut off before its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EarlierRun {
    /// There was no earlier run, or none of its tool calls can have changed anything.
    NoEffect,
    /// The earlier run called this tool, which may have changed something.
    MayHaveHadEffect {
        /// The tool's name.
        tool: String,
    },
}

/// Outcome of a run.
#[derive(Debug, Clone, Copy)]
pub enum RunOutcome<'a> {
    /// The run ended with this result, a JSON text.
    Completed(&'a str),
    /// The run ended with this error, one line.
    Failed(&'a str),
}

/// The right to write to one job.
#[derive(Debug, Clone)]
pub struct Claim {
    jobs: JobTable,
    job: Job,
    attempt: u64,
    lease: Duration,
    /// The end of the lease as last written, in milliseconds since the epoch. Shared by all clones.
    held_until: Arc<AtomicI64>,
}

impl JobTable {
    /// Claims a job that is pending, or whose lease has expired. The new lease ends `lease` after `now`.
    ///
    /// # Errors
    /// [`JobError::Table`].
    pub async fn claim(
        &self,
        user_id: &str,
        job_id: &str,
        now: Timestamp,
        lease: Duration,
    ) -> Result<ClaimOutcome, JobError> {
        let claim_id = Uuid::new_v4().to_string();
        let until = lease_end(now, lease);
        let claimed = self.claim_item(user_id, job_id, &claim_id, now, until).await?;
        Ok(match claimed {
            Ok(won) => {
                let earlier = match won.effect {
                    Some(tool) => EarlierRun::MayHaveHadEffect { tool },
                    None => EarlierRun::NoEffect,
                };
                let held_until = Arc::new(AtomicI64::new(until.as_millisecond()));
                let claim =
                    Claim { jobs: self.clone(), job: won.job, attempt: won.attempt, lease, held_until };
                ClaimOutcome::Won(claim, earlier)
            }
            Err(Some(job)) => ClaimOutcome::Busy(job),
            Err(None) => ClaimOutcome::Missing,
        })
    }
}

impl Claim {
    /// Returns the job as it was when it was claimed.
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// Returns the interval for renewals: a third of the lease, so that two renewals may fail.
    pub fn renew_every(&self) -> Duration {
        self.lease / 3
    }

    /// Renews the lease, counted from `now`.
    ///
    /// # Errors
    /// [`JobError::Lost`] if the job is claimed by another process, ended or deleted; [`JobError::Table`].
    pub async fn renew(&self, now: Timestamp) -> Result<(), JobError> {
        let until = lease_end(now, self.lease).as_millisecond();
        self.write(vec![Change::Number("leaseUntil", until)]).await?;
        self.held_until.fetch_max(until, Ordering::Relaxed);
        Ok(())
    }

    /// Returns the time that is left of the lease at `now`, less a tenth of the lease for differing clocks. After that
    /// time the run must not start anything that may change something, because another process may claim the job.
    pub fn held_for(&self, now: Timestamp) -> Duration {
        let left = self.held_until.load(Ordering::Relaxed).saturating_sub(now.as_millisecond());
        Duration::from_millis(u64::try_from(left).unwrap_or_default()).saturating_sub(self.lease / 10)
    }

    /// Checks that the lease has not expired. A run calls this before it starts something that may change something.
    ///
    /// # Errors
    /// [`JobError::Lapsed`].
    pub fn check_held(&self, now: Timestamp) -> Result<(), JobError> {
        if self.held_for(now).is_zero() { Err(self.lapsed()) } else { Ok(()) }
    }

    /// Returns the error for a run whose lease was not renewed in time.
    pub fn lapsed(&self) -> JobError {
        JobError::Lapsed { job_id: self.job.job_id.clone() }
    }

    /// Writes to the job that the run is about to call a tool that may change something. The caller waits for this
    /// before the call, so that a run that takes the job over knows of the call and does not repeat it.
    ///
    /// # Errors
    /// As [`Self::renew`].
    pub async fn note_effect(&self, tool: &str) -> Result<(), JobError> {
        self.write(vec![Change::Text("effect", tool.to_owned())]).await
    }

    /// Writes the transcript so far.
    ///
    /// # Errors
    /// As [`Self::renew`].
    pub async fn record(&self, messages: &[Value]) -> Result<(), JobError> {
        let fitted = transcript::fit(messages, self.room(""));
        self.write(vec![Change::Text("agent_messages", fitted.json)]).await
    }

    /// Ends the job with its transcript and usage. A transcript that is too long for the item is also stored whole in
    /// items of its own, which are written first.
    ///
    /// # Errors
    /// As [`Self::renew`].
    pub async fn end(
        &self,
        outcome: RunOutcome<'_>,
        messages: &[Value],
        usage: &Value,
        now: Timestamp,
    ) -> Result<(), JobError> {
        let fitted = transcript::fit(messages, self.room(outcome.text()));
        if fitted.is_elided {
            self.jobs.store_transcript(&self.job, self.attempt, messages).await?;
        }
        let mut changes = outcome.changes(now);
        if fitted.is_elided {
            changes.push(Change::Number("transcriptOf", self.attempt.cast_signed()));
        }
        changes.push(Change::Text("agent_messages", fitted.json));
        changes.push(Change::Text("usage", usage.to_string()));
        self.write(changes).await
    }

    /// Ends the job and leaves the transcript on the item as it is.
    ///
    /// # Errors
    /// As [`Self::renew`].
    pub async fn end_without_transcript(
        &self,
        outcome: RunOutcome<'_>,
        now: Timestamp,
    ) -> Result<(), JobError> {
        self.write(outcome.changes(now)).await
    }

    /// Returns the largest size of a result in bytes: half of the room on the item. The other half is for the
    /// transcript.
    pub fn room_for_result(&self) -> usize {
        self.room("") / 2
    }

    /// Returns the room for the transcript in bytes: the item's size less its other texts. `outcome` is the text of the
    /// result or error.
    fn room(&self, outcome: &str) -> usize {
        let ids: usize = self.job.agent_ids.iter().map(|id| id.len() + 4).sum();
        let others = self.job.query.len() + ids + outcome.len() + ITEM_OVERHEAD_BYTES;
        MAX_ITEM_BYTES.saturating_sub(others)
    }

    async fn write(&self, changes: Vec<Change>) -> Result<(), JobError> {
        self.jobs.write_claimed(&self.job, self.attempt, changes).await
    }
}

impl<'a> RunOutcome<'a> {
    fn text(self) -> &'a str {
        match self {
            Self::Completed(text) => text,
            Self::Failed(text) => &text[..text.floor_char_boundary(MAX_ERROR_BYTES)],
        }
    }

    /// Returns the changes that end a job, without those of its transcript and usage.
    fn changes(self, now: Timestamp) -> Vec<Change> {
        let (status, name) = match self {
            Self::Completed(_) => (JobStatus::Completed, "result"),
            Self::Failed(_) => (JobStatus::Failed, "error"),
        };
        vec![
            Change::Text("status", status.as_str().to_owned()),
            Change::Text(name, self.text().to_owned()),
            Change::Text("completedAt", timestamp(now)),
            Change::Remove("unfinished"),
            Change::Remove("leaseUntil"),
        ]
    }
}

fn lease_end(now: Timestamp, lease: Duration) -> Timestamp {
    SignedDuration::try_from(lease)
        .ok()
        .and_then(|lease| now.checked_add(lease).ok())
        .unwrap_or(Timestamp::MAX)
}
