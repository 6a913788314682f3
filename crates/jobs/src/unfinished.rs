//! Jobs that nobody runs any more: found, and ended as failed.
//!
//! Only jobs with a lease are touched: those that the original's processor runs have none. On our own table
//! a sparse index holds what has not ended; on a borrowed one a job is mended when it is read.

use aws_kit::{Item, number, number_of, text, text_of};
use aws_sdk_dynamodb::{
    error::SdkError,
    operation::{
        query::builders::QueryFluentBuilder,
        update_item::{UpdateItemError, builders::UpdateItemFluentBuilder},
    },
    types::ReturnValuesOnConditionCheckFailure,
};
use jiff::{SignedDuration, Timestamp};

use crate::{
    dynamodb::{FARTHEST_LEASE, JobTable, refused_item},
    error::JobError,
    items::JobOwner,
    job::{Job, JobStatus, timestamp},
};

/// How long a job may be pending before the sweep starts it again, once: its invocation may never have happened.
const STARTED_AGAIN_AFTER: SignedDuration = SignedDuration::from_mins(10);
/// How long after that a job that is still pending is given up: Lambda keeps an event for six hours at most.
pub const NEVER_STARTED_AFTER: SignedDuration = SignedDuration::from_mins(6 * 60 + 30);
/// How long after its lease ran out a job is given up: by then Lambda has delivered its event again twice.
pub const ABANDONED_AFTER: SignedDuration = SignedDuration::from_mins(5);

const CUT_OFF: &str =
    "Agent query processing failed: its run was cut off and nobody took it over; submit it again";
const NEVER_STARTED: &str = "Agent query processing failed: its run never began; submit it again";

/// What a sweep found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swept {
    /// How many jobs were ended.
    pub ended: usize,
    /// How many could not be: they stay as they are until the next sweep.
    pub failed: usize,
    /// When the oldest pending job was submitted.
    pub oldest_pending: Option<String>,
    /// The jobs to be started again: each is in one sweep's answer alone.
    pub to_start: Vec<Waiting>,
}

/// A job that nobody has claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Whose it is.
    pub user_id: String,
    /// Its id.
    pub job_id: String,
}

impl JobTable {
    /// Ends those jobs of the index whose run is long gone or never began, and names those to be started again.
    ///
    /// # Errors
    /// [`JobError::Table`], where the index cannot be read.
    pub async fn sweep(&self, index: &str, now: Timestamp) -> Result<Swept, JobError> {
        let mut swept = Swept { ended: 0, failed: 0, oldest_pending: None, to_start: Vec::new() };
        for job in self.unfinished(index, JobStatus::Processing, None).await?.iter().filter_map(waiting) {
            let ended = self.end_if_abandoned(&job.user_id, &job.job_id, now).await;
            swept.ended += usize::from(swept.goes_on(&job, ended).unwrap_or_default());
        }
        let pending = self.unfinished(index, JobStatus::Pending, Some(now - STARTED_AGAIN_AFTER)).await?;
        for job in pending.iter().filter_map(waiting) {
            let ended = self.end_if_never_started(&job, now).await;
            match swept.goes_on(&job, ended) {
                Some(true) => swept.ended += 1,
                Some(false) => {
                    let started = self.note_start(&job, now).await;
                    if swept.goes_on(&job, started) == Some(true) {
                        swept.to_start.push(job);
                    }
                }
                None => {}
            }
        }
        swept.oldest_pending = self.oldest_pending(index).await?;
        Ok(swept)
    }

    /// The job, ended first if its run is long gone.
    ///
    /// # Errors
    /// [`JobError::Table`].
    pub async fn get_mended(
        &self,
        owner: JobOwner<'_>,
        job_id: &str,
        now: Timestamp,
    ) -> Result<Option<Job>, JobError> {
        let job = self.get(owner, job_id).await?;
        let is_long_ago = |until: Timestamp| until + ABANDONED_AFTER < now || now + FARTHEST_LEASE < until;
        let is_abandoned =
            |job: &Job| job.status == JobStatus::Processing && job.lease_until.is_some_and(is_long_ago);
        match job {
            Some(job) if is_abandoned(&job) => {
                self.end_if_abandoned(owner.user_id, job_id, now).await?;
                self.get(owner, job_id).await
            }
            job => Ok(job),
        }
    }

    async fn end_if_abandoned(&self, user_id: &str, job_id: &str, now: Timestamp) -> Result<bool, JobError> {
        match self.end_abandoned(user_id, job_id, now, "").await {
            // The item has no room for its end: what was shown of the transcript goes.
            Err(JobError::Table { reason, .. }) if reason.contains("ValidationException") => {
                self.end_abandoned(user_id, job_id, now, ", agent_messages").await
            }
            ended => ended,
        }
    }

