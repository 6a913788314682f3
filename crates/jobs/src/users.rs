//! The jobs of one user: submits, reads, lists and deletes them.
//!
//! Every call names the user, whose id the caller has taken from a verified identity. For a user, the jobs of other
//! users do not exist. Starts no runs: after a submission, the caller invokes the job processor.

use std::collections::HashMap;

use aws_kit::{Item, number, text, text_of};
use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem};
use jiff::{SignedDuration, Timestamp};

use crate::{
    dynamodb::{JobTable, TransactionOutcome},
    error::JobError,
    items::{JobOwner, job_of, partition},
    job::{Job, JobStatus, timestamp},
};

/// Time for which an idempotency key is stored: longer than any client repeats a request.
const IDEMPOTENCY_KEY_LIFETIME: SignedDuration = SignedDuration::from_hours(24);

/// A job to be submitted.
#[derive(Debug, Clone, Copy)]
pub struct Submission<'a> {
    /// The user who submits the job.
    pub owner: JobOwner<'a>,
    /// The tenant that the job belongs to.
    pub org: &'a str,
    /// A new id, which the caller has generated for this submission. A UUIDv7 makes lists begin with the newest job.
    pub job_id: &'a str,
    /// The query.
    pub query: &'a str,
    /// The ids of the agents that answer the query.
    pub agent_ids: &'a [String],
    /// The idempotency key. Two submissions of a user with the same key are one job.
    pub idempotency_key: Option<&'a str>,
    /// Time from the submission until DynamoDB deletes the job.
    pub retention: SignedDuration,
}

/// Outcome of a submission.
#[derive(Debug)]
pub enum SubmissionOutcome {
    /// A new job, pending.
    New(Job),
    /// The job of an earlier submission with the same key and the same content.
    Repeated(Job),
    /// The key belongs to an earlier submission that had other content, or whose job no longer exists. The client must
    /// use a new key.
    KeyTaken,
}

/// A page of a user's jobs.
#[derive(Debug)]
pub struct Page {
    /// The jobs, the largest id first.
    pub jobs: Vec<Job>,
    /// The id after which the next page begins; `None` on the last page.
    pub next: Option<String>,
}

impl JobTable {
    /// Submits a job.
    ///
    /// # Errors
    /// [`JobError::Table`].
    pub async fn submit(
        &self,
        submission: Submission<'_>,
        now: Timestamp,
    ) -> Result<SubmissionOutcome, JobError> {
        let item = new_item(submission, now);
        let mut items = vec![self.put(item.clone())];
        items.extend(submission.idempotency_key.map(|key| self.put(key_item(submission, key, now))));
        let written = self.write_transaction(&items).await;
        if let Ok(TransactionOutcome::Written) = written {
            let job = job_of(submission.owner.user_id, submission.job_id, &item);
            return Ok(SubmissionOutcome::New(job));
        }
        // The id is new. If there is a job with it, this transaction wrote it, and only the response was lost.
        match (self.get(submission.owner, submission.job_id).await, written) {
            (Ok(Some(job)), _) => Ok(SubmissionOutcome::New(job)),
            (_, Err(error)) | (Err(error), _) => Err(error),
            // The id is new, so the condition that does not hold is that of the key.
            (Ok(None), Ok(_)) => {
                Ok(self.submitted_before(submission).await?.unwrap_or(SubmissionOutcome::KeyTaken))
            }
        }
    }

    /// Returns the outcome of an earlier submission with the same key. Returns `None` if there was none, or if the
    /// submission has no key.
    ///
    /// # Errors
    /// [`JobError::Table`].
    pub async fn submitted_before(
        &self,
        submission: Submission<'_>,
    ) -> Result<Option<SubmissionOutcome>, JobError> {
        let Some(key) = submission.idempotency_key else { return Ok(None) };
        let known = self.get_item(key_partition(submission.owner.user_id), key).await?;
        let Some(job_id) = known.and_then(|item| text_of(&item, "jobId")) else { return Ok(None) };
        Ok(Some(match self.get(submission.owner, &job_id).await? {
            Some(job) if job.query == submission.query && job.agent_ids == submission.agent_ids => {
                SubmissionOutcome::Repeated(job)
            }
            _ => SubmissionOutcome::KeyTaken,
        }))
    }

    /// Reads a user's job.
    ///
    /// # Errors
    /// [`JobError::Table`].
    pub async fn get(&self, owner: JobOwner<'_>, job_id: &str) -> Result<Option<Job>, JobError> {
        let item = self.get_item(partition(owner.user_id), job_id).await?;
        let own = item.filter(|item| !owner.is_another_person(item));
        Ok(own.map(|item| job_of(owner.user_id, job_id, &item)))
    }

