//! The table of jobs: reading one, claiming it, writing to a claimed one.
//!
//! Item: `PK` `agent#{userId}`, `SK` `{jobId}`, `query`, `agentIds`, `status`, `createdAt`, then
//! `agent_messages`, `result` | `error`, `completedAt`; ours beyond the original is `attempt`. A user's
//! jobs are one partition, so that nobody reaches another's by an id. No write makes an item: what was
//! deleted stays deleted.

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    Client,
    error::{DisplayErrorContext, ProvideErrorMetadata, SdkError},
    operation::update_item::{UpdateItemError, builders::UpdateItemFluentBuilder},
    types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure},
};
use jiff::Timestamp;
use serde_json::Value;

use crate::{
    error::JobError,
    job::{Job, JobStatus, timestamp},
};

/// The table of jobs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct JobTable {
    client: Client,
    table: String,
}

/// What became of trying to claim a job.
#[derive(Debug)]
pub enum Claimed {
    /// It is ours now.
    Won(Claim),
    /// It is running or has ended: there is nothing to do.
    NotPending(Job),
    /// This user has no such job.
    Missing,
}

/// The right to write to one job. Every write carries its attempt number and fails once the job is
/// claimed again, ended or deleted.
#[derive(Debug, Clone)]
pub struct Claim {
    jobs: JobTable,
    job: Job,
    attempt: u64,
}

impl JobTable {
    /// The jobs in `table`, whose keys are `PK` and `SK`.
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Claims a pending job: of any number of tries at once, exactly one wins.
    ///
    /// # Errors
    /// [`JobError::Table`].
    pub async fn claim(&self, user_id: &str, job_id: &str) -> Result<Claimed, JobError> {
        let answer = self
            .update(user_id, job_id)
            .update_expression("SET #status = :processing ADD attempt :one")
            .condition_expression("attribute_exists(PK) AND #status = :pending")
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":pending", string(JobStatus::Pending.as_str()))
            .expression_attribute_values(":processing", string(JobStatus::Processing.as_str()))
            .expression_attribute_values(":one", AttributeValue::N("1".to_owned()))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match answer {
            Ok(answer) => {
                let item = answer.attributes.unwrap_or_default();
                let job = Job::from_item(user_id, job_id, &item);
                let attempt = item.get("attempt").and_then(|n| n.as_n().ok()?.parse().ok()).unwrap_or(1);
                Ok(Claimed::Won(Claim { jobs: self.clone(), job, attempt }))
            }
            Err(error) => match refused_item(&error) {
                Some(item) if item.is_empty() => Ok(Claimed::Missing),
                Some(item) => Ok(Claimed::NotPending(Job::from_item(user_id, job_id, item))),
                None => Err(self.fault("written", error)),
            },
        }
    }

    fn update(&self, user_id: &str, job_id: &str) -> UpdateItemFluentBuilder {
        self.client
            .update_item()
            .table_name(&self.table)
            .key("PK", string(&format!("agent#{user_id}")))
            .key("SK", string(job_id))
    }

    fn fault(&self, verb: &'static str, error: SdkError<UpdateItemError>) -> JobError {
        let reason = match error.code() {
            Some(code) => code.to_owned(),
            None => DisplayErrorContext(error).to_string(),
        };
        JobError::Table { table: self.table.clone(), verb, reason }
    }
}

impl Claim {
    /// The job as it was when it was claimed.
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// Writes the transcript as it stands.
    ///
    /// # Errors
    /// [`JobError::Lost`] if the job is no longer this claim's, [`JobError::Table`].
    pub async fn record(&self, messages: &[Value]) -> Result<(), JobError> {
        self.write("SET agent_messages = :messages", None, [(":messages", json_text(messages))]).await
    }

    /// Ends the job with its result, a JSON text, and its whole transcript.
    ///
    /// # Errors
    /// As [`Self::record`].
    pub async fn complete(&self, result: &str, messages: &[Value], now: Timestamp) -> Result<(), JobError> {
        self.end(JobStatus::Completed, "result", result, messages, now).await
    }

    /// Ends the job with what went wrong, and the transcript up to there.
    ///
    /// # Errors
    /// As [`Self::record`].
    pub async fn fail(&self, error: &str, messages: &[Value], now: Timestamp) -> Result<(), JobError> {
        self.end(JobStatus::Failed, "error", error, messages, now).await
    }

    async fn end(
        &self,
        status: JobStatus,
        outcome: &str,
        text: &str,
        messages: &[Value],
        now: Timestamp,
    ) -> Result<(), JobError> {
        let set =
            "SET #status = :status, #outcome = :outcome, agent_messages = :messages, completedAt = :now";
        let values = [
            (":status", status.as_str().to_owned()),
            (":outcome", text.to_owned()),
            (":messages", json_text(messages)),
            (":now", timestamp(now)),
        ];
        self.write(set, Some(outcome), values).await
    }

    async fn write(
        &self,
        set: &str,
        outcome: Option<&str>,
        values: impl IntoIterator<Item = (&'static str, String)>,
    ) -> Result<(), JobError> {
        let mut update = self
            .jobs
            .update(&self.job.user_id, &self.job.job_id)
            .update_expression(set)
            .condition_expression("attempt = :attempt AND #status = :processing")
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":attempt", AttributeValue::N(self.attempt.to_string()))
            .expression_attribute_values(":processing", string(JobStatus::Processing.as_str()));
        if let Some(outcome) = outcome {
            update = update.expression_attribute_names("#outcome", outcome);
        }
        for (name, value) in values {
            update = update.expression_attribute_values(name, string(&value));
        }
        match update.send().await {
            Ok(_) => Ok(()),
            Err(error) if refused_item(&error).is_some() => {
                Err(JobError::Lost { job_id: self.job.job_id.clone() })
            }
            Err(error) => Err(self.jobs.fault("written", error)),
        }
    }
}

/// The item that a condition refused; empty if there is none.
fn refused_item(error: &SdkError<UpdateItemError>) -> Option<&HashMap<String, AttributeValue>> {
    static NONE: std::sync::LazyLock<HashMap<String, AttributeValue>> =
        std::sync::LazyLock::new(HashMap::new);
    match error.as_service_error()? {
        UpdateItemError::ConditionalCheckFailedException(refused) => Some(refused.item().unwrap_or(&NONE)),
        _ => None,
    }
}

fn string(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

fn json_text(messages: &[Value]) -> String {
    Value::Array(messages.to_vec()).to_string()
}
