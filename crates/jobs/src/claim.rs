//! The right to write to one job: a lease and an attempt number.
//!
//! Of any number of tries to claim a job exactly one wins. The lease must be renewed before it runs out;
//! after that another may take the job over, which counts the attempt up. Every write carries the attempt
//! and fails once it is another's, so a run that lost its job, or whose job was deleted, writes nothing.
//!
//! The answer to any write may be lost or late, and the SDK then sends it again. So a claim has an id of its own: a
//! claim that is refused by itself was won. A write that is refused by what it wrote itself was made.

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
    records::{self, MAX_ITEM_BYTES},
};

/// What an item weighs beside its texts: names, numbers, keys.
const ITEM_OVERHEAD_BYTES: usize = 4_000;
/// What an error may weigh on the item, so that a job can always be ended.
const MAX_ERROR_BYTES: usize = 8_000;

/// What became of trying to claim a job.
#[derive(Debug)]
pub enum Claimed {
    /// It is ours now.
    Won(Claim, Earlier),
    /// It is running or has ended: there is nothing to do.
    Busy(Job),
    /// This user has no such job.
    Missing,
}

/// What an earlier run of the job, cut off before its end, had done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Earlier {
    /// There was none, or none of its tool calls can have changed anything.
    NoEffect,
    /// It had called this tool, which may have changed something.
    MayHaveHadEffect {
        /// The tool's name.
        tool: String,
    },
}

/// How a run ended.
#[derive(Debug, Clone, Copy)]
pub enum Outcome<'a> {
    /// With a result: a JSON text.
    Completed(&'a str),
    /// With an error: one line.
    Failed(&'a str),
}

/// The right to write to one job.
#[derive(Debug, Clone)]
pub struct Claim {
    jobs: JobTable,
    job: Job,
    attempt: u64,
    lease: Duration,
    /// Until when the job is known to be held, in milliseconds since the epoch. Shared by all clones.
    held_until: Arc<AtomicI64>,
}

impl JobTable {
    /// Claims a job that is pending, or whose run let its lease run out, for `lease` from `now` on.
    ///
    /// # Errors
    /// [`JobError::Table`].
    pub async fn claim(
        &self,
        user_id: &str,
        job_id: &str,
        now: Timestamp,
        lease: Duration,
    ) -> Result<Claimed, JobError> {
        let claim_id = Uuid::new_v4().to_string();
        let until = lease_end(now, lease);
        let claimed = self.claim_item(user_id, job_id, &claim_id, now, until).await?;
        Ok(match claimed {
            Ok(won) => {
                let earlier = match won.effect {
                    Some(tool) => Earlier::MayHaveHadEffect { tool },
                    None => Earlier::NoEffect,
                };
                let held_until = Arc::new(AtomicI64::new(until.as_millisecond()));
                let claim =
                    Claim { jobs: self.clone(), job: won.job, attempt: won.attempt, lease, held_until };
                Claimed::Won(claim, earlier)
            }
            Err(Some(job)) => Claimed::Busy(job),
            Err(None) => Claimed::Missing,
        })
    }
}

impl Claim {
    /// The job as it was when it was claimed.
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// How often to renew: a third of the lease, so that two renewals may fail.
    pub fn renew_every(&self) -> Duration {
        self.lease / 3
    }

    /// Holds the job for another lease from `now` on.
    ///
    /// # Errors
    /// [`JobError::Lost`] if the job is no longer this claim's, [`JobError::Table`].
    pub async fn renew(&self, now: Timestamp) -> Result<(), JobError> {
        let until = lease_end(now, self.lease).as_millisecond();
        self.write(vec![Change::Number("leaseUntil", until)]).await?;
        self.held_until.fetch_max(until, Ordering::Relaxed);
        Ok(())
    }

    /// How long the job is known to be held from `now` on, less a tenth of the lease for clocks that differ. Nothing
    /// that may change something is begun after that: somebody else may have taken the job over.
    pub fn held_for(&self, now: Timestamp) -> Duration {
        let left = self.held_until.load(Ordering::Relaxed).saturating_sub(now.as_millisecond());
        Duration::from_millis(u64::try_from(left).unwrap_or_default()).saturating_sub(self.lease / 10)
    }

    /// Refuses what is begun when the job is no longer known to be held.
    ///
    /// # Errors
    /// [`JobError::Lapsed`].
    pub fn check_held(&self, now: Timestamp) -> Result<(), JobError> {
        if self.held_for(now).is_zero() { Err(self.lapsed()) } else { Ok(()) }
    }

    /// The error of a run whose lease was not renewed in time.
    pub fn lapsed(&self) -> JobError {
        JobError::Lapsed { job_id: self.job.job_id.clone() }
    }

    /// Notes that a tool which may change something is about to be called: a run that takes the job over
    /// must not call it again. To be awaited before the call.
    ///
    /// # Errors
    /// As [`Self::renew`].
    pub async fn note_effect(&self, tool: &str) -> Result<(), JobError> {
        self.write(vec![Change::Text("effect", tool.to_owned())]).await
    }

    /// Writes the transcript as it stands.
    ///
    /// # Errors
    /// As [`Self::renew`].
    pub async fn record(&self, messages: &[Value]) -> Result<(), JobError> {
        let fitted = records::fit(messages, self.room(""));
        self.write(vec![Change::Text("agent_messages", fitted.json)]).await
    }

    /// Ends the job with its transcript and usage. A transcript too long for the item is kept whole in
    /// items of its own, which are written first.
    ///
    /// # Errors
    /// As [`Self::renew`].
    pub async fn end(
        &self,
        outcome: Outcome<'_>,
        messages: &[Value],
        usage: &Value,
        now: Timestamp,
    ) -> Result<(), JobError> {
        let fitted = records::fit(messages, self.room(outcome.text()));
        if fitted.is_elided {
            self.jobs.keep_transcript(&self.job, self.attempt, messages).await?;
        }
        let mut changes = outcome.changes(now);
        if fitted.is_elided {
            changes.push(Change::Number("transcriptOf", self.attempt.cast_signed()));
        }
        changes.push(Change::Text("agent_messages", fitted.json));
        changes.push(Change::Text("usage", usage.to_string()));
        self.write(changes).await
    }

    /// Ends the job and leaves its transcript as it was last written.
    ///
    /// # Errors
    /// As [`Self::renew`].
    pub async fn end_as_it_is(&self, outcome: Outcome<'_>, now: Timestamp) -> Result<(), JobError> {
        self.write(outcome.changes(now)).await
    }

    /// What a result may weigh: half of what the item has left, so that the transcript has the other.
    pub fn room_for_result(&self) -> usize {
        self.room("") / 2
    }

    /// What the transcript may weigh beside the item's other texts.
    fn room(&self, outcome: &str) -> usize {
        let ids: usize = self.job.agent_ids.iter().map(|id| id.len() + 4).sum();
        let taken = self.job.query.len() + ids + outcome.len() + ITEM_OVERHEAD_BYTES;
        MAX_ITEM_BYTES.saturating_sub(taken)
    }

    async fn write(&self, changes: Vec<Change>) -> Result<(), JobError> {
        self.jobs.write_claimed(&self.job, self.attempt, changes).await
    }
}

impl<'a> Outcome<'a> {
    fn text(self) -> &'a str {
        match self {
            Self::Completed(text) => text,
            Self::Failed(text) => &text[..text.floor_char_boundary(MAX_ERROR_BYTES)],
        }
    }

    /// What ending a job changes on its item, whatever becomes of its transcript.
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
