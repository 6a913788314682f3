//! The job table: conditional writes to job items, and transactions.
//!
//! The jobs of a user are one partition, so that no user can reach another user's job by its id. No write here creates
//! a job item, so that a deleted job stays deleted. [`crate::claim`] decides when to write, [`crate::users`] creates,
//! lists and deletes jobs.

use std::time::Duration;

use aws_kit::{Item, number, number_of, text, text_of};
use aws_sdk_dynamodb::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    operation::{
        transact_write_items::TransactWriteItemsError,
        update_item::{UpdateItemError, builders::UpdateItemFluentBuilder},
    },
    types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem},
};
use jiff::{SignedDuration, Timestamp};

use crate::{
    error::JobError,
    items::{job_of, partition},
    job::{Job, JobStatus},
};

/// The condition for a claim's write: the job has not been claimed again, ended or deleted since.
pub(crate) const HELD: &str = "attempt = :attempt AND #claimed = :claimed";

/// The longest time until the end of a valid lease. A lease that ends later was written by a wrong clock and counts as
/// expired. The longest lease that can be configured is 55 s.
pub(crate) const FARTHEST_LEASE: SignedDuration = SignedDuration::from_mins(5);

/// Most attempts of a transaction that DynamoDB cancels for a transient reason.
const MAX_ATTEMPTS: u32 = 4;
/// The pause before the second attempt. The pause before attempt n + 1 is n times as long.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// DynamoDB's codes for reasons to cancel a transaction that may succeed a moment later.
const TRANSIENT: [&str; 3] = ["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"];

/// Outcome of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TransactionOutcome {
    /// All items were written.
    Written,
    /// No item was written, because the condition of one of them does not hold.
    Refused,
}

/// The job table. Cheap to clone.
#[derive(Debug, Clone)]
pub struct JobTable {
    pub(crate) client: Client,
    pub(crate) table: String,
}