    /// Reads at most `limit` of a user's jobs, the largest id first, starting below the id `after`. A page that is not
    /// the last may have fewer jobs: those of another person of the same name are left out.
    ///
    /// # Errors
    /// [`JobError::Table`].
    pub async fn list(&self, owner: JobOwner<'_>, limit: i32, after: Option<&str>) -> Result<Page, JobError> {
        let user_id = owner.user_id;
        let start = after.map(|after| {
            HashMap::from([("PK".to_owned(), partition(user_id)), ("SK".to_owned(), text(after))])
        });
        let answer = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("PK = :pk")
            .expression_attribute_values(":pk", partition(user_id))
            .set_exclusive_start_key(start)
            .scan_index_forward(false)
            .limit(limit)
            .send()
            .await
            .map_err(|error| self.fault("read", error))?;
        let id_of = |item: &Item| text_of(item, "SK").unwrap_or_default();
        let own = answer.items().iter().filter(|item| !owner.is_another_person(item));
        Ok(Page {
            jobs: own.map(|item| job_of(user_id, &id_of(item), item)).collect(),
            next: answer.last_evaluated_key().map(id_of),
        })
    }

    /// Deletes a user's job with its transcript. A run that is under way is not stopped here: its next write fails with
    /// [`JobError::Lost`], and the processor then drops it. Returns true if there was a job, or a transcript that remained
    /// because an earlier deletion was interrupted.
    ///
    /// # Errors
    /// [`JobError::Table`].
    pub async fn delete(&self, owner: JobOwner<'_>, job_id: &str) -> Result<bool, JobError> {
        if !can_be_key(job_id) {
            return Ok(false);
        }
        let user_id = owner.user_id;
        // Read the job first instead of using the old item in the response to DeleteItem: if a response is lost, the SDK
        // repeats the deletion, and the second response has no old item.
        let job = self.get_item(partition(user_id), job_id).await?;
        if job.as_ref().is_some_and(|job| owner.is_another_person(job)) {
            return Ok(false);
        }
        let mut was_there = job.is_some();
        if was_there {
            let keys =
                HashMap::from([("PK".to_owned(), partition(user_id)), ("SK".to_owned(), text(job_id))]);
            self.delete_item(keys).await?;
        }
        // The items of the whole transcript go after the job item: while the job item exists, a run could still add more.
        let query = self.pieces(user_id, job_id, None).projection_expression("PK, SK");
        let mut pieces = query.into_paginator().items().send();
        while let Some(piece) = pieces.next().await {
            self.delete_item(piece.map_err(|error| self.fault("read", error))?).await?;
            was_there = true;
        }
        Ok(was_there)
    }

    async fn delete_item(&self, keys: Item) -> Result<(), JobError> {
        let delete = self.client.delete_item().table_name(&self.table).set_key(Some(keys));
        delete.send().await.map(drop).map_err(|error| self.fault("written", error))
    }

    /// Reads an item by its keys.
    pub(crate) async fn get_item(
        &self,
        partition: AttributeValue,
        id: &str,
    ) -> Result<Option<Item>, JobError> {
        if !can_be_key(id) {
            return Ok(None);
        }
        let answer = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("PK", partition)
            .key("SK", text(id))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| self.fault("read", error))?;
        Ok(answer.item)
    }

    /// Returns a write that creates an item, on the condition that there is none with its key.
    fn put(&self, item: Item) -> TransactWriteItem {
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(PK)");
        TransactWriteItem::builder().set_put(put.build().ok()).build()
    }
}

/// Returns true if DynamoDB accepts the text as a sort key. No item has any other text as its key.
fn can_be_key(id: &str) -> bool {
    (1..=1_024).contains(&id.len())
}

fn new_item(submission: Submission<'_>, now: Timestamp) -> Item {
    let agent_ids = serde_json::Value::from(submission.agent_ids).to_string();
    let pending = JobStatus::Pending.as_str();
    let sub = submission.owner.sub.map(|sub| ("sub".to_owned(), text(sub)));
    let item = HashMap::from([
        ("PK".to_owned(), partition(submission.owner.user_id)),
        ("SK".to_owned(), text(submission.job_id)),
        ("org".to_owned(), text(submission.org)),
        ("query".to_owned(), text(submission.query)),
        ("agentIds".to_owned(), text(&agent_ids)),
        ("status".to_owned(), text(pending)),
        ("unfinished".to_owned(), text(pending)),
        ("createdAt".to_owned(), text(timestamp(now))),
        ("ExpiresAfter".to_owned(), number((now + submission.retention).as_second())),
    ]);
    item.into_iter().chain(sub).collect()
}

fn key_item(submission: Submission<'_>, key: &str, now: Timestamp) -> Item {
    HashMap::from([
        ("PK".to_owned(), key_partition(submission.owner.user_id)),
        ("SK".to_owned(), text(key)),
        ("jobId".to_owned(), text(submission.job_id)),
        ("ExpiresAfter".to_owned(), number((now + IDEMPOTENCY_KEY_LIFETIME).as_second())),
    ])
}

fn key_partition(user_id: &str) -> AttributeValue {
    text(format!("idempotency#{user_id}"))
}
