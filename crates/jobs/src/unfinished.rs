//! Unfinished jobs that no process runs any more: the sweep ends them as failed, or names them to be started again.
//!
//! Only jobs with a lease are changed while they are `PROCESSING`: the accelerator's own processor runs jobs without
//! one. Our own table has a sparse index of unfinished jobs, which the sweep reads. A borrowed table has no such index;
//! there, [`JobTable::get_ending_abandoned`] ends a job when it is read. Starts no jobs itself: the jobs API does.

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

/// Time from the submission until the sweep starts a pending job again, once. Its first invocation may have been lost.
const STARTED_AGAIN_AFTER: SignedDuration = SignedDuration::from_mins(10);
/// Time from that second start until a job that is still pending is ended. Lambda keeps an event for six hours at most.
pub const NEVER_STARTED_AFTER: SignedDuration = SignedDuration::from_mins(6 * 60 + 30);
/// Time from the end of its lease until a job is ended. By then, Lambda has delivered the job's event twice more.
pub const ABANDONED_AFTER: SignedDuration = SignedDuration::from_mins(5);

const CUT_OFF: &str = "Agent query processing failed: the run of this job was cut off, and no other run took the job \
                       over; submit the query again";
const NEVER_STARTED: &str =
    "Agent query processing failed: the run of this job never began; submit the query again";

/// Report of a sweep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SweepReport {
    /// Number of jobs that the sweep ended.
    pub ended: usize,
    /// Number of jobs that could not be ended or noted as started again. The next sweep tries those again.
    pub failed: usize,
    /// Time of submission of the oldest pending job, as text on its item.
    pub oldest_pending: Option<String>,
    /// The jobs that the caller has to start again. Each job is in the report of one sweep only.
    pub to_start: Vec<JobKey>,
}

/// The key of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobKey {
    /// The name of the user whose job it is.
    pub user_id: String,
    /// The job's id.
    pub job_id: String,
}

impl JobTable {
    /// Ends the jobs of the index whose run was cut off or never began, and names the jobs to be started again.
    ///
    /// # Errors
    /// [`JobError::Table`] if the index cannot be read.
    pub async fn sweep(&self, index: &str, now: Timestamp) -> Result<SweepReport, JobError> {
        let mut report = SweepReport { ended: 0, failed: 0, oldest_pending: None, to_start: Vec::new() };
        for job in self.unfinished(index, JobStatus::Processing, None).await?.iter().filter_map(job_key) {
            let ended = self.end_if_abandoned(&job.user_id, &job.job_id, now).await;
            report.ended += usize::from(report.count_failure(&job, ended).unwrap_or_default());
        }
        let pending = self.unfinished(index, JobStatus::Pending, Some(now - STARTED_AGAIN_AFTER)).await?;
        for job in pending.iter().filter_map(job_key) {
            let ended = self.end_if_never_started(&job, now).await;
            match report.count_failure(&job, ended) {
                Some(true) => report.ended += 1,
                Some(false) => {
                    let is_noted = self.note_start(&job, now).await;
                    if report.count_failure(&job, is_noted) == Some(true) {
                        report.to_start.push(job);
                    }
                }
                None => {}
            }
        }
        report.oldest_pending = self.oldest_pending(index).await?;
        Ok(report)
    }

