//! The table of jobs: what is read from it and written to it.
//!
//! A user's jobs are one partition, so that nobody reaches another's by an id. No write makes a job
//! item: what was deleted stays deleted. [`crate::claim`] says when a write is allowed.

use std::time::Duration;

use aws_kit::{Item, number, number_of, text, text_of};
use aws_sdk_dynamodb::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    operation::{
        query::builders::QueryFluentBuilder,
        transact_write_items::TransactWriteItemsError,
        update_item::{UpdateItemError, builders::UpdateItemFluentBuilder},
    },
    primitives::Blob,
    types::{
        AttributeValue, ConditionCheck, Put, ReturnValue, ReturnValuesOnConditionCheckFailure,
        TransactWriteItem,
    },
};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::{
    error::JobError,
    items::{job_of, partition},
    job::{Job, JobStatus},
    records,
};

/// What must hold of an item for a claim's write: nobody has claimed it since, ended or deleted it.
const HELD: &str = "attempt = :attempt AND #claimed = :claimed";

/// A lease that ends later than this from now was not written by a clock that can be believed: it is over. The longest
/// lasts 55 s.
pub(crate) const FARTHEST_LEASE: SignedDuration = SignedDuration::from_mins(5);

/// How often a write that conflicts with another is tried.
const MAX_TRIES: u32 = 4;
/// The pause before the second try, growing with each.
const BETWEEN_TRIES: Duration = Duration::from_millis(50);

/// Why DynamoDB cancels a transaction that may be taken a moment later.
const PASSING: [&str; 3] = ["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"];

/// What became of a write of several items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Together {
    Written,
    /// One of their conditions does not hold.
    Refused,
}

/// The table of jobs. Cheap to clone.
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

    /// Whether an item is as this change leaves it.
    fn is_in(&self, item: &Item) -> bool {
        let (name, value) = self.attribute();
        item.get(name) == value.as_ref()
    }
}

/// A claim that was won.
#[derive(Debug)]
pub(crate) struct WonItem {
    pub(crate) job: Job,
    pub(crate) attempt: u64,
    pub(crate) effect: Option<String>,
}

impl JobTable {
    /// The jobs in `table`, whose keys are `PK` and `SK`.
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Claims an item; the inner error is the job that could not be had, if there is one.
    pub(crate) async fn claim_item(
        &self,
        user_id: &str,
        job_id: &str,
        claim_id: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Result<WonItem, Option<Job>>, JobError> {
        // A job that the original's processor runs has no lease, and is left to it.
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
        let won = |item: &Item| WonItem {
            job: job_of(user_id, job_id, item),
            attempt: number_of(item, "attempt").unwrap_or(1),
            effect: text_of(item, "effect"),
        };
        let is_ours = |item: &Item| text_of(item, "claimId").as_deref() == Some(claim_id);
        match answer {
            Ok(answer) => Ok(Ok(won(&answer.attributes.unwrap_or_default()))),
            Err(error) => match refused_item(&error) {
                // An earlier try of the same request had won; only its answer was lost.
                Some(Some(item)) if is_ours(item) => Ok(Ok(won(item))),
                Some(item) => Ok(Err(item.map(|item| job_of(user_id, job_id, item)))),
                None => match self.get_item(partition(user_id), job_id).await {
                    Ok(Some(item)) if is_ours(&item) => Ok(Ok(won(&item))),
                    _ => Err(self.fault("written", error)),
                },
            },
        }
    }

    /// Changes a job that is claimed under `attempt`. A write that fails counts as made where the item is as it
    /// would have left it: its answer was lost.
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
            // By placeholder: several of the names are reserved words.
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
                        && changes.iter().all(|change| change.is_in(item))
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

    /// Keeps a whole transcript beside a job that is claimed under `attempt`; it expires with the job.
    pub(crate) async fn keep_transcript(
        &self,
        job: &Job,
        attempt: u64,
        messages: &[Value],
    ) -> Result<(), JobError> {
        let failed = |reason: String| JobError::Table { table: self.table.clone(), verb: "written", reason };
        let pieces = records::pack(messages).map_err(|error| failed(error.to_string()))?;
        for (n, piece) in pieces.into_iter().enumerate() {
            let mut put = Put::builder()
                .table_name(&self.table)
                .item("PK", transcript_partition(&job.job_id))
                .item("SK", text(format!("{}#{attempt:06}#{n:06}", job.user_id)))
                .item("messages", AttributeValue::B(Blob::new(piece)));
            if let Some(expires_after) = job.expires_after {
                put = put.item("ExpiresAfter", number(expires_after));
            }
            let held = ConditionCheck::builder()
                .table_name(&self.table)
                .key("PK", partition(&job.user_id))
                .key("SK", text(&job.job_id))
                .condition_expression(HELD)
                .expression_attribute_names("#claimed", "status")
                .expression_attribute_values(":attempt", number(attempt))
                .expression_attribute_values(":claimed", text(JobStatus::Processing.as_str()));
            let held = TransactWriteItem::builder().set_condition_check(held.build().ok()).build();
            let put = TransactWriteItem::builder().set_put(put.build().ok()).build();
            if self.write_together(&[held, put]).await? == Together::Refused {
                return Err(JobError::Lost { job_id: job.job_id.clone() });
            }
        }
        Ok(())
    }

    /// Writes several items or none. What a conflict with another write or a busy table refuses is tried again.
    pub(crate) async fn write_together(&self, items: &[TransactWriteItem]) -> Result<Together, JobError> {
        let mut tries = 1;
        loop {
            let write = self.client.transact_write_items().set_transact_items(Some(items.to_vec()));
            let Err(error) = write.send().await else { return Ok(Together::Written) };
            let reasons: Vec<&str> = match error.as_service_error() {
                Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
                    cancelled.cancellation_reasons().iter().filter_map(|reason| reason.code()).collect()
                }
                _ => Vec::new(),
            };
            if reasons.contains(&"ConditionalCheckFailed") {
                return Ok(Together::Refused);
            }
            if tries == MAX_TRIES || !reasons.iter().any(|reason| PASSING.contains(reason)) {
                return Err(self.fault("written", error));
            }
            tokio::time::sleep(BETWEEN_TRIES * tries).await;
            tries += 1;
        }
    }