/// One change to a claimed job.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Text(&'static str, String),
    Number(&'static str, i64),
    Remove(&'static str),
}

impl Change {
    fn attribute(&self) -> (&'static str, Option<AttributeValue>) {
        match self {
            Self::Text(name, text) => (name, Some(AttributeValue::S(text.clone()))),
            Self::Number(name, value) => (name, Some(number(value))),
            Self::Remove(name) => (name, None),
        }
    }

    /// Returns true if the item already has the change.
    fn is_made(&self, item: &Item) -> bool {
        let (name, value) = self.attribute();
        item.get(name) == value.as_ref()
    }
}

/// The job item after a claim that was won.
#[derive(Debug)]
pub(crate) struct ClaimedItem {
    pub(crate) job: Job,
    /// The number of this claim's attempt, from 1.
    pub(crate) attempt: u64,
    /// The tool in the effect note of an earlier attempt, if that wrote one.
    pub(crate) effect: Option<String>,
}

impl JobTable {
    /// Returns the job table with this name. Its keys are `PK` and `SK`.
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Claims a job. The inner error is the job that could not be claimed, or `None` if there is no such job.
    pub(crate) async fn claim_item(
        &self,
        user_id: &str,
        job_id: &str,
        claim_id: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Result<ClaimedItem, Option<Job>>, JobError> {
        // A job without a lease is run by the accelerator's own processor, and is not taken over.
        let free =
            "#status = :pending OR (#status = :processing AND (leaseUntil < :now OR leaseUntil > :farthest))";
        let answer = self
            .update(user_id, job_id)
            .update_expression(
                "SET #status = :processing, unfinished = :processing, leaseUntil = :until, claimId = :claim \
                 ADD attempt :one",
            )
            .condition_expression(format!("attribute_exists(PK) AND ({free})"))
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":pending", text(JobStatus::Pending.as_str()))
            .expression_attribute_values(":processing", text(JobStatus::Processing.as_str()))
            .expression_attribute_values(":now", number(now.as_millisecond()))
            .expression_attribute_values(":farthest", number((now + FARTHEST_LEASE).as_millisecond()))
            .expression_attribute_values(":until", number(until.as_millisecond()))
            .expression_attribute_values(":claim", text(claim_id))
            .expression_attribute_values(":one", number(1))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        let won = |item: &Item| ClaimedItem {
            job: job_of(user_id, job_id, item),
            attempt: number_of(item, "attempt").unwrap_or(1),
            effect: text_of(item, "effect"),
        };
        let is_ours = |item: &Item| text_of(item, "claimId").as_deref() == Some(claim_id);
        match answer {
            Ok(answer) => Ok(Ok(won(&answer.attributes.unwrap_or_default()))),
            Err(error) => match refused_item(&error) {
                // The SDK repeated the request after its first response was lost: the first request had won.
                Some(Some(item)) if is_ours(item) => Ok(Ok(won(item))),
                Some(item) => Ok(Err(item.map(|item| job_of(user_id, job_id, item)))),
                None => match self.get_item(partition(user_id), job_id).await {
                    Ok(Some(item)) if is_ours(&item) => Ok(Ok(won(&item))),
                    _ => Err(self.fault("written", error)),
                },
            },
        }
    }

    /// Changes a job that is claimed under `attempt`. A write that fails counts as made if the item already has the
    /// changes: then only the response was lost.
    ///
    /// # Errors
    /// [`JobError::Lost`] if the job is claimed under another attempt, ended or deleted; [`JobError::Table`].
    pub(crate) async fn write_claimed(
        &self,
        job: &Job,
        attempt: u64,
        changes: Vec<Change>,
    ) -> Result<(), JobError> {
        let mut update = self
            .update(&job.user_id, &job.job_id)
            .condition_expression(HELD)
            .expression_attribute_names("#claimed", "status")
            .expression_attribute_values(":attempt", number(attempt))
            .expression_attribute_values(":claimed", text(JobStatus::Processing.as_str()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let (mut sets, mut removes) = (Vec::new(), Vec::new());
        for (n, change) in changes.iter().enumerate() {
            let (name, value) = change.attribute();
            // Names are placeholders, because several of them are reserved words of DynamoDB.
            update = update.expression_attribute_names(format!("#n{n}"), name);
            match value {
                Some(value) => {
                    update = update.expression_attribute_values(format!(":v{n}"), value);
                    sets.push(format!("#n{n} = :v{n}"));
                }
                None => removes.push(format!("#n{n}")),
            }
        }
        let clause = |word: &str, parts: &[String]| match parts {
            [] => String::new(),
            parts => format!("{word} {} ", parts.join(", ")),
        };
        let expression = clause("SET", &sets) + &clause("REMOVE", &removes);
        match update.update_expression(expression).send().await {
            Ok(_) => Ok(()),
            Err(error) => {
                let is_made = |item: &Item| {
                    number_of(item, "attempt") == Some(attempt)
                        && changes.iter().all(|change| change.is_made(item))
                };
                match refused_item(&error) {
                    Some(Some(item)) if is_made(item) => Ok(()),
                    Some(_) => Err(JobError::Lost { job_id: job.job_id.clone() }),
                    None => match self.get_item(partition(&job.user_id), &job.job_id).await {
                        Ok(Some(item)) if is_made(&item) => Ok(()),
                        _ => Err(self.fault("written", error)),
                    },
                }
            }
        }
    }

    /// Writes all items or none. Repeats a transaction that was cancelled because of a conflict with another write or
    /// because of throttling.
    ///
    /// # Errors
    /// [`JobError::Table`].
    pub(crate) async fn write_transaction(
        &self,
        items: &[TransactWriteItem],
    ) -> Result<TransactionOutcome, JobError> {
        let mut attempts = 1;
        loop {
            let write = self.client.transact_write_items().set_transact_items(Some(items.to_vec()));
            let Err(error) = write.send().await else { return Ok(TransactionOutcome::Written) };
            let reasons: Vec<&str> = match error.as_service_error() {
                Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
                    cancelled.cancellation_reasons().iter().filter_map(|reason| reason.code()).collect()
                }
                _ => Vec::new(),
            };
            if reasons.contains(&"ConditionalCheckFailed") {
                return Ok(TransactionOutcome::Refused);
            }
            if attempts == MAX_ATTEMPTS || !reasons.iter().any(|reason| TRANSIENT.contains(reason)) {
                return Err(self.fault("written", error));
            }
            tokio::time::sleep(FIRST_PAUSE * attempts).await;
            attempts += 1;
        }
    }

    pub(crate) fn update(&self, user_id: &str, job_id: &str) -> UpdateItemFluentBuilder {
        self.client
            .update_item()
            .table_name(&self.table)
            .key("PK", partition(user_id))
            .key("SK", text(job_id))
    }

    pub(crate) fn fault<E: ProvideErrorMetadata>(&self, verb: &'static str, error: SdkError<E>) -> JobError {
        JobError::Table { table: self.table.clone(), verb, reason: aws_kit::reason(&error) }
    }
}

/// Returns the item that did not meet the condition of an update; the inner `None` if there is no item. Returns `None`
/// if the update failed for another reason.
pub(crate) fn refused_item(error: &SdkError<UpdateItemError>) -> Option<Option<&Item>> {
    match error.as_service_error()? {
        UpdateItemError::ConditionalCheckFailedException(refused) => Some(refused.item()),
        _ => None,
    }
}
