//! Jobs that nobody runs any more: found, and ended as failed.
//!
//! Only jobs with a lease are touched: those that the original's processor runs have none. On our own table
//! a sparse index holds what has not ended; on a borrowed one a job is mended when it is read.

use jiff::{SignedDuration, Timestamp};

use crate::{
    dynamodb::JobTable,
    error::JobError,
    items::{Item, number, string, text_of},
    job::{Job, JobStatus, timestamp},
};

/// How long after its lease ran out a job is given up: by then Lambda has delivered its event again twice.
pub const ABANDONED_AFTER: SignedDuration = SignedDuration::from_mins(5);

const ERROR: &str =
    "Agent query processing failed: its run was cut off and nobody took it over; submit it again";

/// What a sweep found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swept {
    /// How many jobs were ended.
    pub ended: usize,
    /// How many could not be: they stay as they are until the next sweep.
    pub failed: usize,
    /// When the oldest pending job was submitted.
    pub oldest_pending: Option<String>,
}

impl JobTable {
    /// Ends those jobs of the index whose run is long gone.
    ///
    /// # Errors
    /// [`JobError::Table`].
    pub async fn sweep(&self, index: &str, now: Timestamp) -> Result<Swept, JobError> {
        let processing = self.unfinished(index, JobStatus::Processing, None).await?;
        let (mut ended, mut failed) = (0, 0);
        for item in &processing {
            let owner = text_of(item, "PK").unwrap_or_default();
            let (Some(user_id), Some(job_id)) = (owner.strip_prefix("agent#"), text_of(item, "SK")) else {
                continue;
            };
            match self.end_if_abandoned(user_id, &job_id, now).await {
                Ok(is_ended) => ended += usize::from(is_ended),
                // One job that cannot be ended keeps no other waiting.
                Err(error) => {
                    failed += 1;
                    tracing::error!(%error, job.id = job_id, "External MCP: an abandoned job could not be ended");
                }
            }
        }
        let oldest = self.unfinished(index, JobStatus::Pending, Some(1)).await?;
        Ok(Swept {
            ended,
            failed,
            oldest_pending: oldest.first().and_then(|item| text_of(item, "createdAt")),
        })
    }

    /// The job, ended first if its run is long gone.
    ///
    /// # Errors
    /// [`JobError::Table`].
    pub async fn get_mended(
        &self,
        user_id: &str,
        job_id: &str,
        now: Timestamp,
    ) -> Result<Option<Job>, JobError> {
        let job = self.get(user_id, job_id).await?;
        let is_abandoned = |job: &Job| {
            job.status == JobStatus::Processing
                && job.lease_until.is_some_and(|until| until + ABANDONED_AFTER < now)
        };
        match job {
            Some(job) if is_abandoned(&job) => {
                self.end_if_abandoned(user_id, job_id, now).await?;
                self.get(user_id, job_id).await
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
        let ended = self
            .update(user_id, job_id)
            .update_expression(format!(
                "SET #status = :failed, #error = :error, completedAt = :now REMOVE unfinished, leaseUntil{removed}"
            ))
            .condition_expression("#status = :processing AND leaseUntil < :before")
            .expression_attribute_names("#status", "status")
            .expression_attribute_names("#error", "error")
            .expression_attribute_values(":processing", string(JobStatus::Processing.as_str()))
            .expression_attribute_values(":failed", string(JobStatus::Failed.as_str()))
            .expression_attribute_values(":error", string(ERROR))
            .expression_attribute_values(":now", string(&timestamp(now)))
            .expression_attribute_values(":before", number((now - ABANDONED_AFTER).as_millisecond()))
            .send()
            .await;
        match ended {
            Ok(_) => Ok(true),
            Err(error)
                if error.as_service_error().is_some_and(|e| e.is_conditional_check_failed_exception()) =>
            {
                Ok(false)
            }
            Err(error) => Err(self.fault("written", error)),
        }
    }

    async fn unfinished(
        &self,
        index: &str,
        status: JobStatus,
        limit: Option<i32>,
    ) -> Result<Vec<Item>, JobError> {
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(index)
            .key_condition_expression("unfinished = :status")
            .expression_attribute_values(":status", string(status.as_str()));
        if let Some(limit) = limit {
            let answer = query.limit(limit).send().await.map_err(|error| self.fault("read", error))?;
            return Ok(answer.items.unwrap_or_default());
        }
        let items: Result<Vec<Item>, _> = query.into_paginator().items().send().collect().await;
        items.map_err(|error| self.fault("read", error))
    }
}