    /// Reads a user's job. If the job is abandoned, ends it first.
    ///
    /// # Errors
    /// [`JobError::Table`].
    pub async fn get_ending_abandoned(
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
            // The item has no room for the error: remove the transcript so far.
            Err(JobError::Table { reason, .. }) if reason.contains("ValidationException") => {
                self.end_abandoned(user_id, job_id, now, ", agent_messages").await
            }
            ended => ended,
        }
    }

    /// Ends an abandoned job. `removed` is a list of further attributes to remove, with a comma before each. Returns
    /// false if the job is not abandoned.
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
        self.is_met(update.send().await)
    }

    async fn end_if_never_started(&self, job: &JobKey, now: Timestamp) -> Result<bool, JobError> {
        let update = self
            .ending(&job.user_id, &job.job_id, NEVER_STARTED, "", now)
            .condition_expression("#status = :status AND startedAgainAt < :before")
            .expression_attribute_values(":status", text(JobStatus::Pending.as_str()))
            .expression_attribute_values(":before", number((now - NEVER_STARTED_AFTER).as_millisecond()));
        self.is_met(update.send().await)
    }

    /// Notes on the job that it is started again. Returns true if this sweep has to start it.
    async fn note_start(&self, job: &JobKey, now: Timestamp) -> Result<bool, JobError> {
        let update = self
            .update(&job.user_id, &job.job_id)
            .update_expression("SET startedAgainAt = :now")
            .condition_expression("#status = :status AND attribute_not_exists(startedAgainAt)")
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":status", text(JobStatus::Pending.as_str()))
            .expression_attribute_values(":now", number(now.as_millisecond()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let sent = update.send().await;
        // The SDK repeated the request after its first response was lost. If another sweep wrote the note in the same
        // millisecond, both start the job, and one run claims it.
        let is_noted = |item: &Item| number_of(item, "startedAgainAt") == Some(now.as_millisecond());
        let is_ours = sent.as_ref().err().and_then(refused_item).flatten().is_some_and(is_noted);
        self.is_met(sent).map(|is_met| is_met || is_ours)
    }

    /// Returns the update that ends a job as failed, without its condition.
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

    /// Returns true if an update was made, false if its condition was not met.
    fn is_met<T>(&self, sent: Result<T, SdkError<UpdateItemError>>) -> Result<bool, JobError> {
        match sent {
            Ok(_) => Ok(true),
            Err(error) if refused_item(&error).is_some() => Ok(false),
            Err(error) => Err(self.fault("written", error)),
        }
    }

    /// Reads the items of the index with this status, the oldest first. With `before`, only those that were submitted
    /// before that time.
    async fn unfinished(
        &self,
        index: &str,
        status: JobStatus,
        before: Option<Timestamp>,
    ) -> Result<Vec<Item>, JobError> {
        let query = self.index_query(index, status);
        let query = match before {
            None => query.key_condition_expression("unfinished = :status"),
            Some(before) => query
                .key_condition_expression("unfinished = :status AND createdAt < :before")
                .expression_attribute_values(":before", text(timestamp(before))),
        };
        let items: Result<Vec<Item>, _> = query.into_paginator().items().send().collect().await;
        items.map_err(|error| self.fault("read", error))
    }

    /// Reads the time of submission of the oldest pending job.
    async fn oldest_pending(&self, index: &str) -> Result<Option<String>, JobError> {
        let query = self.index_query(index, JobStatus::Pending);
        let answer = query.key_condition_expression("unfinished = :status").limit(1).send().await;
        let answer = answer.map_err(|error| self.fault("read", error))?;
        Ok(answer.items().first().and_then(|item| text_of(item, "createdAt")))
    }

    fn index_query(&self, index: &str, status: JobStatus) -> QueryFluentBuilder {
        let query = self.client.query().table_name(&self.table).index_name(index);
        query.expression_attribute_values(":status", text(status.as_str()))
    }
}

impl SweepReport {
    /// Counts and logs the failure of one job, so that the sweep goes on with the next. Returns the value otherwise.
    fn count_failure<T>(&mut self, job: &JobKey, outcome: Result<T, JobError>) -> Option<T> {
        outcome
            .inspect_err(|error| {
                self.failed += 1;
                tracing::error!(%error, job.id = job.job_id, "External MCP: an unfinished job could not be ended or started again");
            })
            .ok()
    }
}

/// Returns the key of a job from an item of the index.
fn job_key(item: &Item) -> Option<JobKey> {
    let owner = text_of(item, "PK")?;
    Some(JobKey { user_id: owner.strip_prefix("agent#")?.to_owned(), job_id: text_of(item, "SK")? })
}