    async fn end_abandoned(
        &self,
        user_id: &str,
        job_id: &str,
        now: Timestamp,
        removed: &str,
    ) -> Result<bool, JobError> {
        let update = self
            .ending(user_id, job_id, CUT_OFF, removed, now)
            .condition_expression("#status = :status AND (leaseUntil < :before OR leaseUntil > :farthest)")
            .expression_attribute_values(":status", text(JobStatus::Processing.as_str()))
            .expression_attribute_values(":before", number((now - ABANDONED_AFTER).as_millisecond()))
            .expression_attribute_values(":farthest", number((now + FARTHEST_LEASE).as_millisecond()));
        self.is_taken(update.send().await)
    }

    async fn end_if_never_started(&self, job: &Waiting, now: Timestamp) -> Result<bool, JobError> {
        let update = self
            .ending(&job.user_id, &job.job_id, NEVER_STARTED, "", now)
            .condition_expression("#status = :status AND startedAgainAt < :before")
            .expression_attribute_values(":status", text(JobStatus::Pending.as_str()))
            .expression_attribute_values(":before", number((now - NEVER_STARTED_AFTER).as_millisecond()));
        self.is_taken(update.send().await)
    }

    /// Notes that a job is started again; tells whether it is this sweep's to start.
    async fn note_start(&self, job: &Waiting, now: Timestamp) -> Result<bool, JobError> {
        let update = self
            .update(&job.user_id, &job.job_id)
            .update_expression("SET startedAgainAt = :now")
            .condition_expression("#status = :status AND attribute_not_exists(startedAgainAt)")
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":status", text(JobStatus::Pending.as_str()))
            .expression_attribute_values(":now", number(now.as_millisecond()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let sent = update.send().await;
        // Noted by an earlier try of the same request, whose answer was lost. Where it was another sweep in the same
        // millisecond, both start the job, and one claims it.
        let noted = |item: &Item| number_of(item, "startedAgainAt") == Some(now.as_millisecond());
        let is_ours = sent.as_ref().err().and_then(refused_item).flatten().is_some_and(noted);
        self.is_taken(sent).map(|is_taken| is_taken || is_ours)
    }

    /// The update that ends a job as failed, still without its condition.
    fn ending(
        &self,
        user_id: &str,
        job_id: &str,
        error: &str,
        removed: &str,
        now: Timestamp,
    ) -> UpdateItemFluentBuilder {
        self.update(user_id, job_id)
            .update_expression(format!(
                "SET #status = :failed, #error = :error, completedAt = :now REMOVE unfinished, leaseUntil{removed}"
            ))
            .expression_attribute_names("#status", "status")
            .expression_attribute_names("#error", "error")
            .expression_attribute_values(":failed", text(JobStatus::Failed.as_str()))
            .expression_attribute_values(":error", text(error))
            .expression_attribute_values(":now", text(timestamp(now)))
    }

    /// Whether a conditional update was taken.
    fn is_taken<T>(&self, sent: Result<T, SdkError<UpdateItemError>>) -> Result<bool, JobError> {
        match sent {
            Ok(_) => Ok(true),
            Err(error) if refused_item(&error).is_some() => Ok(false),
            Err(error) => Err(self.fault("written", error)),
        }
    }

    /// The keys of the jobs in the index that have `status`, the oldest first; only those that were submitted before
    /// that time, if one is given.
    async fn unfinished(
        &self,
        index: &str,
        status: JobStatus,
        before: Option<Timestamp>,
    ) -> Result<Vec<Item>, JobError> {
        let query = self.of_index(index, status);
        let query = match before {
            None => query.key_condition_expression("unfinished = :status"),
            Some(before) => query
                .key_condition_expression("unfinished = :status AND createdAt < :before")
                .expression_attribute_values(":before", text(timestamp(before))),
        };
        let items: Result<Vec<Item>, _> = query.into_paginator().items().send().collect().await;
        items.map_err(|error| self.fault("read", error))
    }

    async fn oldest_pending(&self, index: &str) -> Result<Option<String>, JobError> {
        let query = self.of_index(index, JobStatus::Pending);
        let answer = query.key_condition_expression("unfinished = :status").limit(1).send().await;
        let answer = answer.map_err(|error| self.fault("read", error))?;
        Ok(answer.items().first().and_then(|item| text_of(item, "createdAt")))
    }

    fn of_index(&self, index: &str, status: JobStatus) -> QueryFluentBuilder {
        let query = self.client.query().table_name(&self.table).index_name(index);
        query.expression_attribute_values(":status", text(status.as_str()))
    }
}

impl Swept {
    /// What came of one job; one that fails is counted and keeps no other waiting.
    fn goes_on<T>(&mut self, job: &Waiting, outcome: Result<T, JobError>) -> Option<T> {
        outcome
            .inspect_err(|error| {
                self.failed += 1;
                tracing::error!(%error, job.id = job.job_id, "External MCP: an unfinished job could not be mended");
            })
            .ok()
    }
}

fn waiting(item: &Item) -> Option<Waiting> {
    let owner = text_of(item, "PK")?;
    Some(Waiting { user_id: owner.strip_prefix("agent#")?.to_owned(), job_id: text_of(item, "SK")? })
}