    /// A job's transcript that was too long for its item; `None` if it was not.
    ///
    /// # Errors
    /// [`JobError::Table`].
    pub async fn kept_transcript(&self, job: &Job) -> Result<Option<Vec<Value>>, JobError> {
        // Pieces of an attempt that was cut off while it wrote them are nobody's transcript.
        let Some(attempt) = job.transcript_of else { return Ok(None) };
        let failed = |reason: String| JobError::Table { table: self.table.clone(), verb: "read", reason };
        let query = self.pieces(&job.user_id, &job.job_id, Some(attempt));
        let mut items = query.into_paginator().items().send();
        let mut pieces = Vec::new();
        while let Some(item) = items.next().await {
            let item = item.map_err(|error| failed(aws_kit::reason(&error)))?;
            pieces.extend(item.get("messages").and_then(|piece| Some(piece.as_b().ok()?.as_ref().to_vec())));
        }
        if pieces.is_empty() {
            return Ok(None);
        }
        records::unpack(&pieces).map(Some).map_err(|error| failed(error.to_string()))
    }

    /// A query of the pieces of one user's transcript, of one attempt or of all.
    pub(crate) fn pieces(&self, user_id: &str, job_id: &str, attempt: Option<u64>) -> QueryFluentBuilder {
        let attempt = attempt.map(|attempt| format!("{attempt:06}#")).unwrap_or_default();
        self.client
            .query()
            .table_name(&self.table)
            .key_condition_expression("PK = :pk AND begins_with(SK, :user)")
            .expression_attribute_values(":pk", transcript_partition(job_id))
            .expression_attribute_values(":user", text(format!("{user_id}#{attempt}")))
            .consistent_read(true)
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

fn transcript_partition(job_id: &str) -> AttributeValue {
    text(format!("transcript#{job_id}"))
}

/// The item that a condition refused; the inner `None` if there is none.
pub(crate) fn refused_item(error: &SdkError<UpdateItemError>) -> Option<Option<&Item>> {
    match error.as_service_error()? {
        UpdateItemError::ConditionalCheckFailedException(refused) => Some(refused.item()),
        _ => None,
    }
}
