//! What a user does with their jobs: submit, read, list, delete.
//!
//! Every call names the user, whose id comes from a verified identity; another's job is not there for
//! them. Starts no run: whoever submits invokes the processor.

use std::collections::HashMap;

use aws_kit::{Item, number, text, text_of};
use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem};
use jiff::{SignedDuration, Timestamp};

use crate::{
    dynamodb::{JobTable, Together},
    error::JobError,
    items::{JobOwner, job_of, partition},
    job::{Job, JobStatus, timestamp},
};

/// How long a repeated submission is known by its key: longer than any client goes on retrying.
const KEY_KEPT: SignedDuration = SignedDuration::from_hours(24);

/// A job to be submitted.
#[derive(Debug, Clone, Copy)]
pub struct Submission<'a> {
    /// Whose job it is.
    pub owner: JobOwner<'a>,
    /// A new id. UUIDv7s list newest first.
    pub job_id: &'a str,
    /// What is asked.
    pub query: &'a str,
    /// Whom.
    pub agent_ids: &'a [String],
    /// Two submissions of a user with one key are one job.
    pub idempotency_key: Option<&'a str>,
    /// How long the job is kept.
    pub kept: SignedDuration,
}

/// What became of a submission.
#[derive(Debug)]
pub enum Submitted {
    /// A new job, pending.
    New(Job),
    /// The job that the same key has submitted before.
    Repeated(Job),
    /// The key has submitted something else before, or its job was deleted.
    KeyTaken,
}

/// Some of a user's jobs.
#[derive(Debug)]
pub struct Page {
    /// The jobs, by id downwards.
    pub jobs: Vec<Job>,
    /// The id to go on after, if there are more.
    pub next: Option<String>,
}

impl JobTable {
    /// Submits a job.
    ///
    /// # Errors
    /// [`JobError::Table`].
    pub async fn submit(&self, submission: Submission<'_>, now: Timestamp) -> Result<Submitted, JobError> {
        let item = new_item(submission, now);
        let mut items = vec![self.put(item.clone())];
        items.extend(submission.idempotency_key.map(|key| self.put(key_item(submission, key, now))));
        let written = self.write_together(&items).await;
        if let Ok(Together::Written) = written {
            return Ok(Submitted::New(job_of(submission.owner.user_id, submission.job_id, &item)));
        }
        // The id is new: a job that has it was written by this, and only the answer was lost.
        match (self.get(submission.owner, submission.job_id).await, written) {
            (Ok(Some(job)), _) => Ok(Submitted::New(job)),
            (_, Err(error)) | (Err(error), _) => Err(error),
            // What was there already is the key: the id is new.
            (Ok(None), Ok(_)) => Ok(self.submitted_before(submission).await?.unwrap_or(Submitted::KeyTaken)),
        }
    }

    /// What the submission's key has submitted before; `None` if that is nothing, or there is no key.
    ///
    /// # Errors
    /// [`JobError::Table`].
    pub async fn submitted_before(&self, submission: Submission<'_>) -> Result<Option<Submitted>, JobError> {
        let Some(key) = submission.idempotency_key else { return Ok(None) };
        let known = self.get_item(key_partition(submission.owner.user_id), key).await?;
        let Some(job_id) = known.and_then(|item| text_of(&item, "jobId")) else { return Ok(None) };
        Ok(Some(match self.get(submission.owner, &job_id).await? {
            Some(job) if job.query == submission.query && job.agent_ids == submission.agent_ids => {
                Submitted::Repeated(job)
            }
            _ => Submitted::KeyTaken,
        }))
    }

    /// A user's job.
    ///
    /// # Errors
    /// [`JobError::Table`].
    pub async fn get(&self, owner: JobOwner<'_>, job_id: &str) -> Result<Option<Job>, JobError> {
        let item = self.get_item(partition(owner.user_id), job_id).await?;
        let own = item.filter(|item| !owner.is_another(item));
        Ok(own.map(|item| job_of(owner.user_id, job_id, &item)))
    }

    /// A user's jobs, at most `limit`, by id downwards from below `after`. A page may hold fewer, and others follow:
    /// jobs under the same name that are another person's are passed over.
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
        let own = answer.items().iter().filter(|item| !owner.is_another(item));
        Ok(Page {
            jobs: own.map(|item| job_of(user_id, &id_of(item), item)).collect(),
            next: answer.last_evaluated_key().map(id_of),
        })
    }

    /// Deletes a user's job with its transcript; its run, if it has one, ends. Tells whether there was anything of
    /// it: an earlier try may have been cut off between the job and its transcript.
    ///
    /// # Errors
    /// [`JobError::Table`].
    pub async fn delete(&self, owner: JobOwner<'_>, job_id: &str) -> Result<bool, JobError> {
        if !can_be_key(job_id) {
            return Ok(false);
        }
        let user_id = owner.user_id;
        // Read first: the answer to a deletion that is sent again after a lost answer says that nothing was there.
        let job = self.get_item(partition(user_id), job_id).await?;
        if job.as_ref().is_some_and(|job| owner.is_another(job)) {
            return Ok(false);
        }
        let mut was_there = job.is_some();
        if was_there {
            let keys =
                HashMap::from([("PK".to_owned(), partition(user_id)), ("SK".to_owned(), text(job_id))]);
            self.delete_item(keys).await?;
        }
        // After the job, so that no piece is written behind this.
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

    fn put(&self, item: Item) -> TransactWriteItem {
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(PK)");
        TransactWriteItem::builder().set_put(put.build().ok()).build()
    }
}

/// Whether DynamoDB takes a text as a sort key; there is nothing under any other.
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
        ("query".to_owned(), text(submission.query)),
        ("agentIds".to_owned(), text(&agent_ids)),
        ("status".to_owned(), text(pending)),
        ("unfinished".to_owned(), text(pending)),
        ("createdAt".to_owned(), text(timestamp(now))),
        ("ExpiresAfter".to_owned(), number((now + submission.kept).as_second())),
    ]);
    item.into_iter().chain(sub).collect()
}

fn key_item(submission: Submission<'_>, key: &str, now: Timestamp) -> Item {
    HashMap::from([
        ("PK".to_owned(), key_partition(submission.owner.user_id)),
        ("SK".to_owned(), text(key)),
        ("jobId".to_owned(), text(submission.job_id)),
        ("ExpiresAfter".to_owned(), number((now + KEY_KEPT).as_second())),
    ])
}

fn key_partition(user_id: &str) -> AttributeValue {
    text(format!("idempotency#{user_id}"))
}
